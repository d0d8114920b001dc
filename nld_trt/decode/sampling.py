# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How the tokens of a request are sampled: defaults of the settings, and rules between them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from nld_trt import names
from nld_trt.decode.fields import FIELDS
from nld_trt.errors import InputError, shortened
from nld_trt.model.generation import GenerationDefaults
from nld_trt.names import ACCEPTANCE_RULES, REJECT, AcceptanceName

# bench/acceptance.py has measured both rules: rejection accepts as many tokens as match up to temperature 1, within the
# errors of the measurement, and more above.
DEFAULT_ACCEPTANCE: Final[AcceptanceName] = REJECT

# Values with which the filters keep every token.
NO_FILTER: Final[Mapping[str, float]] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}


def default_sampling(generation: GenerationDefaults, mode: str) -> dict[str, float]:
    """Sampling settings that a request in ``mode`` gets by default: the checkpoint's, or those of greedy decoding."""
    return {"temperature": 0.0, **NO_FILTER, **taken_over(generation, mode)}


def taken_over(generation: GenerationDefaults, mode: str) -> dict[str, float]:
    """The checkpoint's defaults for the settings of requests in ``mode``, by name.

    Diffusion has no filters, and takes none over. An engine keeps MAX_TOP_K tokens wherever it filters, so that a
    larger ``top_k`` is that many.
    """
    stated = {
        name: value for name, value in generation.sampling.items() if mode != names.DIFFUSION or name not in NO_FILTER
    }
    return stated | ({"top_k": min(stated["top_k"], names.MAX_TOP_K)} if "top_k" in stated else {})


def check_sampling(values: Mapping[str, Any], mode: str) -> None:
    """Check sampling settings by name. Those that are None have not been stated.

    Raises:
        InputError: one is out of range, or ``mode`` does not have it.
    """
    for name, value in values.items():
        FIELDS[name].check(value)
    if mode != names.DIFFUSION:
        return
    for name, neutral in NO_FILTER.items():
        if values.get(name) not in (None, neutral):
            raise InputError(
                f"{name} is {values[name]}; diffusion samples from all tokens and has no such filter",
                fix=f"Leave {name} out, or use another mode.",
            )


def check_acceptance(rule: str, mode: str, threshold: float | None) -> None:
    """Check that a rule exists and can verify the drafts of ``mode`` with ``threshold``.

    Raises:
        InputError: it cannot.
    """
    if rule not in ACCEPTANCE_RULES:
        raise InputError(f"acceptance is {shortened(repr(rule))}; supported: {', '.join(ACCEPTANCE_RULES)}")
    if rule != REJECT:
        return
    if mode != names.LINEAR:
        raise InputError(f"acceptance is {REJECT!r}, a rule of linear mode, and mode is {mode!r}", fix="Leave it out.")
    if threshold:
        raise InputError(
            f"acceptance is {REJECT!r} and threshold {threshold}: which tokens a draft of several passes commits "
            "depends on what was sampled, so that nobody knows what they were sampled from",
            fix="Use threshold 0, or acceptance match.",
        )


def fresh_seed() -> int:
    """A seed that nobody can foresee, and that every reader of JSON keeps as it is."""
    return secrets.randbelow(2**53)
