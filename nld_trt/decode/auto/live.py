# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A cost table that is compared with the forwards of a server while it serves."""

from __future__ import annotations

from math import exp, log
from typing import Final

from nld_trt.decode.auto.costs import CostTable

# Observations that the running means remember. What all widths have in common changes with contexts and clocks; how one
# width compares with the others changes with neither.
_COMMON_MEMORY: Final = 64
_WIDTH_MEMORY: Final = 512
# Observations before the table is called wrong: the first forwards of a shape are slow.
_ENOUGH: Final = 32
# The most that one observation counts, as a factor: a page fault or a stopped process says nothing of the device.
_OUTLIER: Final = 4.0


class LiveCosts:
    """Seconds of a forward: the table's, times what forwards here take over what the table says.

    Longer contexts, other clocks and the host's part of a step slow down every forward; that is one running ratio. What
    the table has wrong about one width against the others is a second one, of that width. Ratios are geometric means,
    in which the latest observations count most. Not thread-safe; it has no clock of its own.

    Attributes:
        tolerance: the factor beyond which the table is called wrong.
    """

    def __init__(self, table: CostTable, *, tolerance: float = 2.0) -> None:
        assert tolerance > 1
        self.table = table
        self.tolerance = tolerance
        self._common = _RunningLog(_COMMON_MEMORY)
        self._widths: dict[int, _RunningLog] = {}

    def observe(self, rows: int, width: int, seconds: float) -> None:
        """Take in the seconds of one forward, from the end of the forward before it to its own end.

        Do not pass the first forwards of a shape, which compile or capture, nor forwards that waited for requests.
        """
        said = log(max(seconds, 1e-9) / self.table.seconds(rows, width))
        own = self._widths.setdefault(width, _RunningLog(_WIDTH_MEMORY))
        self._common.add(said - own.mean)
        own.add(said - self._common.mean)

    def seconds(self, rows: int, width: int) -> float:
        """Seconds of one forward of ``rows`` rows with ``width`` new tokens each, as they are here and now."""
        own = self._widths.get(width)
        return self.table.seconds(rows, width) * exp(self._common.mean + (own.mean if own is not None else 0.0))

    @property
    def ratios(self) -> dict[int, float]:
        """For each width that was observed, the seconds here over the table's."""
        return {width: exp(self._common.mean + own.mean) for width, own in sorted(self._widths.items())}

    @property
    def off(self) -> str | None:
        """What the table has wrong by more than ``tolerance``, as a sentence; None while it holds.

        A decision compares widths, so that a table whose times are all wrong by one factor decides rightly. This tells
        of both.
        """
        far = {
            width: ratio
            for width, ratio in self.ratios.items()
            if self._widths[width].count >= _ENOUGH and not 1 / self.tolerance <= ratio <= self.tolerance
        }
        if not far:
            return None
        listed = ", ".join(f"{ratio:.2f} times as long at width {width}" for width, ratio in far.items())
        return f"forwards take {listed} as the cost table says, which allows a factor of {self.tolerance:g}"


class _RunningLog:
    """A running mean of logarithms, plain over the first ``memory`` values and then with exponential forgetting."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.mean = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Take in a value; one that is far from the mean counts as an outlier, once there is a mean to compare with."""
        self.count += 1
        if self.count > _ENOUGH:
            most = log(_OUTLIER)
            value = min(max(value, self.mean - most), self.mean + most)
        self.mean += (value - self.mean) / min(self.count, self.memory)
