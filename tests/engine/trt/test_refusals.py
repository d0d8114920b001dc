# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the TensorRT backends refuse, by name and with the command that helps, before any work."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nld_trt.engine.backend import Artefact, BuildPlan
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.trt import backend as trt
from nld_trt.engine.trt.backend import TrtBackend, TrtRtxBackend
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.machine.gpu import Gpu
from nld_trt.model.config import ModelConfig

VERSION = "1.7.1.116"
LIMITS = Limits(4, 256, 16, 64)
PLAN = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=True, compute_capabilities=("12.0", "12.1"))
TRT_PLAN = replace(PLAN, backend="trt", compute_capabilities=("9.0",))

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 << 30)
SPARK = Gpu("NVIDIA GB10", "12.1", 128 << 30)


@pytest.fixture
def machine(monkeypatch):
    """Pretend which libraries and GPUs this machine has. Libraries are shells: nothing here may use them."""

    def pretend(*, libraries=("tensorrt", "tensorrt_rtx"), gpus=(), broken=None, shell=False):
        def load(name):
            if name not in libraries:
                raise broken or ModuleNotFoundError(f"No module named {name!r}", name=name)
            return SimpleNamespace(__version__=VERSION) if shell else SimpleNamespace(__version__=VERSION, Builder=None)

        monkeypatch.setattr(importlib, "import_module", load)
        monkeypatch.setattr(trt, "present_gpus", lambda: list(gpus))

    return pretend


def refusal(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("made", [TrtRtxBackend(), TrtBackend()], ids=lambda made: made.name)
def test_fp32_is_refused_whatever_the_machine_has(machine, made):
    machine(libraries=())
    message = refusal(lambda: made.check(replace(PLAN, precision="fp32")))
    assert "cannot compute in fp32" in message
    assert "bf16 and fp16 only" in message
    assert "--precision bf16" in message


def test_unsupported_targets_are_named_with_what_exists(machine):
    machine()
    message = refusal(lambda: TrtRtxBackend().check(replace(PLAN, compute_capabilities=("9.0", "12.0", "10.0"))))
    assert "compute capability 9.0 (H200 SXM, H100 SXM), 10.0 (GB200, B200)" in message
    assert "8.6, 8.9, 12.0, 12.1" in message
    assert "--backend trt" in message


def test_no_target_is_refused(machine):
    machine()
    assert "--platform rtx-pro-6000" in refusal(lambda: TrtRtxBackend().check(replace(PLAN, compute_capabilities=())))


def test_missing_library_names_its_extra(machine):
    machine(libraries=())
    message = refusal(lambda: TrtRtxBackend().check(PLAN))
    assert "tensorrt_rtx is not installed" in message
    assert 'pip install "nld-trt[rtx]"' in message
    assert "GPU" not in message, "this library compiles without one"


def test_missing_tensorrt_also_asks_for_the_gpu(machine):
    machine(libraries=())
    message = refusal(lambda: TrtBackend().check(TRT_PLAN))
    assert "TensorRT, and the Python module tensorrt is not installed" in message
    assert 'on a machine with the target\'s GPU and driver: pip install "nld-trt[tensorrt]"' in message


def test_library_that_cannot_be_loaded_says_why(machine):
    machine(libraries=(), broken=ImportError("libcudart.so.13: cannot open shared object file"))
    message = refusal(lambda: TrtRtxBackend().check(PLAN))
    assert "cannot be loaded" in message
    assert "libcudart.so.13" in message


def test_package_without_its_libraries_is_not_taken_for_one(machine):
    machine(shell=True)
    assert "lacks its libraries" in refusal(lambda: TrtBackend().check(TRT_PLAN))


def test_rtx_needs_no_gpu_to_compile(machine):
    machine()
    TrtRtxBackend().check(PLAN)


def test_tensorrt_needs_a_gpu_to_compile(machine):
    machine()
    assert "compiles on the GPU that it compiles for" in refusal(lambda: TrtBackend().check(TRT_PLAN))


def test_tensorrt_refuses_to_compile_for_another_gpu(machine):
    machine(gpus=[SPARK])
    message = refusal(lambda: TrtBackend().check(TRT_PLAN))
    assert "asked for compute capability 9.0 (H200 SXM, H100 SXM)" in message
    assert "this machine has NVIDIA GB10 (12.1)" in message


@pytest.mark.parametrize("targets", [(), ("9.0",)])
def test_tensorrt_compiles_for_the_present_gpu(machine, targets):
    machine(gpus=[H100])
    TrtBackend().check(replace(TRT_PLAN, compute_capabilities=targets))


@pytest.fixture
def unread(goldens, tmp_path):
    """(artefact, info) of an engine whose plan is not a plan: nothing may get as far as reading it."""
    raw = json.loads((goldens / "tiny-a" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "trt-rtx").mkdir()
    (tmp_path / "trt-rtx" / "nld.plan").write_bytes(b"not a plan")
    artefact = Artefact(
        "trt-rtx",
        "bf16",
        {"plan": "trt-rtx/nld.plan"},
        ("12.0",),
        {"tensorrt_rtx": VERSION},
        {"activation_bytes": 1 << 20},
    )
    return artefact, EngineInfo(ModelConfig.from_hf(raw), LIMITS, "trt-rtx", "bf16", has_adapter=True)


def opening(unread, folder, **changes):
    artefact, info = unread
    limits = changes.pop("limits", info.limits)
    return lambda: TrtRtxBackend().open(folder, replace(artefact, **changes), replace(info, limits=limits))


def test_no_gpu_is_refused_with_what_the_engine_is_for(machine, unread, tmp_path):
    machine()
    message = refusal(opening(unread, tmp_path))
    assert "this machine has none" in message
    assert "built for compute capability 12.0" in message
    assert "--backend ort" in message


def test_engine_for_another_gpu_is_refused_with_the_command_to_rebuild(machine, unread, tmp_path):
    machine(gpus=[SPARK])
    message = refusal(opening(unread, tmp_path))
    assert "built for compute capability 12.0, and this machine has NVIDIA GB10 (12.1)" in message
    assert "nld-trt build CHECKPOINT -o ENGINE_DIR --backend trt-rtx" in message


def test_engine_of_another_library_version_is_refused(machine, unread, tmp_path):
    machine(gpus=[SPARK])
    message = refusal(opening(unread, tmp_path, tools={"tensorrt_rtx": "1.6.0.10"}))
    assert f"built with TensorRT for RTX 1.6.0.10, and this machine has {VERSION}" in message
    assert 'pip install "tensorrt_rtx==1.6.0.10"' in message


def test_missing_library_is_refused_when_opening_too(machine, unread, tmp_path):
    machine(libraries=(), gpus=[SPARK])
    assert 'pip install "nld-trt[rtx]"' in refusal(opening(unread, tmp_path))


def test_caches_beyond_the_gpu_are_refused(machine, unread, tmp_path):
    machine(gpus=[SPARK])
    huge = replace(LIMITS, max_batch_size=4096, max_seq_len=262144)
    message = refusal(opening(unread, tmp_path, compute_capabilities=("12.1",), limits=huge))
    assert "NVIDIA GB10 (12.1) has 137.4 GB" in message
    assert "--max-batch-size" in message


def plugin_plan(**changes) -> BuildPlan:
    return replace(TRT_PLAN, plugins=True, **changes)


def test_plugins_are_refused_where_the_library_has_none(machine):
    machine()
    message = refusal(lambda: TrtRtxBackend().check(replace(PLAN, plugins=True)))
    assert "TensorRT for RTX has none" in message
    assert "--no-plugins" in message


def test_gpu_without_kernels_is_refused_by_name(machine):
    machine(gpus=[Gpu("NVIDIA L40S", "8.9", 48 << 30)])
    message = refusal(lambda: TrtBackend().check(plugin_plan(compute_capabilities=())))
    assert "compute capability 8.9; they are compiled for 9.0 (H200 SXM, H100 SXM)" in message
    assert "--no-plugins" in message


def test_gpu_without_kernels_builds_without_them(machine):
    machine(gpus=[Gpu("NVIDIA L40S", "8.9", 48 << 30)])
    TrtBackend().check(replace(TRT_PLAN, compute_capabilities=()))


def test_missing_kernel_compiler_says_what_helps(machine, monkeypatch):
    machine(gpus=[H100])
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    message = refusal(lambda: TrtBackend().check(plugin_plan()))
    assert "needs NVRTC" in message
    assert 'pip install "nld-trt[plugins]", or build with --no-plugins' in message


@pytest.mark.parametrize(
    ("driver", "fix"),
    [
        ("13.0", 'Install the driver\'s version: pip install "nvidia-cuda-nvrtc==13.0.*"'),
        ("12.8", "Update the NVIDIA driver to one for CUDA 13.2"),
    ],
)
def test_kernel_compiler_newer_than_the_driver_is_refused(machine, monkeypatch, driver, fix):
    machine(gpus=[H100])
    monkeypatch.setattr(trt, "check_compiler", lambda capability: SimpleNamespace(version="13.2"))
    monkeypatch.setattr(trt, "driver_cuda_version", lambda: driver)
    message = refusal(lambda: TrtBackend().check(plugin_plan()))
    assert f"compiled by NVRTC 13.2, and this machine's driver is for CUDA {driver}" in message
    assert fix in message
    assert "--no-plugins" in message


@pytest.mark.parametrize("driver", ["13.2", "13.10", "14.0", None])
def test_kernel_compiler_of_the_driver_or_older_is_taken(machine, monkeypatch, driver):
    machine(gpus=[H100])
    monkeypatch.setattr(trt, "check_compiler", lambda capability: SimpleNamespace(version="13.2"))
    monkeypatch.setattr(trt, "driver_cuda_version", lambda: driver)
    TrtBackend().check(plugin_plan())


def test_blocks_beyond_the_kernels_are_refused(machine):
    machine(gpus=[H100])
    limits = replace(LIMITS, max_block_length=512)
    assert "a width of 512: they take 1 to 256" in refusal(lambda: TrtBackend().check(plugin_plan(limits=limits)))
