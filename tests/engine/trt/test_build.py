# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Real plans, compiled by TensorRT for RTX on whatever machine this is: none of these tests needs a GPU."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nld_trt import interrupts
from nld_trt.engine.backend import Artefact, BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.trt import backend as trt
from nld_trt.engine.trt import compile as trt_build
from nld_trt.engine.trt.backend import TrtRtxBackend
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.errors import InputError, OperationError
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import WEIGHTS_FILE, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.progress import SILENT

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = pytest.mark.rtx

LIMITS = Limits(max_batch_size=4, max_seq_len=256, max_block_length=16, prompt_chunk=64)
PLAN = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=True, compute_capabilities=("12.0", "12.1"))
# A build takes about six seconds of a core whatever it is of, and half of that with one profile. Quick tests combine
# what can be combined; slow ones take everything by itself.
SHORTEST = Limits(max_batch_size=1, max_seq_len=64, max_block_length=1, prompt_chunk=1)


def compile_plan(checkpoint, folder: Path, **changes) -> Artefact:
    folder.mkdir(exist_ok=True)
    return TrtRtxBackend().compile(checkpoint, replace(PLAN, **changes), folder, SILENT)


@pytest.fixture(scope="session")
def built(golden, tmp_path_factory):
    """(folder, artefact) of one plan for both GPUs, by checkpoint and precision."""
    made = {}

    def build(name: str, precision: str):
        if (name, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{precision}")
            made[name, precision] = folder, compile_plan(golden(name), folder, precision=precision)
        return made[name, precision]

    return build


BUILDS = [
    pytest.param(name, precision, marks=() if (name, precision) == ("tiny-a", "bf16") else pytest.mark.slow)
    for name in ("tiny-a", "tiny-b", "nld-tiny")
    for precision in ("bf16", "fp16")
]


@pytest.mark.parametrize(("name", "precision"), BUILDS)
def test_every_profile_has_one_fused_attention_per_layer(built, golden, name, precision):
    _, artefact = built(name, precision)
    layers = golden(name).config.num_hidden_layers
    assert {phase: sum(kernels.values()) for phase, kernels in artefact.proof["fused_attention"].items()} == {
        "prompt": layers,
        "token": layers,
        "block": layers,
    }
    assert artefact.proof["matmul_inputs"].keys() == {precision}
    assert artefact.proof["caches_updated_in_place"]


@pytest.mark.parametrize(("name", "precision"), BUILDS)
def test_one_plan_serves_both_gpus(built, name, precision):
    _, artefact = built(name, precision)
    assert artefact.proof["targets_in_plan"] == ["12.0", "12.1"]
    assert artefact.compute_capabilities == ("12.0", "12.1")


def test_only_the_plan_is_left_behind(built):
    folder, artefact = built("tiny-a", "bf16")
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["trt-rtx/nld.plan"]
    assert dict(artefact.files) == {"plan": "trt-rtx/nld.plan"}
    assert artefact.proof["plan_bytes"] == (folder / "trt-rtx" / "nld.plan").stat().st_size


def test_artefact_survives_json(built):
    _, artefact = built("tiny-a", "bf16")
    assert Artefact.from_dict(json.loads(json.dumps(artefact.to_dict()))) == artefact


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        pytest.param("8.6", "fp16", marks=pytest.mark.slow),
        *(pytest.param(name, "bf16", marks=pytest.mark.slow) for name in TRT_RTX.targets),
    ],
)
def test_each_target_alone(golden, tmp_path, capability, precision):
    artefact = compile_plan(golden("tiny-a"), tmp_path, compute_capabilities=(capability,), precision=precision)
    assert artefact.proof["targets_in_plan"] == [capability]
    assert artefact.proof["matmul_inputs"].keys() == {precision}


VARIANTS = {
    "quadratic, with debug outputs": {"limits": replace(LIMITS, max_quadratic_length=4), "debug": True},
    "no adapter, one row, chunk shorter than a block": {
        "limits": replace(LIMITS, max_batch_size=1, prompt_chunk=8),
        "adapter": False,
    },
    "one token": {"limits": SHORTEST},
    "no adapter": {"adapter": False},
    "debug outputs": {"debug": True},
    # The compiler fixes every size that is the same in all profiles.
    "one row": {"limits": replace(LIMITS, max_batch_size=1)},
    "chunk shorter than a block": {"limits": replace(LIMITS, prompt_chunk=8)},
    "quadratic": {"limits": replace(LIMITS, max_quadratic_length=4)},
}


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=() if index == 1 else pytest.mark.slow) for index, name in enumerate(VARIANTS)]
)
def test_variants_are_proven_too(golden, tmp_path, variant):
    artefact = compile_plan(golden("tiny-a"), tmp_path, **VARIANTS[variant])
    assert artefact.proof["attention_layers"] == 2
    assert artefact.proof["fused_attention"].keys() == set(VARIANTS[variant].get("limits", LIMITS).phases)


def parse(checkpoint, folder, precision, limits=LIMITS) -> trt_build.ParsedNetwork:
    model = write_graph(
        checkpoint,
        folder,
        precision=PRECISIONS[precision],
        limits=limits,
        adapter=True,
        static_capacity=True,
        dialect="tensorrt",
    )
    return trt_build.parse_network(TRT_RTX.load(), model)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_the_weights_are_mapped_once(golden, tmp_path):
    """The parser's own mapping would keep each page resident that the compiler has read."""
    parsed = parse(golden("tiny-a"), tmp_path, "bf16")
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    assert sum(line.endswith(str(tmp_path / WEIGHTS_FILE)) for line in maps) == 1
    assert parsed.weights is not None


def test_compiler_errors_reach_the_user(golden, tmp_path):
    """FP32 is refused long before; here it stands for anything that the compiler cannot do."""
    checkpoint = golden("tiny-a")
    parsed = parse(checkpoint, tmp_path, "fp32")
    with pytest.raises(OperationError, match=r"(?s)could not compile the network for 12.0, 12.1.*dedicated kernel"):
        trt_build.compile_plan(parsed, TRT_RTX, PLAN, checkpoint.config, tmp_path / "nld.plan")


def test_parser_errors_name_the_node(tmp_path):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Unheard", ["x"], ["y"], name="odd_one")], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(OperationError, match=r"(?s)cannot read the graph.*odd_one \(Unheard\)"):
        trt_build.parse_network(TRT_RTX.load(), tmp_path / "model.onnx")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_an_oserror(golden, tmp_path):
    checkpoint = golden("tiny-a")
    parsed = parse(checkpoint, tmp_path, "bf16", SHORTEST)
    plan = replace(PLAN, limits=SHORTEST)
    with pytest.raises(OSError, match="No space") as caught:
        trt_build.compile_plan(parsed, TRT_RTX, plan, checkpoint.config, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


@pytest.fixture
def after_first_step(monkeypatch):
    """Calls a function when the compiler has done its first step; returns what each step was answered."""

    def install(act) -> list[bool]:
        answers: list[bool] = []
        made = trt_build._progress_monitor

        def monitor(library, stopped):
            inner = made(library, stopped)

            class Monitor(library.IProgressMonitor):
                def __init__(self) -> None:
                    library.IProgressMonitor.__init__(self)

                def phase_start(self, phase, parent, steps) -> None:
                    inner.phase_start(phase, parent, steps)

                def step_complete(self, phase, step) -> bool:
                    if not answers:
                        act()
                        stopped.wait(60)
                    answers.append(inner.step_complete(phase, step))
                    return answers[-1]

                def phase_finish(self, phase) -> None:
                    inner.phase_finish(phase)

            return Monitor()

        monkeypatch.setattr(trt_build, "_progress_monitor", monitor)
        return answers

    yield install
    for call in interrupts._calls:
        call.join(120)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_signal_stops_the_compiler_and_leaves_nothing(golden, tmp_path, after_first_step, number):
    answers = after_first_step(lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt) as caught, interrupts.handled():
        build_engine(golden("tiny-a"), [PLAN], tmp_path / "engine")
    assert interrupts.exit_status(caught.value) == 128 + number
    assert list(tmp_path.iterdir()) == []
    for call in interrupts._calls:
        call.join(120)
    assert answers
    assert not any(answers), "the compiler was told to stop at every step after the signal"
    assert len(answers) < 100, "a whole compilation has thousands of steps"


def test_interrupted_command_ends_while_the_compiler_is_still_at_work(converted, tmp_path):
    arguments = ["build", str(converted("tiny-a")), "-o", str(tmp_path / "engine"), "--backend", "trt-rtx"]
    with subprocess.Popen(
        [sys.executable, "-m", "nld_trt", *arguments], stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert any("compiling" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130, err
    assert "nld-trt: error: interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_engine_folder_with_two_backends_runs_what_the_machine_can(golden, tmp_path, monkeypatch):
    monkeypatch.setattr(trt, "present_gpus", lambda: [])
    plan = replace(PLAN, limits=SHORTEST)
    plans = [replace(plan, backend="ort", precision="fp32", compute_capabilities=()), plan]
    build_engine(golden("tiny-a"), plans, tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    assert folder.open_session().info.backend == "ort"
    with pytest.raises(InputError, match=r"needs an NVIDIA GPU.*12.0, 12.1"):
        folder.open_session("trt-rtx")
