# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a request may say about how its tokens are drawn: names, neutral values, ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from nld_trt.errors import InputError

MAX_SEED: Final = 2**63 - 1
# With these a filter keeps every token.
NO_FILTER: Final[Mapping[str, float]] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}

# Engines compute in float32.
_MAX_TEMPERATURE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Setting:
    """A range, as a test that NaN fails and in words."""

    allows: Callable[[Any], bool]
    words: str


SETTINGS: Final[Mapping[str, Setting]] = {
    "temperature": Setting(lambda value: 0.0 <= value <= _MAX_TEMPERATURE, "a number of at least 0, which is greedy"),
    "top_k": Setting(lambda value: 0 <= value < 2**31, "a whole number of at least 0, which keeps every token"),
    "top_p": Setting(lambda value: 0.0 < value <= 1.0, "above 0 and at most 1, which keeps every token"),
    "min_p": Setting(lambda value: 0.0 <= value < 1.0, "below 1 and at least 0, which keeps every token"),
    "seed": Setting(lambda value: 0 <= value <= MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
}


def check_sampling(values: Mapping[str, Any], mode: str) -> None:
    """Check settings by name; those that are None are left to be chosen.

    Raises:
        InputError: one is out of range, or ``mode`` does not have it.
    """
    for name, value in values.items():
        if value is not None and not SETTINGS[name].allows(value):
            raise InputError(f"{name} is {value}; it must be {SETTINGS[name].words}")
    if mode != "diffusion":
        return
    for name, neutral in NO_FILTER.items():
        if values.get(name, neutral) != neutral:
            raise InputError(
                f"{name} is {values[name]}; diffusion draws from all tokens and has no such filter",
                fix=f"Leave {name} out, or use mode ar or linear.",
            )
