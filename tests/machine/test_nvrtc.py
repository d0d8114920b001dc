# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The compiler by itself, and where it is missing. What it makes of the kernels is in tests/engine/gpu/kernels."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.machine.nvrtc import Nvrtc

OPTIONS = ("--gpu-architecture=sm_90",)
SOURCE = '#include "value.h"\nextern "C" __global__ void store(float* p) { p[0] = VALUE; }'


@pytest.fixture
def nvrtc() -> Nvrtc:
    try:
        return Nvrtc.load()
    except InputError as error:
        pytest.skip(error.what)


def test_machine_code_and_virtual_code_are_made_without_a_driver(nvrtc):
    compiled = nvrtc.compile("store.cu", SOURCE, {"value.h": "#define VALUE 1\n"}, OPTIONS)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert b".entry store" in compiled.ptx
    assert compiled.ptx.endswith(b"\0")


def test_a_compiler_that_prints_nothing_has_an_empty_log(nvrtc):
    assert nvrtc.compile("store.cu", SOURCE, {"value.h": "#define VALUE 1\n"}, OPTIONS).log == ""
    assert bytes(1) == b"\0", "the log of one byte is not written into an object that Python shares"


def test_errors_of_the_source_are_shown(nvrtc):
    with pytest.raises(OperationError, match=r"(?s)cannot compile store\.cu with --gpu.*NVRTC_ERROR_COMP.*not today"):
        nvrtc.compile("store.cu", SOURCE, {"value.h": "#error not today\n"}, OPTIONS)


def test_a_failed_compilation_leaves_no_program(nvrtc, monkeypatch):
    real, destroyed = nvrtc._bindings, []
    names = {name: getattr(real, name) for name in dir(real) if name.startswith("nvrtc")}
    destroy = {"nvrtcDestroyProgram": lambda program: destroyed.append(real.nvrtcDestroyProgram(program))}
    with pytest.raises(OperationError):
        Nvrtc(SimpleNamespace(**{**names, **destroy})).compile("a.cu", "no", {}, OPTIONS)
    assert len(destroyed) == 1


def test_a_refused_call_is_named(nvrtc):
    with pytest.raises(OperationError, match="NVRTC refused nvrtcGetPTX: NVRTC_ERROR_INVALID_PROGRAM"):
        nvrtc._call("nvrtcGetPTX", nvrtc._bindings.nvrtcProgram(), bytes(8))


def unfound():
    raise RuntimeError("searched everywhere")


@pytest.mark.parametrize(
    ("bindings", "reason"),
    [
        (None, "the Python package cuda-bindings is not installed"),
        (SimpleNamespace(nvrtc=SimpleNamespace(nvrtcVersion=unfound)), "its library was not found"),
    ],
    ids=["no bindings", "no library"],
)
def test_missing_compiler_says_what_installs_it(monkeypatch, bindings, reason) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    with pytest.raises(InputError, match=f"needs NVRTC, .* and {reason}") as raised:
        Nvrtc.load()
    assert raised.value.fix == 'Install it: pip install "nld-trt[plugins]", or build with --no-plugins.'
