# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The head that the build rounds to 4 bits where the layers are in 4 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nld_trt import names
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.graph.network.head import HEAD_MODULE, rounded_head, rounded_head_format
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.inventory import HEAD
from tests.conftest import TINY_LIMITS
from tests.quantized_checkpoint import Export, write_quantized

PLAN = BuildPlan(names.ORT, names.FP32, TINY_LIMITS, adapter=True)


@pytest.fixture
def checkpoint(root, tmp_path):
    """nld-tiny, exported in some way and converted."""

    def make(export: Export) -> Checkpoint:
        written = write_quantized(root / "examples" / "nld-tiny", tmp_path / "export", export)
        convert(written, tmp_path / "converted")
        return Checkpoint.open_converted(tmp_path / "converted")

    return make


def test_every_weight_is_within_half_a_step(checkpoint):
    source = checkpoint(Export("W4A16_AWQ", group_size=32))
    form = rounded_head_format(source)
    assert form.to_dict() == {"quant_algo": "W4A16_AWQ", "group_size": 32}
    made, weight = rounded_head(source, form), source.read(HEAD).astype(np.float32)
    step = np.repeat(made.scale, 32, axis=1)
    assert (np.abs(made.dequantized() - weight) <= step / 2 + 1e-6).all()
    assert np.abs(made.values).max() == 7


@pytest.mark.parametrize(
    "export", [Export("FP8", group_size=16), Export(excluded=())], ids=["layers in 8 bits", "head in 4 bits already"]
)
def test_other_checkpoints_keep_their_head(checkpoint, export):
    assert rounded_head_format(checkpoint(export)) is None


@pytest.mark.parametrize(("head", "more"), [("auto", 1), ("checkpoint", 0)])
def test_the_proof_finds_the_head_in_packed_weights(checkpoint, tmp_path, head, more):
    source = checkpoint(Export("W4A16_AWQ", group_size=32))
    assert HEAD_MODULE not in source.formats
    proof = build_engine(source, [replace(PLAN, head=head)], tmp_path / "engine").backends[names.ORT].proof
    found = proof["quantized_layers"]["W4A16_AWQ"]
    assert found["expected"] == found["in_plan"] == len(source.formats) + more
    assert ("head_rounded_to" in proof) == bool(more)
