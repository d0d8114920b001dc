# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compiled decode kernels on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.engine.gpu.kernels import cache
from nld_trt.engine.gpu.kernels.image import Image, KernelSource


class Compiler:
    """Takes the place of NVRTC: what it compiles is counted, and different each time."""

    version = "13.0"

    def __init__(self) -> None:
        self.calls = 0

    def compile(self, capability, source, nvrtc) -> Image:
        self.calls += 1
        return Image(capability, f"code {self.calls}".encode(), b"", {}, "NVRTC 13.0")


@pytest.fixture
def compiler(monkeypatch, tmp_path) -> Compiler:
    made = Compiler()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "check_compiler", lambda capability, nvrtc: made)
    monkeypatch.setattr(cache, "compile_kernels", made.compile)
    return made


def test_kernels_are_compiled_once(compiler):
    assert [cache.cached_cubin("9.0") for _ in range(3)] == [b"code 1"] * 3


def test_each_gpu_has_its_own(compiler):
    assert [cache.cached_cubin(name) for name in ("9.0", "12.0", "9.0")] == [b"code 1", b"code 2", b"code 1"]


def test_another_compiler_compiles_anew(compiler):
    cache.cached_cubin("9.0")
    compiler.version = "13.1"
    assert cache.cached_cubin("9.0") == b"code 2"


def test_changed_sources_are_compiled_anew(compiler, monkeypatch):
    shipped = KernelSource.shipped()
    cache.cached_cubin("9.0")
    changed = replace(shipped, files={**shipped.files, "philox.h": "// changed"})
    monkeypatch.setattr(KernelSource, "shipped", classmethod(lambda cls: changed))
    assert cache.cached_cubin("9.0") == b"code 2"


def test_a_cache_that_cannot_be_written_is_not_used(compiler, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [cache.cached_cubin("9.0") for _ in range(2)] == [b"code 1", b"code 2"]


def test_nothing_else_is_left_in_the_folder(compiler):
    cache.cached_cubin("9.0")
    assert [path.suffix for path in cache.cache_folder().iterdir()] == [".cubin"]
