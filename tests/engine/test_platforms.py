# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Platforms agree with the backends that they name."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.platforms import PLATFORMS, platform, titles_with
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.errors import InputError


@pytest.mark.parametrize("known", PLATFORMS.values(), ids=str)
def test_backends_exist(known):
    assert set(known.backends) <= set(BACKENDS)


@pytest.mark.parametrize("known", PLATFORMS.values(), ids=str)
def test_rtx_backend_is_named_exactly_where_its_library_has_the_gpu(known):
    has_gpu = any(capability in TRT_RTX.targets for capability in known.compute_capabilities)
    assert ("trt-rtx" in known.backends) == has_gpu


def test_unknown_platform_lists_what_exists():
    with pytest.raises(InputError, match="'b300'; available: gb200, b200, rtx-pro-6000, dgx-spark, h200, h100, cpu"):
        platform("b300")


def test_titles_follow_the_compute_capability():
    assert titles_with("9.0") == " (H200 SXM, H100 SXM)"
    assert titles_with("5.2") == ""
