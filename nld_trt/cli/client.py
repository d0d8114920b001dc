# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt client``: one prompt to a running server, streamed to the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from nld_trt import names
from nld_trt.cli._options import DECODING, SAMPLING_OPTIONS, TEXT, request_options
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError


@click.command("client")
@click.argument("url")
@click.argument("prompt", type=TEXT, required=False)
@click.option("--model", default=names.DEFAULT_MODEL_NAME, help="Name of the model on the server.")
@request_options(*DECODING, "allow_diffusion", *SAMPLING_OPTIONS, "system", "raw", "stop", defaults=False)
@click.option(
    "--messages", "messages_file", type=click.Path(path_type=Path), default=None,
    help="JSON file with the messages of a conversation, in the place of PROMPT.",
)  # fmt: skip
@click.option(
    "--tools", "tools_file", type=click.Path(path_type=Path), default=None,
    help="JSON file with descriptions of functions, for the chat template.",
)  # fmt: skip
@click.option(
    "--timeout", type=float, default=names.DEFAULT_CLIENT_TIMEOUT, help="Longest wait for the next piece, in seconds."
)
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
    *,
    model: str,
    messages_file: Path | None,
    tools_file: Path | None,
    timeout: float,
    deadline: float | None,
    **options: Any,
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
    from nld_trt.serving.triton.answer import Answer, read_conversation
    from nld_trt.serving.triton.client import stream

    if (prompt is None) == (messages_file is None):
        raise InputError("give either a PROMPT or --messages FILE")
    conversation = read_conversation(messages=messages_file, tools=tools_file)
    inputs = {"text_input": prompt, **conversation, **_inputs(**options)}
    started = time.perf_counter()
    chunks = []
    for chunk in stream(url, model=model, timeout=timeout, deadline=deadline, **inputs):
        chunks.append(chunk)
        output.stream(chunk.text)
    output.stream("\n")
    answer = Answer(chunks, time.perf_counter() - started)
    if output.json:
        output.result(answer.to_dict())
    else:
        output.note(answer.summary)


def _inputs(
    *,
    max_new_tokens: int | None,
    threshold: str | None,
    ensemble: float | None,
    raw: bool,
    stop: tuple[str, ...],
    **others: Any,
) -> dict[str, Any]:
    """Return the inputs of the request by the server's names; None leaves one to the server's default.

    Raises:
        InputError: the data type of an input cannot hold a number, which would reach the server as another.
    """
    from nld_trt.cli.generate import parse_threshold
    from nld_trt.decode.fields import FIELDS, SAMPLING
    from nld_trt.decode.sampling import check_sampling

    check_sampling({name: others[name] for name in SAMPLING}, others["mode"] or "")
    FIELDS["ensemble"].check(ensemble)
    inputs = {
        "max_tokens": max_new_tokens,
        "ensemble": ensemble,
        "raw": True if raw else None,
        "stop_words": list(stop) or None,
        **others,
    }
    if threshold is not None:
        confidence = parse_threshold(threshold)
        inputs["threshold"] = -1.0 if confidence is None else confidence
    return inputs
