# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""JSON that users send, in a line of a file or a tensor of a request. It is read, or refused with the reason."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from nld_trt.errors import InputError, shortened

# The deepest nesting that is read. Requests and tool descriptions need about ten levels; Python's reader and writer and
# the templates recurse, and exhaust the stack at some thousand levels.
MAX_DEPTH = 100
# The longest integer that is read. Python by default neither reads nor writes more than 4,300 digits.
MAX_DIGITS = 1000


class JsonError(InputError):
    """The text is not JSON, or JSON that other readers would read differently or not at all.

    Attributes:
        what: a predicate, to be put after the name of the text: ``is not JSON: Expecting value``.
        values: the value that could be read in spite of the fault; None where none could.
    """

    def __init__(self, what: str, values: Any = None) -> None:
        super().__init__(what)
        self.values = values


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text. NaN and numbers too large for a float become floats, which the checks of each field refuse.

    Args:
        text: text, or bytes in UTF-8. A leading byte order mark is skipped.

    Raises:
        JsonError: it is not JSON, has an integer with more than ``MAX_DIGITS`` digits, repeats a name in one object, or
            is nested more than ``MAX_DEPTH`` deep.
    """
    faults: list[str] = []
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
        value = json.loads(decoded, parse_int=_whole(faults), object_pairs_hook=_object(faults))
    except UnicodeDecodeError as error:
        raise JsonError("has text that is not Unicode") from error
    except json.JSONDecodeError as error:
        raise JsonError(f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from error
    except RecursionError as error:
        raise JsonError(_TOO_DEEP) from error
    if any(depth > MAX_DEPTH for depth, _ in walk(value)):
        raise JsonError(_TOO_DEEP)
    if faults:
        raise JsonError(faults[0], value)
    return value


def walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield every value in ``value`` with its depth, including keys of objects. ``value`` itself has depth 0."""
    stack = [(0, value)]
    while stack:
        depth, found = stack.pop()
        yield depth, found
        if isinstance(found, dict):
            stack.extend((depth + 1, item) for pair in found.items() for item in pair)
        elif isinstance(found, list):
            stack.extend((depth + 1, item) for item in found)


def check_plain(name: str, value: Any) -> None:
    """Raises InputError, beginning with ``name``, if ``value`` holds a text that is not Unicode or a NaN or infinity.

    JSON escapes can encode half of a surrogate pair, which no tokenizer accepts, and Python reads ``NaN``.
    """
    for _, found in walk(value):
        if isinstance(found, str) and not is_unicode(found):
            raise InputError(f"{name} has text that is not Unicode")
        if isinstance(found, float) and not math.isfinite(found):
            raise InputError(f"{name} has {found}, which is no number in JSON")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded as UTF-8, which half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_TOO_DEEP = f"is nested more than {MAX_DEPTH} deep"


def _whole(faults: list[str]) -> Callable[[str], int]:
    def read(digits: str) -> int:
        count = len(digits.lstrip("-"))
        if count <= MAX_DIGITS:
            return int(digits)
        faults.append(f"has a whole number of {count} digits; at most {MAX_DIGITS} are read")
        return 0

    return read


def _object(faults: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = next(name for name, count in counts.items() if count > 1)
            faults.append(f"has {shortened(repr(twice))} twice in one object")
        return values

    return build
