# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that must be answered by a time: refused when the queue is too long for that, ended when it has passed."""

from __future__ import annotations

import math
import time

from nld_trt.errors import InputError, OperationError, shortened
from nld_trt.serving.errors import Cancelled, Unavailable

_MICROSECONDS = 1e6
# The weight of the newest request in the moving average of the time that a request takes.
_WEIGHT = 0.2


def read_timeout(value: object) -> float | None:
    """Seconds of Triton's request parameter ``timeout``, which is in microseconds; None for 0, which is no limit.

    Raises:
        InputError: anything but a whole number, 0 or more.
    """
    text = str(value)
    number = float(text) if text.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0 or number == math.inf:
        raise InputError(f"timeout is {shortened(repr(value))}; it must be a number of microseconds, 0 for no limit")
    return float(number) / _MICROSECONDS or None


class Pace:
    """How long a request takes, from its first forward to its end, as the last ones did."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def add(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else (1 - _WEIGHT) * self.seconds + _WEIGHT * seconds

    def wait(self, ahead: int, rows: int) -> float:
        """Expected seconds until a request starts that finds no row free of ``rows``, and ``ahead`` others waiting.

        0 while nothing is known.
        """
        return (self.seconds or 0.0) * (ahead + 1) / rows


class Deadline:
    """The time by which a request must have ended.

    Attributes:
        seconds: that the client gave it, from when it came.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def passed(self, now: float) -> bool:
        return now >= self._end

    def refusal(self, ahead: int, wait: float) -> OperationError:
        return Unavailable(
            f"timeout is {self.seconds:g} s; {ahead} requests wait already, and this one would start "
            f"in about {wait:.2g} s",
            fix="Send it again later, with a longer timeout, or to another server.",
        )

    def failure(self, tokens: int) -> OperationError:
        state = f"{tokens} tokens had been generated" if tokens else "it was still waiting for its first token"
        return Cancelled(
            f"the request's timeout of {self.seconds:g} s has passed; {state}",
            fix="Give it a longer timeout, in microseconds, or ask for fewer tokens.",
        )
