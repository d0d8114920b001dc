# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Plans of other families, compiled by TensorRT for RTX for two GPUs."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt.backend import TrtRtxBackend
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES
from nld_trt.progress import SILENT
from tests.quantized_checkpoint import Export, write_quantized
from tests.stock_models import BIASED, make_stock

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = pytest.mark.rtx

CAPABILITIES = ("12.0", "12.1")
PLAN = BuildPlan("trt-rtx", "bf16", Limits(2, 128, 1, 32), adapter=False, compute_capabilities=CAPABILITIES)
NAMES = ("qwen3-tied", "mistral", "qwen2")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_four_bits_are_fused_and_attention_is_one_kernel(name, tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, BIASED.name, BIASED)
    make_stock(name, tmp_path / "release", head_dim=128, hidden_size=256, intermediate_size=256)
    convert(write_quantized(tmp_path / "release", tmp_path / "export", Export(group_size=128)), tmp_path / "made")
    folder = tmp_path / "engine"
    folder.mkdir()
    artefact = TrtRtxBackend().compile(Checkpoint.open_converted(tmp_path / "made"), PLAN, folder, SILENT)
    proof = artefact.proof
    assert proof["targets_in_plan"] == [*CAPABILITIES]
    assert {phase: sum(kernels.values()) for phase, kernels in proof["fused_attention"].items()} == {
        "prompt": 2, "token": 2,
    }  # fmt: skip
    assert proof["caches_updated_in_place"]
    assert proof["quantized_layers"]["W4A16_AWQ"] == {
        "expected": 14, "in_plan": 14, "kernels": {"runtime_fusion int4": 14},
    }  # fmt: skip
