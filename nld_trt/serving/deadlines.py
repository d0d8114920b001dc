# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines of requests. A request is refused if the queue is too long for its deadline, and ended when that passes."""

from __future__ import annotations

import math
import time

from nld_trt.errors import InputError, OperationError, shortened
from nld_trt.serving.errors import WAITING, Cancelled, Unavailable

_MICROSECONDS = 1e6
# The weight of the newest request in the moving average of the time that a request takes.
_WEIGHT = 0.2


def read_timeout(value: object) -> float | None:
    """Convert Triton's request parameter ``timeout``, in microseconds, to seconds. Returns None for 0: no limit.

    Raises:
        InputError: it is not a number of 0 or more.
    """
    text = str(value)
    number = float(text) if text.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0 or number == math.inf:
        raise InputError(f"timeout is {shortened(repr(value))}; it must be a number of microseconds, 0 for no limit")
    return float(number) / _MICROSECONDS or None


class Pace:
    """A moving average of the time that requests take from their first forward to their end."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def add(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else (1 - _WEIGHT) * self.seconds + _WEIGHT * seconds

    def wait(self, ahead: int, rows: int) -> float:
        """Estimate the seconds until a new request starts, if all ``rows`` rows are in use and ``ahead`` requests wait.

        The estimate is 0 until a request has ended.
        """
        return (self.seconds or 0.0) * (ahead + 1) / rows


class Deadline:
    """The time by which a request must have ended.

    Attributes:
        seconds: the time that the client allows, from the arrival of the request.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def passed(self, now: float) -> bool:
        return now >= self._end

    def refusal(self, ahead: int, wait: float) -> OperationError:
        return Unavailable(
            f"timeout is {self.seconds:g} s; {ahead} {WAITING}, and this one would start in about {wait:.2g} s",
            fix="Send it again later, with a longer timeout, or to another server.",
        )

    def failure(self, tokens: int) -> OperationError:
        state = f"{tokens} tokens had been generated" if tokens else "it was still waiting for its first token"
        return Cancelled(
            f"the request's timeout of {self.seconds:g} s has passed; {state}",
            fix="Give it a longer timeout, in microseconds, or ask for fewer tokens.",
        )
