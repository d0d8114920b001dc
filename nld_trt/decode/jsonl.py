# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch form: a file of requests in, a file of results out, one JSON object per line."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nld_trt import names
from nld_trt.decode.batch import Decoder
from nld_trt.decode.prompt import parse_prompt
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.decode.row import Row
from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, check_plain, parse_json, walk
from nld_trt.model.text.codec import Codec
from nld_trt.names import DEFAULT_MODE, DEFAULT_THRESHOLDS

# Field name to the JSON types it may have; bool is not an int here.
_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str, int, float, type(None)),
    "prompt": (str,),
    "prompt_ids": (list,),
    "messages": (list,),
    "tools": (list, type(None)),
    "documents": (list, type(None)),
    "chat_template_kwargs": (dict, type(None)),
    "system": (str, type(None)),
    "raw": (bool,),
    "mode": (str,),
    "lora": (bool,),
    "max_new_tokens": (int,),
    "block_length": (int,),
    "threshold": (int, float, type(None)),
    "eos_token_id": (int, list),
    "stop": (list,),
    "max_thinking_tokens": (int,),
    "end_think_token_id": (int,),
    "temperature": (int, float),
    "top_k": (int,),
    "top_p": (int, float),
    "min_p": (int, float),
    "seed": (int,),
    "acceptance": (str,),
    "ensemble": (int, float),
}

_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True)
class BadLine:
    """A line that is no request, with what is wrong in it."""

    request_id: Any
    error: str


def parse_request(values: Mapping[str, Any], codec: Codec | None) -> Request:
    """One request from its JSON object.

    Raises:
        InputError: an unknown field, a value of another type, or no prompt.
    """
    unknown = sorted(set(values) - set(_FIELDS))
    if unknown:
        raise InputError(f"unknown field {shortened(repr(unknown[0]))}; known: {', '.join(_FIELDS)}")
    for name, value in values.items():
        if not isinstance(value, _FIELDS[name]) or (isinstance(value, bool) and bool not in _FIELDS[name]):
            # A number may be whole; nobody needs to be told.
            kinds = [kind for kind in _FIELDS[name] if kind is not int or float not in _FIELDS[name]]
            known = " or ".join(_WORDS[kind] for kind in kinds)
            raise InputError(f"{name} is {shortened(repr(value))}; it must be {known}")
    mode = values.get("mode", DEFAULT_MODE)
    if mode not in DEFAULT_THRESHOLDS:
        raise InputError(f"mode is {shortened(repr(mode))}; supported: {', '.join(DEFAULT_THRESHOLDS)}")
    stop = tuple(values.get("stop", ()))
    if not all(isinstance(text, str) for text in stop):
        raise InputError("stop must be a list of strings")
    check_plain("stop", list(stop))
    return Request(
        prompt_ids=parse_prompt(values, codec),
        mode=mode,
        lora=values.get("lora"),
        max_new_tokens=values.get("max_new_tokens"),
        block_length=values.get("block_length"),
        threshold=values.get("threshold", DEFAULT_THRESHOLDS[mode]),
        eos_token_id=parse_eos(values.get("eos_token_id")),
        stop=stop,
        temperature=values.get("temperature"),
        top_k=values.get("top_k"),
        top_p=values.get("top_p"),
        min_p=values.get("min_p"),
        seed=values.get("seed"),
        acceptance=values.get("acceptance"),
        ensemble=values.get("ensemble", names.DEFAULT_ENSEMBLE),
        max_thinking_tokens=values.get("max_thinking_tokens"),
        end_think_token_id=values.get("end_think_token_id"),
    )


def parse_eos(stated: int | list[Any] | None) -> int | tuple[int, ...] | None:
    """One id or several of ``eos_token_id``.

    Raises:
        InputError: a list with something else in it.
    """
    if not isinstance(stated, list):
        return stated
    foreign = [token for token in stated if type(token) is not int]
    if foreign:
        raise InputError(f"eos_token_id has {shortened(repr(foreign[0]))}; it must be token ids")
    return tuple(stated)


def read_lines(lines: Iterable[str | bytes], codec: Codec | None) -> Iterator[tuple[Any, Request] | BadLine]:
    """Parse a requests file; blank lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        request_id: Any = None
        try:
            values = parse_json(line)
            if not isinstance(values, dict):
                raise InputError(f"line {number} is no JSON object, which a request is")
            request_id = _id(values)
            yield request_id, parse_request(values, codec)
        except JsonError as error:
            yield BadLine(_id_of_faulty(error.values), f"line {number} {error.what}")
        except InputError as error:
            yield BadLine(request_id, str(error))


def run_lines(lines: Iterable[str | bytes], decoder: Decoder) -> Iterator[dict[str, Any]]:
    """Results in the order of the requests, each as soon as it and all before it are done.

    A bad request gives a line with ``error``, and the others go on.
    """
    entries: deque[tuple[Any, Row] | BadLine] = deque()
    for parsed in read_lines(lines, decoder.codec):
        if isinstance(parsed, BadLine):
            entries.append(parsed)
            continue
        request_id, request = parsed
        try:
            entries.append((request_id, decoder.submit(request)))
        except InputError as error:
            entries.append(BadLine(request_id, str(error)))
    yield from _ended(entries)
    for emission in decoder.run():
        if emission.finish_reason is not None:
            yield from _ended(entries)


def _ended(entries: deque[tuple[Any, Row] | BadLine]) -> Iterator[dict[str, Any]]:
    """Takes away the first entries as far as they have a result."""
    while entries:
        match entries[0]:
            case BadLine(request_id, error):
                yield {"id": request_id, "error": error}
            case (request_id, row) if row.finish_reason is not None:
                yield Result.of(row).to_line(request_id)
            case _:
                return
        entries.popleft()


def _id(values: Mapping[str, Any]) -> Any:
    """The request's id, as its result repeats it.

    Raises:
        InputError: it is or holds NaN or an infinity, which Python reads, and no other reader of the results would.
    """
    found = values.get("id")
    for _, inner in walk(found):
        if isinstance(inner, float) and not math.isfinite(inner):
            raise InputError(f"id {'is' if inner is found else 'holds'} {inner}, which is no number in JSON")
    return found


def _id_of_faulty(values: Any) -> Any:
    """The id of a line that is refused as a whole, where it can be told."""
    try:
        return _id(values) if isinstance(values, dict) else None
    except InputError:
        return None
