# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checks and timings of the kernels, and ``nld-trt bench kernels``, on a driver whose GPU is the CPU."""

from __future__ import annotations

import ctypes
import json

import numpy as np
import pytest

from nld_trt.cli import run
from nld_trt.engine import gpu
from nld_trt.engine.gpu import Gpu
from nld_trt.engine.kernels import driver as driver_module
from nld_trt.engine.kernels import image as image_module
from nld_trt.engine.kernels import measure
from nld_trt.engine.kernels.cases import DTYPES, SIZES, case
from nld_trt.engine.kernels.driver import Driver, Kernels
from nld_trt.engine.kernels.image import Image
from nld_trt.engine.kernels.spec import OPERATORS
from nld_trt.errors import InputError, OperationError
from tests.engine.kernels.fake_driver import FakeDriver

IMAGE = Image("9.0", b"machine code", b"", {}, "NVRTC 13.0")
H100 = Gpu("NVIDIA H100", "9.0", 80 << 30)


@pytest.fixture
def fake(library, monkeypatch) -> FakeDriver:
    """Small sizes: what is measured here is no kernel."""
    monkeypatch.setattr(measure, "SIZES", SIZES[:2])
    monkeypatch.setattr(measure, "TIMED", ((1, 2, 300), (3, 2, 300)))
    monkeypatch.setattr(measure, "COPY_BYTES", 1 << 12)
    return FakeDriver(library)


@pytest.fixture
def machine(fake, monkeypatch) -> FakeDriver:
    """The command sees an H100 whose kernels are compiled."""
    monkeypatch.setattr(gpu, "present_gpus", lambda: [H100])
    monkeypatch.setattr(image_module, "compile_kernels", lambda capability: IMAGE)
    monkeypatch.setattr(driver_module, "Driver", lambda: Driver(fake))
    return fake


def test_right_kernels_have_no_problems(fake) -> None:
    assert measure.problems(Kernels(Driver(fake), IMAGE)) == []
    kernels = {name for name, *_ in fake.launches}
    assert kernels == {f"nld_{name}_{kind}" for name in ("decode_step", "logit_statistics") for kind in DTYPES}


def test_memory_is_given_back(fake) -> None:
    kernels = Kernels(Driver(fake), IMAGE)
    measure.timings(kernels, (3, 2, 300), measure.copy_rate(kernels.driver))
    assert not fake.live


def test_wrong_kernels_are_named_with_size_and_type(fake) -> None:
    decide = fake.library.nld_decode_step_bf16

    class Wrong:
        def __getattr__(self, name):
            return getattr(fake_library, name)

        def nld_decode_step_bf16(self, rows, *arguments):
            decide(rows, *arguments)
            ctypes.memset(arguments[-6].value, 1, 4)  # masks_left of the first row

    fake_library = fake.library
    fake.library = Wrong()
    found = measure.problems(Kernels(Driver(fake), IMAGE))
    assert "masks_left at 2 x 5 x 257, bf16, temperature 0.0" in found


@pytest.mark.parametrize("operator", OPERATORS)
def test_both_operators_go_round_the_copies_of_the_logits(fake, monkeypatch, operator) -> None:
    kernels, launched = Kernels(Driver(fake), IMAGE), []
    monkeypatch.setattr(
        kernels, "launch", lambda which, sizes, addresses, *rest: launched.append((which.name, addresses["logits"]))
    )
    with measure.Tensors.on_device(kernels.driver, case(1, 2, 300), "bf16") as tensors:
        measure._works(kernels, tensors)[operator](4711)
    assert launched == [(operator, 4711)]


def test_time_is_of_one_call(fake) -> None:
    calls = []
    times = measure.time(Driver(fake), calls.append)
    assert calls == [0, *range(measure.REPEATS)]
    assert 0 <= times.least <= times.median


def test_report_has_a_floor_and_a_time_of_every_kernel(machine, tmp_path, capsys) -> None:
    assert run(["bench", "kernels", "-o", str(tmp_path / "report.json"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["device"] == "NVIDIA H100 (9.0)"
    assert report["versions"]["cuda driver"] == "13.1"
    assert report["wrong"] == []
    found = report["timed"]["3 x 2 x 300"]
    assert found["logit_bytes"] == 3 * 2 * 300 * 2
    assert np.isclose(found["floor_us"], found["logit_bytes"] / report["copy_gigabytes_per_second"] / 1000, atol=0.1)
    for kind in ("greedy", "sampled"):
        assert set(found[kind]) == {"LogitStatistics", "DecodeStep", "both"}


def test_check_only_times_nothing(machine, capsys) -> None:
    assert run(["bench", "kernels", "--check-only"]) == 0
    assert "every result is right" in capsys.readouterr().out
    assert not any(machine._events)


def test_machine_without_gpu_is_refused_by_name(monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "present_gpus", lambda: [])
    assert run(["bench", "kernels"]) == 2
    assert "nld-trt bench kernels needs an NVIDIA GPU" in capsys.readouterr().err


def test_wrong_results_are_a_failure(machine, monkeypatch, capsys) -> None:
    monkeypatch.setattr(measure, "problems", lambda kernels: ["finite at 1 x 1 x 256"])
    assert run(["bench", "kernels"]) == 1
    assert "finite at 1 x 1 x 256" in capsys.readouterr().err


def test_missing_driver_is_named(monkeypatch) -> None:
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(InputError, match=r"libcuda\.so\.1 is not here"):
        Driver()


def test_refused_call_is_named(fake) -> None:
    with pytest.raises(OperationError, match="the GPU refused cuModuleGetFunction: CUresult 500"):
        Driver(fake).function(ctypes.c_void_p(), "unheard_of")
