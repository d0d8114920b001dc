# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""NVRTC, NVIDIA's run-time compiler, which turns CUDA C++ into machine code without a toolkit, a driver or a GPU.

It is called through ``cuda.bindings.nvrtc``. ``cuda.core.Program`` is shorter, but asks the driver for its version
before it makes PTX, so that a machine without a driver gets none; and it hides the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nld_trt.errors import InputError, OperationError
from nld_trt.optional import install_command


@dataclass(frozen=True)
class Compiled:
    """The result of compiling one source.

    Attributes:
        cubin: machine code of one architecture, an ELF file.
        ptx: the virtual code that it was made from, which ends in a zero, as the driver wants it.
        log: everything that the compiler printed.
    """

    cubin: bytes
    ptx: bytes
    log: str


class Nvrtc:
    """The loaded library."""

    def __init__(self, bindings: Any) -> None:
        """
        Args:
            bindings: the module ``cuda.bindings.nvrtc``.
        """
        self._bindings = bindings

    @classmethod
    def load(cls) -> Nvrtc:
        """The library of the package nvidia-cuda-nvrtc, or one that the system's loader finds.

        Raises:
            InputError: there is none, or the package cuda-bindings is not installed.
        """
        try:
            from cuda.bindings import nvrtc

            loaded = cls(nvrtc)
            _ = loaded.version  # the library itself is loaded by the first call
        except (ImportError, RuntimeError) as error:
            absent = "the Python package cuda-bindings is not installed"
            raise InputError(
                "compiling the decode kernels needs NVRTC, NVIDIA's run-time compiler, and "
                f"{absent if isinstance(error, ImportError) else 'its library was not found'}",
                details=() if isinstance(error, ImportError) else str(error).splitlines()[:5],
                fix=f"Install it: {install_command('plugins')}, or build with --no-plugins.",
            ) from error
        return loaded

    @property
    def version(self) -> str:
        major, minor = self._call("nvrtcVersion")
        return f"{major}.{minor}"

    def architectures(self) -> list[int]:
        """The architectures that it compiles for: 90 for sm_90."""
        (found,) = self._call("nvrtcGetSupportedArchs")
        return list(found)

    def compile(self, name: str, text: str, headers: Mapping[str, str], options: Sequence[str]) -> Compiled:
        """Compile ``text``, which includes ``headers`` by their names.

        Raises:
            OperationError: the source does not compile; the error has the compiler's messages.
        """
        texts, names = ([part.encode() for part in parts] for parts in (headers.values(), headers))
        (program,) = self._call("nvrtcCreateProgram", text.encode(), name.encode(), len(headers), texts, names)
        try:
            arguments = [option.encode() for option in options]
            (status,) = self._bindings.nvrtcCompileProgram(program, len(arguments), arguments)
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            if status != self._bindings.nvrtcResult.NVRTC_SUCCESS:
                raise OperationError(
                    f"NVRTC {self.version} cannot compile {name} with {' '.join(options)}: {status.name}",
                    details=log.splitlines()[:20],
                )
            return Compiled(self._read(program, "CUBIN"), self._read(program, "PTX"), log)
        finally:
            self._bindings.nvrtcDestroyProgram(program)

    def _read(self, program: Any, what: str) -> bytes:
        (size,) = self._call(f"nvrtcGet{what}Size", program)
        # NVRTC writes into this object, so it must not be one that Python shares, as it does objects of one byte.
        buffer = bytes(size + 1)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer[:size]

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._bindings, function)(*arguments)
        if status != self._bindings.nvrtcResult.NVRTC_SUCCESS:
            raise OperationError(f"NVRTC refused {function}: {status.name}")
        return values
