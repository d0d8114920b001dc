# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of each GPU says where it is from, and agrees with the platforms that engines are built for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from nld_trt import names
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.errors import InputError
from nld_trt.planning import platform as platforms
from nld_trt.planning.platform import gpu_platform
from nld_trt.planning.provenance import Provenance, weakest

ALL = [gpu_platform(name) for name in names.PLANNED_PLATFORMS]


def test_each_file_is_a_platform():
    folder = Path(platforms.__file__).parent / "platforms"
    assert {path.stem for path in folder.iterdir()} == set(names.PLANNED_PLATFORMS)


@pytest.mark.parametrize("known", ALL, ids=lambda known: known.name)
def test_every_value_has_a_source_and_a_provenance(known):
    for value in (known.memory, known.bandwidth, *known.arithmetic.values(), *known.laws.values()):
        assert value.source
        assert value.provenance in get_args(Provenance)


@pytest.mark.parametrize("known", ALL, ids=lambda known: known.name)
def test_laws_stay_below_the_data_sheet(known):
    for precision, law in known.laws.items():
        assert 0.5 * known.bandwidth.value < law.bandwidth < known.bandwidth.value
        assert 0.4 * known.arithmetic[precision].value < law.arithmetic < known.arithmetic[precision].value


@pytest.mark.parametrize("known", ALL, ids=lambda known: known.name)
def test_a_precision_without_a_law_has_a_reason(known):
    assert set(known.laws) | set(known.missing) == {names.BF16, names.FP8, names.NVFP4}
    assert not set(known.laws) & set(known.missing)


@pytest.mark.parametrize("known", [each for each in ALL if each.name in PLATFORMS], ids=lambda known: known.name)
def test_platforms_agree_with_those_of_builds(known):
    built = PLATFORMS[known.name]
    assert (known.compute_capability,) == built.compute_capabilities
    assert known.backends == built.backends
    # What the system keeps of the memory is left out here, and GB200's usable memory is in GiB.
    assert known.memory.value / 1e9 == pytest.approx(built.memory_gb, rel=0.07)


@pytest.mark.parametrize("known", ALL, ids=lambda known: known.name)
def test_backends_exist(known):
    assert set(known.backends) <= set(BACKENDS)


@pytest.mark.parametrize("known", [each for each in ALL if each.knee], ids=lambda known: known.name)
def test_the_knee_is_near_the_measured_one(known):
    """The rows at which a product takes twice as long as at one: the one place that its shape is about."""
    law = known.laws[names.BF16]

    def ratio(rows: int) -> float:
        return (1 + (rows * law.bandwidth / law.arithmetic) ** known.sharpness) ** (1 / known.sharpness)

    for rows, measured in known.knee.items():
        assert ratio(rows) == pytest.approx(measured, rel=0.17), rows


def test_unknown_platform_lists_what_exists():
    with pytest.raises(InputError, match="no platform 'b300'; available: gb200, b200, gb300, rtx-pro-6000, "):
        gpu_platform("b300")


def test_a_number_is_as_good_as_the_weakest_of_its_parts():
    assert weakest(["measured here", "data sheet", "fitted"]) == "data sheet"
