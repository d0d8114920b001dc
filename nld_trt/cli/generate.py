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
    DECODING,
    SAMPLING_OPTIONS,
    TEXT,
    backend_option,
    chat_template_option,
    engine_argument,
    generation_config_option,
    request_options,
)
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_file_option
from nld_trt.errors import InputError, OperationError, shortened

if TYPE_CHECKING:
    from nld_trt.decode.engine import Engine
    from nld_trt.decode.options import Options
    from nld_trt.decode.result import Result


@click.command("generate")
@engine_argument
@click.argument("prompt", type=TEXT, required=False)
@request_options(*DECODING, *SAMPLING_OPTIONS, "system", "raw", "stop")
@chat_template_option
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
    from nld_trt.decode.fields import SAMPLING
    from nld_trt.decode.sampling import check_sampling
    from nld_trt.files import resolved

    if (prompt is None) == (input_file is None):
        raise InputError("give either a PROMPT or --input FILE", fix='For example: nld-trt generate ENGINE_DIR "Hello"')
    if (input_file is None) != (output_file is None):
        raise InputError("--input and --output belong together: one names the requests, the other the results")
    if input_file is not None and output_file is not None:
        _refuse_prompt_options(options)
        # A pipe will do, such as /dev/stdin.
        if not input_file.exists() or input_file.is_dir():
            raise InputError(f"--input {input_file} is not a file")
        if resolved(output_file) == resolved(input_file):
            raise InputError(f"--input and --output are both {input_file}", fix="Name another file for the results.")
        status = _run_file(engine_dir, backend, generation_config, chat_template, input_file, output_file)
        click.get_current_context().exit(status)
    if chat_template is not None and options["raw"]:
        raise InputError("--raw leaves the chat template out, and --chat-template names one", fix="Leave out either.")
    assert prompt is not None
    # The engine checks these again, but opening it reads every file, which takes long for large models.
    check_sampling({name: options[name] for name in SAMPLING}, options["mode"])
    engine = _open(engine_dir, backend, generation_config, chat_template)
    if engine.codec is None:
        raise InputError(
            "the engine has no tokenizer, so it cannot take a text prompt",
            fix="Use --input with prompt_ids, or convert from a checkpoint with tokenizer.json.",
        )
    note_defaults(engine.info, mode=options["mode"], given=options)
    _run_prompt(engine, prompt, _chosen(**options))


def _open(engine_dir: Path, backend: str | None, generation_config: str, chat_template: str | None) -> Engine:
    from nld_trt.decode.engine import Engine

    with output.stage("opening engine"):
        return Engine.open(
            engine_dir,
            backend=backend,
            chat_template=chat_template,
            generation_config=generation_config,
            progress=output,
        )


def _refuse_prompt_options(options: Iterable[str]) -> None:
    """The lines of a requests file carry their own settings; a flag beside them would do nothing."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in options if source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise InputError(f"{flag} goes with a PROMPT, not with --input", fix=f"Set {given[0]} in the file's lines.")


def _chosen(threshold: str | None, **options: Any) -> Options:
    """The flags as options of a request; a threshold that is not given is left out, since None is one."""
    options["stop"] = [text for text in options["stop"] if text]
    given: Any = options if threshold is None else {**options, "threshold": parse_threshold(threshold)}
    chosen: Options = given
    return chosen


def parse_threshold(text: str) -> float | None:
    """A number, or None for ``null``."""
    if text == "null":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--threshold is {shortened(repr(text))}; it must be a number between 0 and 1, or null"
        ) from None


def _run_prompt(engine: Engine, prompt: str, options: Options) -> None:
    stream, failure = engine.stream(prompt, **options), None
    try:
        for piece in stream:
            output.stream(piece)
    except OperationError as error:
        failure = error  # told below what was good before it
    output.stream("\n")
    if stream.result is not None and output.json:
        output.result(_line(stream.result))
    if failure is not None:
        raise failure
    if stream.result is not None and not output.json:
        output.note(summary(stream.result))


def _line(result: Result) -> dict[str, Any]:
    """A result and its figures, for --json."""
    assert result.seconds is not None
    line = {key: value for key, value in result.to_line(None).items() if key != "id"}
    return line | {
        "mode": result.mode,
        "prompt_tokens": result.prompt_tokens,
        "tokens": len(result.tokens),
        "seconds": round(result.seconds, 6),
        "time_to_first_token": None if result.time_to_first_token is None else round(result.time_to_first_token, 6),
        "tokens_per_second": round(len(result.tokens) / result.seconds, 3),
        "tokens_per_forward": round(result.tokens_per_forward, 4),
        "acceptance_length": result.acceptance_length,
        "forwards": result.forwards,
    }


def summary(result: Result) -> str:
    """The line under a streamed answer."""
    from nld_trt.decode import figures

    return figures.summary(
        result.mode, len(result.tokens), result.figures, seed=result.seed, finish_reason=result.finish_reason
    )


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
        engine = _open(engine_dir, backend, generation_config, chat_template)
        note_defaults(engine.info)
        for line in run_lines(lines, engine.decoder):
            count += 1
            failed += "error" in line
            results.write(json.dumps(line, ensure_ascii=False) + "\n")
    output.result(
        {"requests": count, "failed": failed, "output": str(output_file)},
        f"{count} results in {output_file}" + (f", {failed} of them errors" if failed else ""),
    )
    return 1 if failed else 0
