# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch form: a file of requests in, a file of results out, one JSON object per line."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nld_trt.decode.batch import Batch
from nld_trt.decode.fields import FIELDS
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.decode.row import Row
from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, check_plain, parse_json, walk
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.prompt import parse_prompt
from nld_trt.names import DEFAULT_THRESHOLDS, MODES


@dataclass(frozen=True)
class BadLine:
    """A line that could not be read as a request, and the reason."""

    request_id: Any
    error: str


def parse_request(values: Mapping[str, Any], codec: Codec | None) -> Request:
    """Read one request from its JSON object.

    Raises:
        InputError: an unknown field, a value of another type, or no prompt.
    """
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise InputError(f"unknown field {shortened(repr(unknown[0]))}; known: {', '.join(FIELDS)}")
    for name, value in values.items():
        FIELDS[name].check_type(value)
    mode = values.get("mode")
    if mode is not None and mode not in MODES:
        raise InputError(f"mode is {shortened(repr(mode))}; supported: {', '.join(MODES)}")
    stop = tuple(values.get("stop", ()))
    if not all(isinstance(text, str) for text in stop):
        raise InputError("stop must be a list of strings")
    check_plain("stop", list(stop))
    settings = {name: value for name, value in values.items() if FIELDS[name].setting}
    # Clients that fill in every field send an empty string for none.
    settings |= {"stop": tuple(text for text in stop if text), "eos_token_id": parse_eos(values.get("eos_token_id"))}
    if mode is not None:
        settings = {"threshold": DEFAULT_THRESHOLDS[mode], **settings}
    return Request(parse_prompt(values, codec), **settings)


def parse_eos(stated: int | list[Any] | None) -> int | tuple[int, ...] | None:
    """Read ``eos_token_id``, which is one token id or a list of them.

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


def run_lines(lines: Iterable[str | bytes], batch: Batch) -> Iterator[dict[str, Any]]:
    """Decode a requests file; yields result lines in the order of the requests, each when all before it are done.

    A bad request gives a line with ``error``, and the others go on.
    """
    entries: deque[tuple[Any, Row] | BadLine] = deque()
    for parsed in read_lines(lines, batch.codec):
        if isinstance(parsed, BadLine):
            entries.append(parsed)
            continue
        request_id, request = parsed
        try:
            entries.append((request_id, batch.submit(request)))
        except InputError as error:
            entries.append(BadLine(request_id, str(error)))
    yield from _ended(entries)
    for emission in batch.run():
        if emission.finish_reason is not None:
            yield from _ended(entries)


def _ended(entries: deque[tuple[Any, Row] | BadLine]) -> Iterator[dict[str, Any]]:
    """Remove the leading entries whose requests have ended, and yield their lines."""
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
    """The id of a line that is refused as a whole; None where it cannot be read."""
    try:
        return _id(values) if isinstance(values, dict) else None
    except InputError:
        return None
