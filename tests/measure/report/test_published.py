# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Published speed-ups, and which platform a device is."""

from __future__ import annotations

import pytest

from nld_trt import names
from nld_trt.measure.report.published import platform_of, published_speedups


def test_published_factors_are_those_of_their_sources():
    """The factors that the model card and the paper state, to the digit in which they state them."""
    found = [(each.platform, each.precision, round(each.factor, 2)) for each in published_speedups()]
    assert found == [
        ("gb200", "unstated", 3.36),
        ("gb200", "unstated", 4.01),
        ("rtx-pro-6000", "fp8", 3.46),
        ("rtx-pro-6000", "int4", 2.35),
        ("dgx-spark", "fp8", 3.14),
        ("dgx-spark", "int4", 2.69),
    ]


def test_doubtful_figures_are_told():
    assert {each.platform for each in published_speedups() if each.doubtful} == {"rtx-pro-6000"}


@pytest.mark.parametrize(
    ("device", "gpus", "platform"),
    [
        ("NVIDIA GB200", 1, names.GB200),
        ("NVIDIA B200", 8, names.B200),
        ("NVIDIA GB10", 1, names.DGX_SPARK),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1, names.RTX_PRO_6000),
        ("NVIDIA H100 80GB HBM3", 1, names.H100),
        ("NVIDIA H200", 1, names.H200),
        ("AMD EPYC (2 cores)", 0, names.CPU),
        ("NVIDIA L4", 1, None),
        (None, None, None),
    ],
)
def test_a_device_is_a_platform_by_the_name_of_its_driver(device, gpus, platform):
    assert platform_of(device, gpus) == platform
