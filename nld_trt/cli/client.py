# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt client``: one prompt to a running server, streamed to the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._options import DECODING, SAMPLING_OPTIONS, TEXT, request_options
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.serving.triton.client import Chunk


@click.command("client")
@click.argument("url")
@click.argument("prompt", type=TEXT, required=False)
@click.option("--model", default="nld", help="Name of the model on the server.")
@request_options(*DECODING, *SAMPLING_OPTIONS, "system", "raw", "stop", defaults=False)
@click.option(
    "--messages", "messages_file", type=click.Path(path_type=Path), default=None,
    help="JSON file with the messages of a conversation, in the place of PROMPT.",
)  # fmt: skip
@click.option(
    "--tools", "tools_file", type=click.Path(path_type=Path), default=None,
    help="JSON file with descriptions of functions, for the chat template.",
)  # fmt: skip
@click.option("--timeout", type=float, default=300.0, help="Longest wait for the next piece, in seconds.")
@click.option(
    "--deadline",
    type=float,
    default=None,
    help="Seconds for the whole answer; the server ends a later one. Default: none.",
)
@json_option
def command(
    url: str,
    prompt: str | None,
    model: str,
    mode: str | None,
    max_new_tokens: int | None,
    block_length: int | None,
    threshold: str | None,
    lora: bool | None,
    system: str | None,
    messages_file: Path | None,
    tools_file: Path | None,
    raw: bool,
    stop: tuple[str, ...],
    timeout: float,
    deadline: float | None,
    ensemble: float | None,
    **sampling: Any,
) -> None:
    """Send PROMPT or a conversation to the model that a Triton server serves. URL is its gRPC address, HOST:PORT.

    The answer streams to the terminal as it is committed. Ctrl-C cancels it, here and on the server. A request that
    the server refuses ends with status 1; what can be told to be wrong without it, with 2.

    \b
    Examples:
      nld-trt client localhost:8001 "Sort these numbers: 42 17 88 35"
      nld-trt client localhost:8001 "Convert 37 km to m." --mode diffusion --json
      nld-trt client localhost:8001 --messages conversation.json
    """
    from nld_trt.cli.generate import parse_threshold
    from nld_trt.decode.fields import FIELDS, SAMPLING
    from nld_trt.decode.sampling import check_sampling
    from nld_trt.serving.triton.client import stream

    if (prompt is None) == (messages_file is None):
        raise InputError("give either a PROMPT or --messages FILE")
    conversation = _read_conversation(messages=messages_file, tools=tools_file)
    # Numbers that the request's types cannot hold would reach the server as others.
    check_sampling({name: sampling[name] for name in SAMPLING}, mode or "")
    FIELDS["ensemble"].check(ensemble)
    inputs: dict[str, Any] = {
        "text_input": prompt,
        **conversation,
        "mode": mode,
        "max_tokens": max_new_tokens,
        "block_length": block_length,
        "lora": lora,
        "system": system,
        "raw": True if raw else None,
        "stop_words": list(stop) or None,
        "ensemble": ensemble,
        **sampling,
    }
    if threshold is not None:
        confidence = parse_threshold(threshold)
        inputs["threshold"] = -1.0 if confidence is None else confidence
    started = time.perf_counter()
    chunks = []
    for chunk in stream(url, model=model, timeout=timeout, deadline=deadline, **inputs):
        chunks.append(chunk)
        output.stream(chunk.text)
    output.stream("\n")
    _report(chunks, time.perf_counter() - started)


def _read_conversation(**files: Path | None) -> dict[str, Any]:
    """What the JSON files hold, by the name of the input that it is for, checked as the server will check it."""
    from nld_trt.files.json_text import JsonError, parse_json
    from nld_trt.model.text.conversation import Conversation, parse_beside
    from nld_trt.model.text.files import read_text

    values = {}
    for name, path in files.items():
        if path is not None:
            try:
                values[name] = parse_json(read_text(path))
            except JsonError as error:
                raise InputError(f"{path} {error.what}") from error
    if "messages" in values:
        Conversation.parse(values)
    else:
        parse_beside(values)
    return values


def _report(chunks: list[Chunk], seconds: float) -> None:
    from nld_trt.decode import figures

    last = chunks[-1]
    tokens = sum(chunk.tokens for chunk in chunks)
    measured = {
        figures.TOKENS_PER_SECOND.name: figures.TOKENS_PER_SECOND.formula(figures.Counts(tokens, seconds=seconds)),
        figures.TOKENS_PER_FORWARD.name: last.tokens_per_forward,
        figures.ACCEPTANCE_LENGTH.name: last.acceptance_length,
    }
    if output.json:
        output.result(
            {
                "text": "".join(chunk.text for chunk in chunks),
                "finish_reason": last.finish_reason,
                "mode": last.mode,
                "num_input_tokens": last.num_input_tokens,
                "num_output_tokens": tokens,
                "chunks": len(chunks),
                "seconds": round(seconds, 6),
                "tokens_per_second": round(tokens / seconds, 3),
                "tokens_per_forward": last.tokens_per_forward,
                "acceptance_length": last.acceptance_length,
                "nfe": last.nfe,
                "seed": last.seed,
            }
        )
        return
    output.note(figures.summary(last.mode, tokens, measured, seed=last.seed, finish_reason=last.finish_reason))
