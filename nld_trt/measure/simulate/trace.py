# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""When requests come, and how long they are: recorded arrivals, or users who each send the next request at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Protocol

from nld_trt.errors import InputError
from nld_trt.files.json_text import parse_json
from nld_trt.names import DEFAULT_SIMULATED_TOKENS

_COLUMNS: Final = ("arrival_s", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Arrival:
    """One request: the second at which it comes, and its tokens. A prompt of 0 tokens takes no time."""

    second: float
    input_tokens: int
    output_tokens: int


class Load(Protocol):
    """Where requests come from. A simulation asks it in the order of time."""

    # Simulated seconds after which nothing more is decoded; None where the last request ends it.
    end: float | None

    def due(self, now: float, in_flight: int) -> Sequence[Arrival]:
        """Requests that have come since this was last asked, with ``in_flight`` of them waiting or being decoded."""

    def next_after(self, now: float) -> float | None:
        """The second of the next request while none is in flight; None if no more will come."""


class Recorded:
    """Arrivals that do not depend on the answers.

    Args:
        arrivals: by ascending second.
    """

    end: float | None = None

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals = arrivals
        self._given = 0

    def due(self, now: float, in_flight: int) -> Sequence[Arrival]:
        first = self._given
        while self._given < len(self._arrivals) and self._arrivals[self._given].second <= now:
            self._given += 1
        return self._arrivals[first : self._given]

    def next_after(self, now: float) -> float | None:
        return self._arrivals[self._given].second if self._given < len(self._arrivals) else None


@dataclass(frozen=True)
class Phase:
    """So many users for so many seconds, each of whom sends a request when the one before has been answered."""

    users: int
    seconds: float


class Users:
    """A closed loop whose number of users changes from phase to phase.

    When users join together, their first requests are of different lengths, so that they do not also end together.
    """

    def __init__(self, phases: Sequence[Phase], output_tokens: int = DEFAULT_SIMULATED_TOKENS) -> None:
        self.phases = tuple(phases)
        self.end: float | None = sum(phase.seconds for phase in phases)
        self._ends = list(accumulate(phase.seconds for phase in phases))
        self._output_tokens = output_tokens
        self._phase = -1

    def due(self, now: float, in_flight: int) -> Sequence[Arrival]:
        phase = next((index for index, end in enumerate(self._ends) if now < end), len(self._ends) - 1)
        users, joined = self.phases[phase].users, phase != self._phase
        self._phase = phase
        missing = max(0, users - in_flight)
        return [
            Arrival(now, 0, max(1, self._output_tokens * (number + 1) // missing) if joined else self._output_tokens)
            for number in range(missing)
        ]

    def next_after(self, now: float) -> float | None:
        return next((end for end in self._ends if end > now), None)


def _up_and_down(most: int, seconds: float) -> tuple[Phase, ...]:
    up = [2**power for power in range(most.bit_length())]
    return tuple(Phase(users, seconds) for users in (*up, *reversed(up[:-1])))


# Closed loops by name.
BUILT_IN: Final[Mapping[str, tuple[Phase, ...]]] = {
    "1-128-1": (Phase(1, 20.0), Phase(128, 20.0), Phase(1, 20.0)),
    "doubling": _up_and_down(128, 4.0),
}


def load_of(asked: str, output_tokens: int = DEFAULT_SIMULATED_TOKENS) -> Recorded | Users:
    """The load that ``asked`` names: one of ``BUILT_IN``, or a CSV or JSONL file of arrivals.

    Both kinds of file have ``arrival_s``, ``input_tokens`` and ``output_tokens`` for each request; a CSV file names
    them in its first line.

    Raises:
        InputError: it is neither, or a line of the file cannot be used; it is named.
    """
    if asked in BUILT_IN:
        return Users(BUILT_IN[asked], output_tokens)
    path = Path(asked)
    if not path.is_file():
        raise InputError(f"--trace {asked} is neither a file nor a built-in trace; those are {', '.join(BUILT_IN)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--trace {asked} cannot be read: {error}") from error
    lines = _csv_lines(text) if path.suffix.lower() == ".csv" else _json_lines(text, asked)
    arrivals = sorted((_arrival(values, asked, number) for number, values in lines), key=lambda each: each.second)
    if not arrivals:
        raise InputError(f"--trace {asked} has no arrivals")
    return Recorded(arrivals)


def _csv_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from enumerate(csv.DictReader(io.StringIO(text)), start=2)


def _json_lines(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                values = parse_json(line)
            except InputError as error:
                raise InputError(f"--trace {name}, line {number} {error.what}") from error
            if not isinstance(values, dict):
                raise InputError(f"--trace {name}, line {number} is no JSON object")
            yield number, values


def _arrival(values: Mapping[str, Any], name: str, line: int) -> Arrival:
    missing = [column for column in _COLUMNS if values.get(column) in (None, "")]
    if missing:
        raise InputError(f"--trace {name}, line {line} lacks {', '.join(missing)}")
    try:
        second, tokens = float(values["arrival_s"]), [int(values[column]) for column in _COLUMNS[1:]]
    except (TypeError, ValueError) as error:
        raise InputError(f"--trace {name}, line {line}: {error}") from error
    if not 0 <= second < float("inf") or tokens[0] < 0 or tokens[1] < 1:
        raise InputError(
            f"--trace {name}, line {line} is at second {second:g} with {tokens[0]} and {tokens[1]} tokens",
            fix="Seconds and input tokens are 0 or more, output tokens 1 or more.",
        )
    return Arrival(second, *tokens)
