# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The two kinds of error that a user can act on.

Any other exception is a defect of nld-trt and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The most characters of a value that a message shows: integers in JSON can have any length.
_LONGEST = 30
# Numbers with at least this many digits are cut in messages; every meaningful number has fewer.
_NUMBER = re.compile(r"\d{60,}")
# The most lines of a list that a message shows: with the text around them it fits a terminal of 24 lines.
_MOST_LINES = 16


class NldError(Exception):
    """An error with a message for the user. The CLI prints it without a traceback. Very long numbers are cut.

    Args:
        what: one sentence naming what was asked and what was found.
        details: further facts, one per line (every missing tensor, the log's last lines).
        fix: what to do about it, preferably a command that can be pasted.
    """

    exit_code = 1

    def __init__(self, what: str, *, details: Iterable[str] = (), fix: str | None = None) -> None:
        self.what = short_numbers(what)
        self.details = tuple(map(short_numbers, details))
        self.fix = None if fix is None else short_numbers(fix)
        super().__init__(
            "\n".join([self.what, *(f"  {line}" for line in self.details), *([self.fix] if self.fix else [])])
        )


class InputError(NldError):
    """A file, a flag or a value that the user gave cannot be used. The exit status is 2."""

    exit_code = 2


class OperationError(NldError):
    """The input was valid and the work failed, in a compiler, a server or on a disk. The exit status is 1."""

    exit_code = 1


def shortened(value: object) -> str:
    """Returns the text of a value for a message, cut if it is long."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def short_numbers(text: str) -> str:
    """Returns a text in which numbers of 60 or more digits are cut: users can send numbers that fill a window."""
    return _NUMBER.sub(lambda match: shortened(match[0]), text)


def some(*kinds: Iterable[str]) -> list[str]:
    """Select lines of every kind, at most 16 in total. A kind that is cut ends with the number of omitted lines."""
    lists = [list(kind) for kind in kinds]
    lines_left, shares = _MOST_LINES, [0] * len(lists)
    # Short lists come first: the lines that they do not use are given to the long ones.
    for done, place in enumerate(sorted(range(len(lists)), key=lambda place: len(lists[place]))):
        shares[place] = min(len(lists[place]), lines_left // (len(lists) - done))
        lines_left -= shares[place]
    found: list[str] = []
    for lines, share in zip(lists, shares, strict=True):
        cut = len(lines) - share
        found += [*lines[: share - 1], f"... and {cut + 1} more such lines"] if cut else lines
    return found
