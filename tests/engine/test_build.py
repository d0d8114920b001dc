# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engines appear complete and checked, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort.backend import OrtBackend
from nld_trt.errors import InputError, OperationError
from nld_trt.graph.contract import Limits

PLAN = BuildPlan("ort", "fp32", Limits(2, 64, 8, 16), adapter=True)


def build(checkpoint, target, plan=PLAN, **options):
    return build_engine(checkpoint, [plan], target, **options)


def test_fp16_engine_decodes(golden, tmp_path):
    build(golden("tiny-a"), tmp_path / "engine", replace(PLAN, precision="fp16"))
    session = EngineFolder.open(tmp_path / "engine").open_session()
    assert session.info.precision == "fp16"


def test_engine_without_adapter_says_so(golden, tmp_path):
    manifest = build(golden("tiny-a"), tmp_path / "engine", replace(PLAN, adapter=False))
    assert not manifest.has_adapter


REFUSED = {
    "bf16 on ort": (replace(PLAN, precision="bf16"), "bf16.*fp32, fp16"),
    "too many positions": (replace(PLAN, limits=Limits(1, 10**6, 8, 16)), "max_seq_len is 1000000"),
    "quadratic over the block": (
        replace(PLAN, limits=Limits(1, 128, 8, 16, 9)),
        "is 9 and block_length 8",
    ),
    "quadratic pass over the sequence": (replace(PLAN, limits=Limits(1, 64, 8, 16, 8)), "passes have 72 tokens"),
    "no rows": (replace(PLAN, limits=Limits(0, 64, 8, 16)), "max_batch_size is 0"),
    "unknown backend": (replace(PLAN, backend="llama"), "'llama'.*trt-rtx"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_plan_leaves_nothing(golden, tmp_path, case):
    plan, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        build(golden("tiny-a"), tmp_path / "engine", plan)
    assert list(tmp_path.iterdir()) == []


def test_result_that_is_not_what_was_asked_for_is_not_published(golden, tmp_path, monkeypatch):
    """The proof reads the built graph: here it is asked about a precision that was not built."""
    original = OrtBackend._prove
    monkeypatch.setattr(
        OrtBackend, "_prove", lambda self, m, c, plan: original(self, m, c, replace(plan, precision="fp16"))
    )
    with pytest.raises(OperationError, match="not what was asked for"):
        build(golden("tiny-a"), tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_killed_build_leaves_nothing_that_looks_like_an_engine(converted, tmp_path):
    script = (
        "import signal, sys; from pathlib import Path; from contextlib import contextmanager\n"
        "from nld_trt.progress import Silent\n"
        "from nld_trt.engine import build; from nld_trt.engine.backend import BuildPlan\n"
        "from nld_trt.graph.contract import Limits; from nld_trt.model.checkpoint import Checkpoint\n"
        "class Waiting(Silent):\n"
        "    @contextmanager\n"
        "    def stage(self, name, **size):\n"
        "        yield self\n"
        "        if name.startswith('hashing'): print('ready', flush=True); signal.pause()\n"
        "plan = BuildPlan('ort', 'fp32', Limits(2, 64, 8, 16), adapter=True)\n"
        "checkpoint = Checkpoint.open_converted(Path(sys.argv[1]))\n"
        "build.build_engine(checkpoint, [plan], Path(sys.argv[2]), progress=Waiting())\n"
    )
    target = tmp_path / "engine"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(converted("tiny-a")), str(target)], stdout=subprocess.PIPE, env=os.environ
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    assert not list(tmp_path.glob("*/engine.json")), "a partial folder would hold a manifest"
