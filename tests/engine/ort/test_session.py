# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions of the embedded engine: debug outputs that it was built without, and caches in place."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nld_trt.decode.fill import Pass, fill
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.errors import InputError
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits

DEBUG = [binding.name for binding in contract.BINDINGS if binding.debug and binding.exists(None)]


def prefill(session, ids):
    """Outputs of one causal pass over ``ids``, all logits."""
    session.reserve(1, 64)
    step = fill(session, [Pass(ids)])
    execute(session, step)
    return {name: array.copy() for name, array in step.outputs.items()}


@pytest.fixture
def half(golden, tmp_path):
    """An FP16 engine."""
    plan = BuildPlan("ort", "fp16", Limits(2, 64, 8, 16), adapter=True)
    build_engine(golden("tiny-a"), [plan], tmp_path / "half")
    return EngineFolder.open(tmp_path / "half")


def test_they_are_added_when_asked_for(engine, debug_session):
    folder = engine("tiny-a")
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    session = folder.open_session("ort", debug=True)
    assert session.info.debug
    ids = [1, 73, 20, 8]
    added, built = prefill(session, ids), prefill(debug_session("tiny-a"), ids)
    assert set(DEBUG) <= set(added)
    for name in added:
        np.testing.assert_array_equal(added[name], built[name], err_msg=name)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_they_are_absent_otherwise(engine):
    session = engine("tiny-a").open_session("ort")
    assert not session.info.debug
    assert set(DEBUG).isdisjoint(session.step(1, 1, 1).outputs)


def test_an_engine_that_was_built_with_them_opens_in_both_ways(engine):
    folder = engine("tiny-a", debug=True)
    for debug in (False, True):
        session = folder.open_session("ort", debug=debug)
        assert session.info.debug
        assert set(DEBUG) <= set(session.step(1, 1, 1).outputs)


def test_they_are_float32_in_an_fp16_engine_too(half, engine):
    ids = [1, 73, 20, 8]
    rough = prefill(half.open_session("ort", debug=True), ids)
    exact = prefill(engine("tiny-a").open_session("ort", debug=True), ids)
    for name in ("final_hidden", "logits"):
        assert rough[name].dtype == np.float32
        scale = np.abs(exact[name]).max()
        assert 0 < np.abs(rough[name] - exact[name]).max() < 0.02 * scale


def test_they_are_found_from_any_working_directory(half, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = EngineFolder.open(half.path.relative_to(tmp_path))
    assert "logits" in prefill(folder.open_session(debug=True), [1, 73])


@pytest.mark.parametrize("name", ["trt", "trt-rtx"])
def test_a_compiled_engine_without_them_is_refused_with_the_command_that_makes_one(engine, name):
    folder = engine("tiny-a")
    artefact = folder.manifest.backends["ort"]
    compiled = replace(folder, manifest=replace(folder.manifest, backends={name: replace(artefact, backend=name)}))
    for asked in (name, None):
        with pytest.raises(InputError, match=rf"{name} engine .* without debug outputs.*\n.*--backend {name} --debug-"):
            compiled.open_session(asked, debug=True)
    assert replace(compiled, manifest=replace(compiled.manifest, debug=True)).info(name, debug=True).debug


def test_several_backends_without_them_are_refused_with_the_reason_of_each(engine):
    folder = engine("tiny-a")
    artefact = folder.manifest.backends["ort"]
    backends = {name: replace(artefact, backend=name) for name in ("trt-rtx", "trt")}
    compiled = replace(folder, manifest=replace(folder.manifest, backends=backends))
    with pytest.raises(InputError, match=r"no backend .*\n.*trt: .* without debug.*\n.*trt-rtx: .* without debug"):
        compiled.open_session(debug=True)


def test_no_forward_copies_a_cache(engine, tmp_path):
    """ONNX Runtime says so in its log where input and output are not one memory."""
    program = """
import sys
from pathlib import Path
import onnxruntime
from nld_trt.engine.ort import session as ort_session
from nld_trt.engine.folder import EngineFolder
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.names import NLD_MODES

usual = ort_session.session_options

def verbose(*arguments, **options):
    made = usual(*arguments, **options)
    made.log_severity_level = 0
    return made

ort_session.session_options = verbose
onnxruntime.set_default_logger_severity(0)
batch = Batch(EngineFolder.open(Path(sys.argv[1])).open_session("ort"))
list(generate(batch, [Request((1, 73, 20), mode, max_new_tokens=20, eos_token_id=-1) for mode in NLD_MODES]))
assert batch.steps > 20
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(engine("tiny-a").path)],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    log = done.stdout + done.stderr
    assert "onnxruntime" in log
    assert "copying past" not in log.lower()
