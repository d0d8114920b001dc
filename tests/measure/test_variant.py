# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which variants an engine has, and that none is measured twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.variant import parse_variants

CASES = {
    "all, with adapter": (
        True,
        None,
        [("ar", False), ("diffusion", False), ("linear", True), ("linear-no-lora", False), ("quadratic", True)],
    ),
    "all, without": (False, None, [("ar", False), ("diffusion", False), ("linear", False), ("quadratic", False)]),
    "both linear, with adapter": (True, "linear,linear-no-lora", [("linear", True), ("linear-no-lora", False)]),
    "both linear, without": (False, "linear,ar,linear-no-lora", [("linear", False), ("ar", False)]),
    "the first name stays": (False, "linear-no-lora,linear", [("linear-no-lora", False)]),
    "named twice": (True, "ar, ar,", [("ar", False)]),
}


@pytest.mark.parametrize("case", CASES)
def test_variants_of_an_engine(golden_session, case):
    adapter, modes, expected = CASES[case]
    info = replace(golden_session("tiny-a").info, has_adapter=adapter)
    assert [(variant.name, variant.lora) for variant in parse_variants(modes, info)] == expected


@pytest.mark.parametrize("modes", ["warp", "ar,warp", "", ","])
def test_unknown_and_empty_lists_are_refused(golden_session, modes):
    with pytest.raises(InputError, match="available: ar, diffusion, linear, linear-no-lora"):
        parse_variants(modes, golden_session("tiny-a").info)
