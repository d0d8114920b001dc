# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checks and timings of the kernels, and ``nld-trt bench kernels``, on a driver whose GPU is the CPU."""

from __future__ import annotations

import ctypes
import json
import sys
from functools import partial

import numpy as np
import pytest

from nld_trt.cli import run
from nld_trt.engine.gpu.kernels import image as image_module
from nld_trt.engine.gpu.kernels.image import Image
from nld_trt.engine.gpu.kernels.launcher import Kernels, open_device
from nld_trt.engine.gpu.kernels.spec import KERNELS
from nld_trt.errors import InputError
from nld_trt.machine import gpu
from nld_trt.machine.device import Device
from nld_trt.machine.gpu import Gpu
from nld_trt.measure.kernels import bandwidth, check, next_pass, targets, timing
from nld_trt.measure.kernels.cases import SIZES
from nld_trt.measure.kernels.targets import Target
from nld_trt.measure.kernels.tensors import advance, step
from tests.machine import fake_cuda
from tests.machine.fake_cuda import CUdevice_attribute, FakeCuda
from tests.measure.kernels.host_kernels import host_kernels

IMAGE = Image("9.0", b"machine code", b"", {}, "NVRTC 13.0")
H100 = Gpu("NVIDIA H100", "9.0", 80 << 30)
SMALL = (3, 2, 300)


@pytest.fixture
def fake(library, monkeypatch) -> FakeCuda:
    """Small sizes: what is measured here is no kernel."""
    monkeypatch.setattr(check, "SIZES", SIZES[:2])
    monkeypatch.setattr(check, "CORNERS", ())
    monkeypatch.setattr(check, "PATTERN_SIZES", ((4, 2, 300),))
    monkeypatch.setattr(check, "SPOILED_VOCABS", (257,))
    monkeypatch.setattr(next_pass, "SIZES", ((8, 5),))
    monkeypatch.setattr(targets, "TARGETS", (Target((1, 2, 300), 1.25, 1e9), Target(SMALL, 1e-9)))
    for name, count in {"REPEATS": 3, "REPEATS_OF_SHORT": 6, "SAMPLES": 3}.items():
        monkeypatch.setattr(timing, name, count)
    monkeypatch.setattr(bandwidth, "BUFFER_BYTES", 2 * bandwidth.BLOCK_BYTES)
    monkeypatch.setattr(bandwidth, "FILL_BYTES", bandwidth.BLOCK_BYTES)
    monkeypatch.setattr(bandwidth, "LOAD_MILLISECONDS", 1e-3)
    fake = FakeCuda(host_kernels(library), [H100])
    fake.attributes[CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE] = 512
    return fake


@pytest.fixture
def machine(fake, monkeypatch) -> FakeCuda:
    """The command sees an H100 whose kernels are compiled."""
    fake_cuda.install(monkeypatch, fake)
    monkeypatch.setattr(image_module, "compile_kernels", lambda capability: IMAGE)
    monkeypatch.setattr(bandwidth, "compile_bandwidth", lambda capability: IMAGE)
    return fake


def problems(fake) -> list[str]:
    kernels = Kernels(Device(fake), IMAGE.cubin)
    return check.problems(partial(step, kernels), partial(advance, kernels))


class Changed:
    """A library of which a subclass changes a kernel."""

    def __init__(self, library) -> None:
        self.library = library

    def __getattr__(self, name):
        return getattr(self.library, name)


class Wrong(Changed):
    """A library whose BF16 decision counts one mask too many in the first row."""

    def nld_decode_step_bf16(self, rows, *arguments):
        self.library.nld_decode_step_bf16(rows, *arguments)
        ctypes.memset(arguments[-6].value, 1, 4)


def test_right_kernels_have_no_problems(fake) -> None:
    assert problems(fake) == []
    assert {name for name, *_ in fake.launches} == set(KERNELS)
    assert not fake.live


def test_wrong_kernels_are_named_with_their_inputs(fake, library) -> None:
    fake.kernels = host_kernels(Wrong(library))
    found = problems(fake)
    assert "masks_left at 2 x 5 x 257, bf16, greedy rows, random logits" in found
    assert "masks_left at 4 x 2 x 300, bf16, mixed rows, ties" in found
    assert not [problem for problem in found if "bf16" not in problem]


def test_wrong_next_pass_is_named(fake, library) -> None:
    class Forgetful(Changed):
        """No row has a token left."""

        def nld_advance(self, rows, *arguments):
            self.library.nld_advance(rows, *arguments)
            ctypes.memset(arguments[-1].value, 0, 4 * rows.value)

    fake.kernels = host_kernels(Forgetful(library))
    assert problems(fake) == ["next_tokens_left at 8 x 5"]


def test_kernels_that_let_a_spoiled_row_be_are_named(fake, library) -> None:
    """Finite whatever the logits are."""

    class Careless(Changed):
        def nld_decode_step_bf16(self, rows, *arguments):
            self.library.nld_decode_step_bf16(rows, *arguments)
            np.ctypeslib.as_array(ctypes.cast(arguments[-1], ctypes.POINTER(ctypes.c_int)), (rows.value,))[:] = 1

    fake.kernels = host_kernels(Careless(library))
    assert "finite of a spoiled row, with nan at the last token, vocabulary 257, bf16, greedy rows" in problems(fake)


def test_kernels_in_which_rows_meet_are_named(fake, library) -> None:
    class Mixing(Changed):
        """The last row's confidences depend on the number of rows."""

        def nld_decode_step_bf16(self, rows, *arguments):
            self.library.nld_decode_step_bf16(rows, *arguments)
            ctypes.memset(arguments[-7].value, rows.value, 1)

    fake.kernels = host_kernels(Mixing(library))
    assert any("confidence of a spoiled row's neighbour" in problem for problem in problems(fake))


@pytest.mark.parametrize("sizes", [SIZES, (*SIZES, *check.CORNERS, *check.PATTERN_SIZES)], ids=["tests", "check"])
def test_sizes_reach_the_ends_of_what_is_promised(sizes) -> None:
    assert {256, 257, 131071, 131072} <= {vocab for *_, vocab in sizes}
    assert {1, 64} <= {batch for batch, *_ in sizes}
    assert {1, 64} <= {width for _, width, _ in sizes}
    assert max(np.prod(size) for size in sizes) * 8 < 1 << 30


def test_report_has_a_floor_and_a_time_of_every_kernel(machine, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nld-trt", "bench", "kernels", "-o", "a report.json"])
    assert run(["bench", "kernels", "-o", str(tmp_path / "report.json"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["command"] == "nld-trt bench kernels -o 'a report.json'"
    assert report["device"] == "NVIDIA H100 (9.0)"
    assert report["versions"]["cuda driver"] == "13.1"
    assert report["wrong"] == []
    rates = report["gigabytes_per_second"]
    assert rates["theoretical"] == 3352.3
    found = report["timed"]["3 x 2 x 300"]
    assert found["logit_bytes"] == 3 * 2 * 300 * 2
    assert found["copies_of_the_logits"] == 2
    best = max(rates[name] for name in ("memcpy", "copy_kernel", "read_kernel"))
    assert np.isclose(found["floor_us"], found["logit_bytes"] / best / 1000, atol=0.01)
    for name in ("denoise", "verify"):
        for rows in ("greedy", "sampled"):
            assert set(found[name][rows]) == {"LogitStatistics", "DecodeStep", "Advance", "both", "all"}
            assert set(found[name][rows]["both"]) == {"cold_us", "warm_us"}
    assert [target["met"] for target in report["targets"]] == [True, False]
    assert not machine.live


def test_targets_are_printed(machine, monkeypatch, capsys) -> None:
    monkeypatch.setattr(check, "problems", lambda step, advance: [])
    assert run(["bench", "kernels"]) == 0
    out = capsys.readouterr().out
    assert "target met: denoise at 1 x 2 x 300" in out
    assert "target MISSED: denoise at 3 x 2 x 300" in out
    assert "read kernel: " in out


def test_check_only_times_nothing(machine, capsys) -> None:
    assert run(["bench", "kernels", "--check-only"]) == 0
    assert "every result is right" in capsys.readouterr().out
    assert "mark" not in machine.log


def test_machine_without_gpu_is_refused_by_name(monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "present_gpus", lambda: [])
    assert run(["bench", "kernels"]) == 2
    assert "nld-trt bench kernels needs an NVIDIA GPU" in capsys.readouterr().err


def test_wrong_results_are_a_failure(machine, monkeypatch, capsys) -> None:
    monkeypatch.setattr(check, "problems", lambda step, advance: ["finite at 1 x 1 x 256"])
    assert run(["bench", "kernels"]) == 1
    assert "finite at 1 x 1 x 256" in capsys.readouterr().err


def test_missing_package_is_named(monkeypatch) -> None:
    fake_cuda.install(monkeypatch, None)
    with pytest.raises(InputError, match=r'the decode kernels needs .*cuda-bindings.*\n.*"nld-trt\[plugins\]"'):
        open_device()


@pytest.mark.parametrize("capability", [pytest.param("9.0", marks=pytest.mark.slow), "12.1"])
def test_what_the_kernels_take_is_shown_without_a_gpu(capsys, monkeypatch, capability):
    monkeypatch.setattr(gpu, "present_gpus", list)
    assert run(["bench", "kernels", "--compile-only", "--compute-capability", capability, "--json"]) == 0
    resources = json.loads(capsys.readouterr().out)["resources"]
    assert list(resources) == [capability]
    assert set(KERNELS) == set(resources[capability])
    assert all(found["registers"] > 0 and found["spill_bytes"] == 0 for found in resources[capability].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compile-only", "--compute-capability", "8.9"], "compute capability 8.9"),
        (["--compute-capability", "9.0"], "without --compile-only"),
        (["--compile-only", "--check-only"], "Leave one of them out"),
    ],
)
def test_compile_only_refuses_what_does_not_go_together(capsys, options, message):
    assert run(["bench", "kernels", *options]) == 2
    assert message in capsys.readouterr().err
