# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How many nodes a forward of the embedded engine runs, read from ONNX Runtime's profile."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from nld_trt import names
from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort import session as ort_session
from nld_trt.engine.session import execute
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.synthetic import Geometry, write_synthetic

LAYERS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An engine of eight layers with a draft adapter."""
    path = tmp_path_factory.mktemp("nodes")
    geometry = Geometry(64, 128, LAYERS, 1e6, num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=256)
    write_synthetic(geometry, path / "release")
    convert(path / "release", path / "converted")
    plan = BuildPlan(names.ORT, names.FP32, Limits(2, 64, 8, 16), adapter=True)
    build_engine(Checkpoint.open_converted(path / "converted"), [plan], path / "engine")
    return EngineFolder.open(path / "engine")


@pytest.fixture
def nodes(folder, monkeypatch, tmp_path):
    """Counts the nodes that the last of some forwards runs, by operator."""
    usual = ort_session.session_options

    def profiling(*arguments, **options):
        made = usual(*arguments, **options)
        made.enable_profiling = True
        made.profile_file_prefix = str(tmp_path / "profile")
        return made

    def count(*passes):
        with monkeypatch.context() as patch:
            patch.setattr(ort_session, "session_options", profiling)
            session = folder.open_session(names.ORT)
        session.reserve(1, 32)
        for each in passes:
            execute(session, fill(session, [each]))
        events = json.loads(Path(session._session.end_profiling()).read_text(encoding="utf-8"))
        started = max(event["ts"] for event in events if event["name"] == "model_run")
        ran = [event for event in events if event.get("cat") == "Node" and event["ts"] >= started]
        return Counter(event["args"]["op_name"] for event in ran if event["name"].endswith("_kernel_time"))

    return count


TOKEN = PassSettings(program=names.TOKEN)
PROMPT = Pass([1, 73, 20], wanted=(2,))


def test_a_greedy_token_runs_at_most_180_nodes(nodes):
    found = nodes(PROMPT, Pass([8], 3, tokens_left=9, settings=TOKEN))
    assert found["GroupQueryAttention"] == LAYERS
    assert found.total() <= 180


def test_it_has_one_product_for_the_layers_of_one_input(nodes):
    found = nodes(PROMPT, Pass([8], 3, tokens_left=9, settings=TOKEN))
    # qkv, output, gate and up, down; and the head.
    assert found["MatMul"] == 4 * LAYERS + 1


def test_a_token_that_is_sampled_has_the_whole_end(nodes):
    found = nodes(PROMPT, Pass([8], 3, tokens_left=9, settings=PassSettings(program=names.TOKEN, temperature=0.7)))
    assert found["GroupQueryAttention"] == LAYERS
    assert found.total() > 180


def test_only_drafts_compute_the_adapter(nodes):
    draft = Pass([8, 100, 100], 3, causal=False, settings=PassSettings(adapter=True))
    verify = Pass([8, 9, 10], 3)
    assert nodes(PROMPT, draft)["MatMul"] == nodes(PROMPT, verify)["MatMul"] + 2 * LAYERS
