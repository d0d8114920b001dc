# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The two kinds of failure a user can act on.

Anything else that is raised is a defect of nld-trt and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A message shows so many characters of a value: JSON has whole numbers of any length.
_LONGEST = 30
# Digits in a row that a reader still takes in; every figure that means something has fewer.
_NUMBER = re.compile(r"\d{60,}")
# Of a list in a message: with what stands around it, a message fits a terminal window of 24 lines.
_MOST_LINES = 16


class NldError(Exception):
    """A failure with a message for the user. The CLI prints it without a traceback. Endless numbers are cut.

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
    """Something given to nld-trt cannot be used: a file, a flag, a value. Exit status 2."""

    exit_code = 2


class OperationError(NldError):
    """The input was fine and the work failed: a compiler, a server, a disk. Exit status 1."""

    exit_code = 1


def shortened(value: object) -> str:
    """A value for a message, as it is written, or its beginning."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def short_numbers(text: str) -> str:
    """A text with its numbers of 60 digits and more cut: users can send numbers that fill a window."""
    return _NUMBER.sub(lambda match: shortened(match[0]), text)


def some(*kinds: Iterable[str]) -> list[str]:
    """Lines of every kind, at most 16 together: a kind that is cut ends with how many more there are."""
    lists = [list(kind) for kind in kinds]
    room, shares = _MOST_LINES, [0] * len(lists)
    # Short lists first: what they leave of their share is for the long ones.
    for done, place in enumerate(sorted(range(len(lists)), key=lambda place: len(lists[place]))):
        shares[place] = min(len(lists[place]), room // (len(lists) - done))
        room -= shares[place]
    found: list[str] = []
    for lines, share in zip(lists, shares, strict=True):
        cut = len(lines) - share
        found += [*lines[: share - 1], f"... and {cut + 1} more such lines"] if cut else lines
    return found
