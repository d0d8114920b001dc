# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What opening a ``torch`` engine refuses, and with which advice, before anything is loaded."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nld_trt.engine.backend import Artefact
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch import backend, cpu
from nld_trt.engine.torch.backend import TorchBackend
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.machine.gpu import Gpu
from nld_trt.model.config import ModelConfig

LIMITS = Limits(4, 256, 16, 64)
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 << 30)
SPARK = Gpu("NVIDIA GB10", "12.1", 128 << 30)
OLD = Gpu("Tesla T4", "7.5", 16 << 30)
WEIGHT_BYTES = 10


class Opened(Exception):
    """Everything was checked, and the engine would now be loaded on the device that is named."""


@pytest.fixture
def machine(monkeypatch):
    """Pretend which GPUs, which PyTorch and which driver this machine has. Nothing is loaded."""

    def pretend(*gpus, installed=True, built_for="13.0", driver_answers=True):
        monkeypatch.setattr(backend, "present_gpus", lambda: list(gpus))
        found = importlib.util.find_spec

        def find(name, *rest):
            return None if name == "torch" and not installed else found(name, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", find)
        monkeypatch.setattr(torch.version, "cuda", built_for)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: driver_answers)

    def opened(device):
        def record(*arguments):
            raise Opened(device)

        return record

    monkeypatch.setattr(cpu, "open_on_cpu", opened("cpu"))
    # In its place, as it needs Triton, which kernels' tests must load as an interpreter.
    monkeypatch.setitem(sys.modules, "nld_trt.engine.torch.cuda", SimpleNamespace(open_on_gpu=opened("gpu")))
    return pretend


@pytest.fixture
def opening(goldens, tmp_path):
    """Opens an engine whose weights are none: nothing may get as far as reading them."""
    raw = json.loads((goldens / "tiny-a" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "weights.safetensors").write_bytes(b"x" * WEIGHT_BYTES)
    config = ModelConfig.from_hf(raw)

    def open_engine(*targets: str, precision="bf16", limits=LIMITS):
        artefact = Artefact("torch", precision, {"weights": "torch/weights.safetensors"}, targets)
        info = EngineInfo(config, limits, "torch", precision, has_adapter=True)
        TorchBackend().open(tmp_path, artefact, info)

    return open_engine


def refusal(action, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "targets", "precision", "device"),
    [
        ([H100], ("9.0",), "bf16", "gpu"),
        ([H100], (), "bf16", "gpu"),
        ([H100], (), "fp32", "gpu"),
        ([], (), "fp32", "cpu"),
        ([OLD], (), "fp32", "cpu"),
    ],
)
def test_engine_runs_on_its_gpu_and_in_fp32_on_the_cpu(machine, opening, gpus, targets, precision, device):
    machine(*gpus)
    with pytest.raises(Opened, match=device):
        opening(*targets, precision=precision)


@pytest.mark.parametrize("gpus", [[], [H100]])
def test_missing_pytorch_names_its_extra(machine, opening, gpus):
    machine(*gpus, installed=False)
    message = refusal(opening, precision="fp32")
    assert message.startswith("running a torch engine needs the Python module torch, which is not installed")
    assert 'pip install "nld-trt[torch]"' in message


def test_pytorch_for_cpus_is_refused_on_a_gpu(machine, opening):
    machine(H100, built_for=None)
    message = refusal(opening, "9.0")
    assert f"has NVIDIA H100 80GB HBM3, and PyTorch {torch.__version__} here is a build for CPUs" in message
    assert "pytorch.org/get-started" in message


def test_driver_that_is_too_old_is_refused(machine, opening):
    machine(H100, driver_answers=False)
    message = refusal(opening, "9.0")
    assert "for CUDA 13.0 cannot use NVIDIA H100 80GB HBM3: the NVIDIA driver is too old" in message
    assert "nvidia-smi" in message


@pytest.mark.parametrize("targets", [(), ("9.0",)])
def test_engine_for_gpus_is_refused_where_there_is_none(machine, opening, targets):
    machine()
    message = refusal(opening, *targets)
    assert "was built in bf16 for GPUs of compute capability 9.0 (H200 SXM, H100 SXM)" in message
    assert "this machine has no NVIDIA GPU whose driver answers" in message
    assert "nld-trt build CHECKPOINT -o ENGINE_DIR --platform cpu --backend torch" in message


def test_engine_for_another_gpu_is_refused(machine, opening):
    machine(SPARK)
    message = refusal(opening, "9.0")
    assert "compute capability 9.0 (H200 SXM, H100 SXM); this machine has NVIDIA GB10 (12.1)" in message
    assert "Build for this GPU: nld-trt build CHECKPOINT -o ENGINE_DIR --platform dgx-spark --backend torch" in message


def test_fp32_engine_for_another_gpu_does_not_fall_back_to_the_cpu(machine, opening):
    machine(SPARK)
    assert "was built in fp32 for GPUs of compute capability 9.0" in refusal(opening, "9.0", precision="fp32")


def test_gpu_without_kernels_is_refused(machine, opening):
    machine(OLD)
    message = refusal(opening)
    assert "this machine has Tesla T4 (7.5)" in message
    assert "--platform cpu" in message


def test_gpu_whose_capability_the_driver_does_not_tell_is_refused(machine, opening):
    machine(replace(H100, compute_capability=None))
    assert "compute capability of this machine's NVIDIA H100 80GB HBM3 is needed" in refusal(opening, "9.0")


def test_gpu_that_is_too_small_is_refused_with_the_rows_that_fit(machine, opening):
    machine(replace(H100, memory_bytes=2_000_000_000))
    limits = replace(LIMITS, max_batch_size=4096, max_seq_len=8192)
    message = refusal(opening, "9.0", limits=limits)
    assert "of weights" in message
    assert "NVIDIA H100 80GB HBM3 has 2.0 GB" in message
    rows = int(message.split("--max-batch-size ")[1].split()[0])
    assert 1 <= rows < 4096
    with pytest.raises(Opened):
        opening("9.0", limits=replace(limits, max_batch_size=rows))
    refusal(opening, "9.0", limits=replace(limits, max_batch_size=rows + 1))


def test_gpu_that_cannot_hold_one_row_is_told_to_quantize(machine, opening):
    machine(replace(H100, memory_bytes=1_000_000_000))
    assert "nld-trt quantize CHECKPOINT -o DIR --int4" in refusal(opening, "9.0")


def test_memory_that_is_not_known_is_not_refused(machine, opening):
    machine(replace(SPARK, memory_bytes=None))
    with pytest.raises(Opened, match="gpu"):
        opening("12.1")


def test_damaged_weights_are_refused_by_name(torch_engine, tmp_path):
    folder = torch_engine("tiny-a")
    weights = folder.path / "torch" / "weights.safetensors"
    content = weights.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"cut\.safetensors"):
        cpu.open_on_cpu(tmp_path / "cut.safetensors", folder.info("torch"))
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=r"torch/weights.safetensors has changed since the build"):
            EngineFolder.open(folder.path)
    finally:
        weights.write_bytes(content)
