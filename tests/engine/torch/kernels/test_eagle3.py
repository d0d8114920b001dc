# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An Eagle3 head beside the network as a GPU runs it, kernel for kernel, on the CPU."""

from __future__ import annotations

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
from tests import eagle3_reference as reference
from tests.engine.gpu.kernels.libraries import library
from tests.engine.torch.kernels.interpreted import open_interpreted
from tests.stock_models import make_stock

__all__ = ["library"]

pytestmark = pytest.mark.slow


def test_texts_and_acceptance_are_those_of_the_reference(tmp_path, library) -> None:
    """Two rows of the mode and one in ar share the batch, with the decode kernels."""
    model = make_stock("qwen3", tmp_path / "release", num_hidden_layers=reference.LAYERS)
    reference.periodic(model, tmp_path / "release")
    head = reference.trained_head(model)
    convert(tmp_path / "release", tmp_path / "converted", draft=reference.save_head(head, tmp_path / "head"))
    plan = BuildPlan("torch", "fp32", Limits(3, 64, 4, 16), adapter=False)
    build_engine(Checkpoint.open_converted(tmp_path / "converted"), [plan], tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    path = folder.path / folder.manifest.backends["torch"].files["weights"]
    session, launcher = open_interpreted(path, folder.info("torch"), library)
    prompts = [[9, 40, 41, 57], [100, 33, 64]]
    expected = [reference.generate(model, head, each, block=4, max_new_tokens=10) for each in prompts]
    rows = [(prompts[0], "eagle3"), (prompts[1], "eagle3"), (prompts[0], "ar")]
    found = dict(generate(Batch(session), [Request(tuple(each), mode, max_new_tokens=10) for each, mode in rows]))
    assert [found[index].tokens for index in (0, 1)] == [each.tokens for each in expected]
    assert [list(found[index].accepted) for index in (0, 1)] == [each.accepted for each in expected]
    assert found[2].tokens == expected[0].tokens
    assert max(max(each.accepted) for each in expected) > 1
    assert set(launcher.launched) == {"LogitStatistics", "DecodeStep", "Advance"}
