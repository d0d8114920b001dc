# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a request may say about how its tokens are sampled: names, neutral values, ranges, and what engines get."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from nld_trt import names
from nld_trt.errors import InputError, shortened
from nld_trt.graph.step.candidates import SHORTLIST
from nld_trt.model.generation import GenerationDefaults
from nld_trt.names import ACCEPTANCE_RULES, REJECT, AcceptanceName

# bench/acceptance.py: level with match up to temperature 1, within its errors, and better above.
DEFAULT_ACCEPTANCE: Final[AcceptanceName] = REJECT

MAX_SEED: Final = 2**63 - 1
# With these a filter keeps every token.
NO_FILTER: Final[Mapping[str, float]] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}

# Engines compute in float32.
_MAX_TEMPERATURE = float(np.finfo(np.float32).max)
# The most likely token of any vocabulary has a larger probability, so that a smaller top_p keeps the same; in float32
# it could become 0, which no token would be needed to reach.
_SMALLEST_TOP_P = 1e-30


@dataclass(frozen=True)
class Setting:
    """A range, as a test that NaN fails and in words."""

    allows: Callable[[Any], bool]
    words: str


SETTINGS: Final[Mapping[str, Setting]] = {
    "temperature": Setting(
        lambda value: 0.0 <= value <= _MAX_TEMPERATURE, f"from 0, which is greedy, to {_MAX_TEMPERATURE:.2g}"
    ),
    "top_k": Setting(
        lambda value: 0 <= value <= SHORTLIST, f"a whole number from 0, which keeps every token, to {SHORTLIST}"
    ),
    "top_p": Setting(lambda value: 0.0 < value <= 1.0, "above 0 and at most 1, which keeps every token"),
    "min_p": Setting(lambda value: 0.0 <= value < 1.0, "below 1 and at least 0, which keeps every token"),
    "seed": Setting(lambda value: 0 <= value <= MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
}


def default_sampling(generation: GenerationDefaults, mode: str) -> dict[str, float]:
    """Settings of requests in ``mode`` that say nothing: the checkpoint's defaults, and where it has none, greedy."""
    return {"temperature": 0.0, **NO_FILTER, **taken_over(generation, mode)}


def taken_over(generation: GenerationDefaults, mode: str) -> dict[str, float]:
    """The checkpoint's defaults for the settings of requests in ``mode``, by name.

    Diffusion has no filters, and takes none over. An engine keeps SHORTLIST tokens wherever it filters, so that a
    larger ``top_k`` is that many.
    """
    stated = {
        name: value for name, value in generation.sampling.items() if mode != names.DIFFUSION or name not in NO_FILTER
    }
    return stated | ({"top_k": min(stated["top_k"], SHORTLIST)} if "top_k" in stated else {})


def check_sampling(values: Mapping[str, Any], mode: str) -> None:
    """Check settings by name; those that are None are left to be chosen.

    Raises:
        InputError: one is out of range, or ``mode`` does not have it.
    """
    for name, value in values.items():
        if value is not None and not SETTINGS[name].allows(value):
            raise InputError(f"{name} is {shortened(value)}; it must be {SETTINGS[name].words}")
    if mode != names.DIFFUSION:
        return
    for name, neutral in NO_FILTER.items():
        if values.get(name) not in (None, neutral):
            raise InputError(
                f"{name} is {values[name]}; diffusion samples from all tokens and has no such filter",
                fix=f"Leave {name} out, or use another mode.",
            )


def check_acceptance(rule: str, mode: str, threshold: float | None) -> None:
    """Raises InputError: there is no such rule, or not for these drafts."""
    if rule not in ACCEPTANCE_RULES:
        raise InputError(f"acceptance is {rule!r}; supported: {', '.join(ACCEPTANCE_RULES)}")
    if rule != names.REJECT:
        return
    if mode != names.LINEAR:
        raise InputError(f"acceptance is {REJECT!r}, a rule of linear mode, and mode is {mode!r}", fix="Leave it out.")
    if threshold:
        raise InputError(
            f"acceptance is {REJECT!r} and threshold {threshold}: which tokens a draft of several passes commits "
            "depends on what was sampled, so that nobody knows what they were sampled from",
            fix="Use threshold 0, or acceptance match.",
        )


def check_ensemble(weight: float) -> None:
    """Raises InputError: out of range."""
    if not 0.0 <= weight <= 1.0:
        raise InputError(f"ensemble is {weight}; it must be between 0 and 1, which is AR alone")


def fresh_seed() -> int:
    """A seed that nobody can foresee, and that every reader of JSON keeps as it is."""
    return secrets.randbelow(2**53)


def engine_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Engine inputs of one row, by name, for settings that were checked; a seed that is None is not needed."""
    return {
        **values,
        "top_p": max(values["top_p"], _SMALLEST_TOP_P),
        "seed": 0 if values["seed"] is None else values["seed"],
    }
