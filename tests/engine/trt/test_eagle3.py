# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A target and its Eagle3 head in one plan, compiled by TensorRT for RTX for two GPUs."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt.backend import TrtRtxBackend
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import QWEN3
from nld_trt.model.releases import Geometry
from nld_trt.model.synthetic import write_synthetic
from nld_trt.progress import SILENT
from tests.eagle3_reference import LAYERS
from tests.quantized_checkpoint import Export, write_quantized

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = [pytest.mark.rtx, pytest.mark.slow]

CAPABILITIES = ("12.0", "12.1")
DRAFTS = 3
PLAN = BuildPlan("trt-rtx", "bf16", Limits(2, 128, DRAFTS + 1, 32), adapter=False, compute_capabilities=CAPABILITIES)
TARGET = Geometry(
    256, 512, LAYERS, 1e6, num_attention_heads=4, num_key_value_heads=2, head_dim=64, vocab_size=1024, family_name=QWEN3
)


@pytest.mark.parametrize("bits", [16, 4])
def test_every_draft_attends_by_one_kernel_and_caches_stay_in_place(bits, tmp_path, monkeypatch):
    """The head stays in the engine's precision beside a target of 4 bits."""
    monkeypatch.setattr("nld_trt.model.synthetic.DRAFT_VOCAB", 256)
    write_synthetic(TARGET, tmp_path / "release", draft_head=True)
    source = tmp_path / "release"
    if bits == 4:
        source = write_quantized(source, tmp_path / "export", Export(group_size=128))
    convert(source, tmp_path / "made", draft=tmp_path / "release" / "eagle3")
    folder = tmp_path / "engine"
    folder.mkdir()
    proof = TrtRtxBackend().compile(Checkpoint.open_converted(tmp_path / "made"), PLAN, folder, SILENT).proof
    assert proof["targets_in_plan"] == [*CAPABILITIES]
    assert {phase: sum(kernels.values()) for phase, kernels in proof["fused_attention"].items()} == dict.fromkeys(
        PLAN.limits.phases, LAYERS + DRAFTS
    )
    assert proof["cache_updates"] == 2 * (LAYERS + 1)
    assert proof["caches_updated_in_place"]
    assert proof["attention_traffic"]["token"]["read_in_place"]
    if bits == 4:
        quantized = proof["quantized_layers"]["W4A16_AWQ"]
        assert quantized["in_plan"] == quantized["expected"] == 7 * LAYERS
