# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and engines that many tests share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Networks of tests are so small that a second thread only waits for the first. The commands that tests start inherit
# this, and a worker of pytest-xdist keeps to its core.
THREADS = dict.fromkeys(("NLD_TRT_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.update(THREADS)

ROOT = Path(__file__).parents[1]

# Small enough to build in a moment, large enough for every golden case (prompt + tokens, block 64 at most).
GOLDEN_LIMITS = Limits(max_batch_size=8, max_seq_len=512, max_block_length=64, prompt_chunk=48, max_quadratic_length=16)
TINY_LIMITS = Limits(max_batch_size=8, max_seq_len=512, max_block_length=32, prompt_chunk=64)


# Python as Triton's Python backend has it: ASCII for files, pipes and names.
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Runs commands of nld-trt, each a list in JSON, in one process that takes no text in the locale's encoding.
_COMMANDS = """
import json, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="nld_trt")
from nld_trt.cli import run
for arguments in sys.argv[1:]:
    sys.argv[1:] = json.loads(arguments.encode("utf-8", "surrogateescape"))
    sys.argv[1:] = [text.encode().decode("ascii", "surrogateescape") for text in sys.argv[1:]]
    status = run()
    if status:
        sys.exit(status)
"""


def run_in_ascii(*commands: list[str], **variables: str) -> subprocess.CompletedProcess[bytes]:
    """``nld-trt`` commands under the C locale, one after the other, until one fails."""
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", _COMMANDS, *map(json.dumps, commands)],
        env={**os.environ, **ASCII_LOCALE, **variables}, capture_output=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def goldens() -> Path:
    return ROOT / "tests" / "goldens"


@pytest.fixture(scope="session")
def converted(goldens, tmp_path_factory):
    """Folder of a converted checkpoint, by name: tiny-a, tiny-b or nld-tiny."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            source = ROOT / "examples" / "nld-tiny" if name == "nld-tiny" else goldens / name
            made[name] = tmp_path_factory.mktemp("converted") / name
            convert(source, made[name])
        return made[name]

    return folder


@pytest.fixture(scope="session")
def golden(converted):
    return lambda name: Checkpoint.open_converted(converted(name))


@pytest.fixture(scope="session")
def engine(golden, tmp_path_factory):
    """An ``ort`` engine folder, by checkpoint name."""
    made: dict[tuple[str, bool], EngineFolder] = {}

    def build(name: str, *, debug: bool = False, fresh: bool = False) -> EngineFolder:
        if fresh or (name, debug) not in made:
            limits = TINY_LIMITS if name == "nld-tiny" else GOLDEN_LIMITS
            plan = BuildPlan("ort", "fp32", limits, adapter=True, debug=debug)
            target = tmp_path_factory.mktemp("engine") / name
            build_engine(golden(name), [plan], target)
            folder = EngineFolder.open(target)
            if fresh:
                return folder
            made[name, debug] = folder
        return made[name, debug]

    return build


@pytest.fixture(scope="session")
def golden_session(engine):
    sessions = {}

    def session(name: str):
        if name not in sessions:
            sessions[name] = engine(name).open_session("ort")
        return sessions[name]

    return session


@pytest.fixture(scope="session")
def debug_session(engine):
    """A session whose outputs include logits and hidden states; ``fresh`` rebuilds the graph."""
    sessions = {}

    def session(name: str, *, fresh: bool = False):
        if fresh:
            return engine(name, debug=True, fresh=True).open_session("ort")
        if name not in sessions:
            sessions[name] = engine(name, debug=True).open_session("ort")
        return sessions[name]

    return session


@pytest.fixture(scope="session")
def non_ascii_engine(tmp_path_factory) -> Path:
    """nld-tiny with letters beyond ASCII in template, settings, answers and path; built under the C locale."""
    folder = tmp_path_factory.mktemp("places") / "é 日本"
    release = folder / "release"
    shutil.copytree(ROOT / "examples" / "nld-tiny", release)
    with (release / "chat_template.jinja").open("a", encoding="utf-8") as template:
        template.write("{# für 日本 😀 #}")
    for name, change in (
        ("tokenizer_config.json", lambda values: values.update(comment="für 日本 😀")),
        ("tokenizer.json", _answer_in_other_letters),
    ):
        values = json.loads((release / name).read_text(encoding="utf-8"))
        change(values)
        (release / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    limits = ["--max-batch-size", "4", "--max-seq-len", "512"]
    done = run_in_ascii(
        ["convert", str(release), "-o", str(folder / "checkpoint")],
        ["build", str(folder / "checkpoint"), "--backend", "ort", "-o", str(folder / "engine"), *limits],
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder / "engine"


def _answer_in_other_letters(tokenizer) -> None:
    replace = {"type": "Replace", "pattern": {"String": "e"}, "content": "é😀"}
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [tokenizer["decoder"], replace]}
