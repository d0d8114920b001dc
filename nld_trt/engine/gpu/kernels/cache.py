# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compiled decode kernels on disk, so that an engine opens without the compiler's seconds after the first time.

The files are in ``$XDG_CACHE_HOME/nld-trt/kernels``, by default ``~/.cache/nld-trt/kernels``. A file is named after
everything that it depends on: sources, options, architecture and the compiler's version. Deleting them is safe.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from nld_trt.engine.gpu.kernels.image import OPTIONS, KernelSource, check_compiler, compile_kernels
from nld_trt.machine.nvrtc import Nvrtc


def cached_cubin(capability: str, nvrtc: Nvrtc | None = None) -> bytes:
    """The machine code of the decode kernels for a compute capability, compiled if it is not in the cache.

    A cache that cannot be read or written is not used.

    Raises:
        InputError, OperationError: see ``image.compile_kernels``.
    """
    source, compiler = KernelSource.shipped(), check_compiler(capability, nvrtc)
    path = cache_folder() / f"{_key(source, capability, compiler)}.cubin"
    with suppress(OSError):
        return path.read_bytes()
    cubin = compile_kernels(capability, source, compiler).cubin
    with suppress(OSError):
        _write(path, cubin)
    return cubin


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base or "~/.cache").expanduser() / "nld-trt" / "kernels"


def _key(source: KernelSource, capability: str, compiler: Nvrtc) -> str:
    parts = [capability, compiler.version, *OPTIONS]
    parts += [part for name in sorted(source.files) for part in (name, source.files[name])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears whole: other processes may read and write it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
