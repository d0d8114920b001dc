# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Families that see the whole canvas through the network as a GPU runs it, kernel for kernel, on the CPU."""

from __future__ import annotations

import dataclasses

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES
from tests.canvas_models import CANVAS, EOS, canvas_logits, denoise_canvas, make_canvas_model
from tests.engine.gpu.kernels.libraries import library
from tests.engine.torch.kernels.interpreted import open_interpreted

__all__ = ["library"]

LIMITS = Limits(max_batch_size=2, max_seq_len=32, max_block_length=8, prompt_chunk=32, max_canvas_length=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CANVAS)
def test_tokens_are_those_of_the_procedure(library, tmp_path, name: str) -> None:
    """A greedy row beside a sampled one, which is what it is on the CPU."""
    model = make_canvas_model(name, tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "converted")
    plan = BuildPlan("torch", "fp32", LIMITS, adapter=False)
    build_engine(Checkpoint.open_converted(tmp_path / "converted"), [plan], tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    path = folder.path / folder.manifest.backends["torch"].files["weights"]
    session, launcher = open_interpreted(path, folder.info("torch", debug=False), library)

    greedy = Request((3, 14, 15, 92, 65), max_new_tokens=13, block_length=8, threshold=0.03, steps=4)
    sampled = dataclasses.replace(greedy, prompt_ids=(1, 2), max_new_tokens=9, temperature=0.8, seed=7)
    found = dict(generate(Batch(session), [greedy, sampled]))
    expected = denoise_canvas(
        lambda canvas, *_: canvas_logits(model, canvas, shifted=FAMILIES[name].shifted),
        greedy.prompt_ids, tokens=13, block_length=8, threshold=0.03, steps=4, eos=(EOS,),
    )  # fmt: skip
    assert found[0].tokens == expected.tokens
    assert found[0].denoise_passes == expected.passes
    (alone,) = dict(generate(Batch(folder.open_session("torch")), [sampled])).values()
    assert found[1].tokens == alone.tokens
    assert set(launcher.launched) == {"LogitStatistics", "DecodeStep", "Advance"}
