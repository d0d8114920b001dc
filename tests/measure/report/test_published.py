# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Published speed-ups, and which platform a device is."""

from __future__ import annotations

import pytest

from nld_trt import names
from nld_trt.measure.report.published import platform_of, published_speedups
from nld_trt.measure.report.systems import published_acceptance, published_rates


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


def test_other_systems_overtake_where_their_source_says_so():
    """The reading that the source gives of its table: AR is ahead of self-speculation between 16 and 32 users."""
    rates = {(each.system, each.precision, each.platform): each.rates for each in published_rates()}
    ours = rates["Nemotron-Labs-Diffusion 8B, linear, block 32", "BF16", names.B200]
    ar = rates["Qwen3-8B, ar", "not stated", names.B200]
    assert {users: ar[users] > rate for users, rate in ours.items()} == {
        1: False, 2: False, 4: False, 8: False, 16: False, 32: True, 64: True, 128: True,
    }  # fmt: skip
    assert all(each.source for each in published_rates())


def test_published_acceptance_is_that_of_the_paper():
    assert [(each.system.partition(",")[0], each.over_all, each.over_four) for each in published_acceptance()] == [
        ("Nemotron-Labs-Diffusion 8B", 6.82, 8.69),
        ("Qwen3-8B with an Eagle3 head", 2.75, 2.81),
        ("Qwen3.5-9B", 4.24, 4.73),
    ]


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
