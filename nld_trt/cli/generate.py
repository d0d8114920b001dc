# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt generate``: one prompt streamed to the terminal, or a file of requests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._generation import note_defaults
from nld_trt.cli._options import (
    TEXT,
    backend_option,
    chat_template_option,
    decoding_options,
    engine_argument,
    generation_config_option,
    sampling_options,
)
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_file_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.decode.batch import Decoder
    from nld_trt.decode.request import Request
    from nld_trt.decode.result import Result


@click.command("generate")
@engine_argument
@click.argument("prompt", type=TEXT, required=False)
@decoding_options
@sampling_options
@click.option("--system", type=TEXT, default=None, help="System message of the conversation.")
@click.option("--raw", is_flag=True, help="Use the prompt as it is, without the chat template.")
@chat_template_option
@click.option("--stop", type=TEXT, multiple=True, help="String that ends the text. Repeatable.")
@click.option("--input", "input_file", type=click.Path(path_type=Path), help="JSONL file of requests, one per line.")
@output_file_option("JSONL file for their results.")
@generation_config_option
@backend_option
@json_option
def command(
    engine_dir: Path,
    prompt: str | None,
    input_file: Path | None,
    output_file: Path | None,
    generation_config: str,
    backend: str | None,
    chat_template: str | None,
    **options: Any,
) -> None:
    """Generate text with an engine.

    With PROMPT, the answer streams to the terminal as it is committed. With --input and --output, every
    line of a requests file becomes a line of a results file; a bad line gives a line with "error", and
    the exit status is 1. A line has a prompt, prompt_ids, or messages of several turns, with tools if need be.
    A prompt's own failure in the engine ends with status 1 as well.

    \b
    Examples:
      nld-trt generate engine "Sort these numbers: 42 17 88 35"
      nld-trt generate engine "Convert 37 km to m." --mode diffusion --threshold 0.8
      nld-trt generate engine "Convert 37 km to m." --temperature 0.7 --top-p 0.9 --seed 1
      nld-trt generate engine --input requests.jsonl -o results.jsonl
    """
    from nld_trt.decode.sampling import SETTINGS, check_sampling
    from nld_trt.files import resolved

    if (prompt is None) == (input_file is None):
        raise InputError("give either a PROMPT or --input FILE", fix='For example: nld-trt generate ENGINE_DIR "Hello"')
    if (input_file is None) != (output_file is None):
        raise InputError("--input and --output belong together: one names the requests, the other the results")
    if input_file is not None and output_file is not None:
        _refuse_prompt_options(options)
        if not input_file.is_file():
            raise InputError(f"--input {input_file} is not a file")
        if resolved(output_file) == resolved(input_file):
            raise InputError(f"--input and --output are both {input_file}", fix="Name another file for the results.")
        status = _run_file(engine_dir, backend, generation_config, chat_template, input_file, output_file)
        click.get_current_context().exit(status)
    if chat_template is not None and options["raw"]:
        raise InputError("--raw leaves the chat template out, and --chat-template names one", fix="Leave out either.")
    assert prompt is not None
    # The engine checks these again, but opening it reads every file, which takes long for large models.
    check_sampling({name: options[name] for name in SETTINGS}, options["mode"])
    decoder = _open(engine_dir, backend, generation_config, chat_template)
    note_defaults(decoder.session.info, mode=options["mode"], given=options)
    _run_prompt(decoder, _request(decoder, prompt, **options))


def _open(engine_dir: Path, backend: str | None, generation_config: str, chat_template: str | None) -> Decoder:
    from nld_trt.decode.batch import Decoder
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.model.text.codec import Codec

    with output.stage("opening engine"):
        folder = EngineFolder.open(engine_dir).with_defaults(generation_config)
        # Before the session, whose opening takes longer and needs nothing of this.
        codec = Codec.open(folder.path, chat_template)
        return Decoder(folder.open_session(backend), codec)


def _refuse_prompt_options(options: Iterable[str]) -> None:
    """The lines of a requests file carry their own settings; a flag beside them would do nothing."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in options if source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise InputError(f"{flag} goes with a PROMPT, not with --input", fix=f"Set {given[0]} in the file's lines.")


def _request(
    decoder: Decoder,
    prompt: str,
    *,
    mode: Any,
    max_new_tokens: int | None,
    block_length: int | None,
    threshold: str | None,
    lora: bool | None,
    system: str | None,
    raw: bool,
    stop: tuple[str, ...],
    **sampling: Any,
) -> Request:
    from nld_trt.decode.request import Request
    from nld_trt.names import DEFAULT_THRESHOLDS

    if decoder.codec is None:
        raise InputError(
            "the engine has no tokenizer, so it cannot take a text prompt",
            fix="Use --input with prompt_ids, or convert from a checkpoint with tokenizer.json.",
        )
    prompt_ids = decoder.codec.encode_prompt(prompt, system=system, raw=raw)
    return Request(
        prompt_ids=prompt_ids,
        mode=mode,
        lora=lora,
        max_new_tokens=max_new_tokens,
        block_length=block_length,
        threshold=DEFAULT_THRESHOLDS[mode] if threshold is None else parse_threshold(threshold),
        stop=stop,
        **{name: value for name, value in sampling.items() if value is not None},
    )


def parse_threshold(text: str) -> float | None:
    """A number, or None for ``null``."""
    if text == "null":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--threshold is {text!r}; it must be a number between 0 and 1, or null") from None


def _run_prompt(decoder: Decoder, request: Request) -> None:
    import time

    from nld_trt.decode.result import Result

    started = time.perf_counter()
    row = decoder.submit(request)
    for emission in decoder.run():
        if not output.json:
            output.stream(emission.text)
    seconds = time.perf_counter() - started
    result = Result.of(row)
    if not output.json:
        output.stream("\n")
        output.note(summary(result.or_raise(), seconds))
        return
    line = {key: value for key, value in result.to_line(None).items() if key != "id"}
    figures = {
        "mode": result.mode,
        "tokens": len(result.output_ids),
        "seconds": round(seconds, 6),
        "tokens_per_second": round(len(result.output_ids) / seconds, 3),
        "tokens_per_forward": round(result.tokens_per_forward, 4),
        "acceptance_length": result.acceptance_length,
        "forwards": result.forwards,
    }
    output.result(line | figures)
    result.or_raise()


def summary(result: Result, seconds: float) -> str:
    """The line under a streamed answer."""
    parts = [
        result.mode,
        f"{len(result.output_ids)} tokens",
        f"{len(result.output_ids) / seconds:.1f} tokens/s",
        f"{result.tokens_per_forward:.2f} tokens per forward",
    ]
    if result.acceptance_length is not None:
        parts.append(f"acceptance length {result.acceptance_length:.2f}")
    if result.seed is not None:
        parts.append(f"seed {result.seed}")
    return f"[{', '.join(parts)}, finished by {result.finish_reason}]"


def _run_file(
    engine_dir: Path,
    backend: str | None,
    generation_config: str,
    chat_template: str | None,
    input_file: Path,
    output_file: Path,
) -> int:
    """Returns the exit status: 1 when a line was no valid request."""
    import json

    from nld_trt.decode.jsonl import run_lines
    from nld_trt.files import publish_file

    failed = count = 0
    # backslashreplace: half a surrogate pair in an id becomes the JSON escape that it came from.
    with (
        publish_file(output_file) as work,
        input_file.open("rb") as lines,
        work.open("w", encoding="utf-8", errors="backslashreplace") as results,
    ):
        decoder = _open(engine_dir, backend, generation_config, chat_template)
        note_defaults(decoder.session.info)
        for line in run_lines(lines, decoder):
            count += 1
            failed += "error" in line
            results.write(json.dumps(line, ensure_ascii=False) + "\n")
    output.result(
        {"requests": count, "failed": failed, "output": str(output_file)},
        f"{count} results in {output_file}" + (f", {failed} of them errors" if failed else ""),
    )
    return 1 if failed else 0
