# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The pulse of the decode loop, by which others see that it is alive."""

from __future__ import annotations

import time


class Pulse:
    """When the decode loop last went round. The loop writes it and any thread may read it."""

    def __init__(self) -> None:
        self._last: float | None = None

    def beat(self) -> None:
        """The loop goes round once more."""
        self._last = time.monotonic()

    def rest(self) -> None:
        """The loop has nothing to do, and waits for a request."""
        self._last = None

    @property
    def silence(self) -> float:
        """Seconds since the last beat; 0 while the loop rests."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last
