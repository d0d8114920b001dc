# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Plans of families that see their prompts in blocks, for both GPUs: 4-bit kernels, fused attention throughout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt.backend import TrtRtxBackend
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.releases import PRESETS
from nld_trt.model.synthetic import write_synthetic
from nld_trt.progress import SILENT
from nld_trt.quantization.plan import make_plan
from nld_trt.quantization.quantize import quantize
from nld_trt.quantization.recipe import Recipe

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = pytest.mark.rtx

TARGETS = ("12.0", "12.1")
LIMITS = Limits(max_batch_size=2, max_seq_len=512, max_block_length=4, prompt_chunk=128)


@pytest.mark.slow
def test_a_release_of_few_layers_compiles_in_4_bits_for_both_gpus(tmp_path) -> None:
    """Of the real width and heads, with a vocabulary that a test has time for."""
    pytest.importorskip("modelopt", reason="ModelOpt is not installed")
    write_synthetic(replace(PRESETS["sdar-8b"], num_hidden_layers=2, vocab_size=8192), tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    quantize(
        checkpoint, make_plan(Recipe.shipped("int4_rtn"), checkpoint.config, head=False), tmp_path / "int4",
        calibration=None,
    )  # fmt: skip
    (tmp_path / "engine").mkdir()
    plan = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=False, compute_capabilities=TARGETS)
    artefact = TrtRtxBackend().compile(Checkpoint.open_converted(tmp_path / "int4"), plan, tmp_path / "engine", SILENT)
    assert artefact.proof["targets_in_plan"] == [*TARGETS]
    assert {
        phase: sum(kernels.values()) for phase, kernels in artefact.proof["fused_attention"].items()
    } == dict.fromkeys(LIMITS.phases, 2)
