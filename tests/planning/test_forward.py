# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Times of forwards against sums by hand, and what they must never do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.model.releases import PRESETS
from nld_trt.planning.forward import Overheads, parts_of, predict, product_seconds
from nld_trt.planning.platform import gpu_platform
from nld_trt.planning.products import Product
from nld_trt.planning.release_shapes import of_geometry

SHAPES = {size: of_geometry(size, PRESETS[size]) for size in names.MODEL_SIZES}
SHIPPED = Overheads.shipped()


# Weights with adapter and bytes of a cached token, as build_configs/dgx-spark.yaml has them.
@pytest.mark.parametrize(("size", "weights", "token"), [("3b", 7.71e9, 106496), ("8b", 17.05e9, 139264),
                                                        ("14b", 27.1e9, 163840)])  # fmt: skip
def test_bytes_are_those_of_the_release(size, weights, token):
    assert SHAPES[size].weight_bytes == pytest.approx(weights, rel=2e-3)
    assert SHAPES[size].kv_bytes == token


def test_one_token_of_a_product_takes_its_law():
    """28672 x 4096 in BF16 on H200: 4 microseconds and 234.9 MB at 4.11 TB/s."""
    found = product_seconds(gpu_platform(names.H200), Product(28672, 4096), 1)
    assert found == pytest.approx(4.0e-6 + 2 * 28672 * 4096 / 4.11e12, rel=1e-3)


def test_many_tokens_of_a_product_take_its_arithmetic():
    found = product_seconds(gpu_platform(names.H200), Product(28672, 4096), 8192)
    assert found == pytest.approx(4.0e-6 + 2 * 8192 * 28672 * 4096 / 814e12, rel=1e-2)


def test_the_head_counts_once_and_layers_as_often_as_there_are():
    platform, shape = gpu_platform(names.B200), SHAPES["8b"]
    one = parts_of(platform, replace(shape, layers=1), 1, 1, 0).products
    two = parts_of(platform, replace(shape, layers=2), 1, 1, 0).products
    head = product_seconds(platform, shape.head, 1)
    assert two - one == pytest.approx(one - head)
    assert parts_of(platform, shape, 1, 1, 0).products == pytest.approx(head + 34 * (one - head))


def test_overheads_add_up():
    """Without them only products are left, and each is proportional to its coefficient."""
    platform, shape = gpu_platform(names.B200), SHAPES["8b"]
    forward = {"rows": 4, "width": 32, "context": 512}
    bare = predict(platform, shape, Overheads(), **forward).seconds
    assert bare == parts_of(platform, shape, 4, 32, 512).products
    assert predict(platform, shape, Overheads(layer=10), **forward).seconds == pytest.approx(bare + 34 * 10e-6)
    assert predict(platform, shape, Overheads(rows=10), **forward).seconds == pytest.approx(bare + 0.75 * 34 * 10e-6)
    cached = 4 * 544 * 139264 / 6.66e12
    assert predict(platform, shape, Overheads(cache_reads=2), **forward).seconds == pytest.approx(bare + 2 * cached)


@settings(max_examples=40, deadline=None)
@given(
    platform=st.sampled_from(names.PLANNED_PLATFORMS), size=st.sampled_from(names.MODEL_SIZES),
    rows=st.integers(1, 300), width=st.integers(1, 64), context=st.integers(0, 8192),
    more=st.sampled_from(["rows", "width", "context"]),
)  # fmt: skip
def test_a_forward_of_more_never_takes_less(platform, size, rows, width, context, more):
    forward = {"rows": rows, "width": width, "context": context}
    larger = forward | {more: forward[more] + 1}
    times = [predict(gpu_platform(platform), SHAPES[size], SHIPPED, **each).seconds for each in (forward, larger)]
    assert times[0] <= times[1] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("platform", "rows", "width", "bound"),
    [(names.DGX_SPARK, 1, 1, "bandwidth"), (names.B200, 128, 32, "arithmetic"), (names.B200, 8, 32, "launches")],
)
def test_bounds(platform, rows, width, bound):
    found = predict(gpu_platform(platform), SHAPES["8b"], SHIPPED, rows=rows, width=width, context=512)
    assert found.bound == bound


def test_a_law_from_a_data_sheet_is_said_to_be_one():
    shape = SHAPES["8b"]
    forward = {"rows": 1, "width": 1, "context": 512}
    assert predict(gpu_platform(names.B200), shape, SHIPPED, **forward).provenance == "fitted"
    assert predict(gpu_platform(names.GB300), shape, SHIPPED, **forward).provenance == "data sheet"


@pytest.mark.parametrize(
    ("platform", "precision"),
    [(names.GB300, names.FP8), (names.RTX_5090, names.NVFP4), (names.H100, names.NVFP4), (names.B200, "w4a16_nvfp4")],
)
def test_no_law_is_no_number(platform, precision):
    shape = replace(SHAPES["8b"], precision=precision)
    with pytest.raises(InputError, match=f"plan has no {precision} law for"):
        predict(gpu_platform(platform), shape, SHIPPED, rows=1, width=1, context=512)
