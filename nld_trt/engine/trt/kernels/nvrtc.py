# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""NVRTC, NVIDIA's compiler as a library: CUDA C++ to machine code without a toolkit, a driver or a GPU.

The library is called through ctypes: eleven functions are needed of it, and a machine that has torch has it without
any Python binding.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError, OperationError
from nld_trt.optional import install_command

_SONAMES = ("libnvrtc.so.13", "libnvrtc.so.12")


@dataclass(frozen=True)
class Compiled:
    """What NVRTC made of one source.

    Attributes:
        cubin: machine code of one architecture, an ELF file.
        ptx: the virtual code that it was made from.
        log: everything that the compiler printed.
    """

    cubin: bytes
    ptx: bytes
    log: str


class Nvrtc:
    """The loaded library."""

    def __init__(self, path: str) -> None:
        self.path = path
        # It opens this one by its bare name, and finds it only if it is loaded or on the loader's path.
        for builtins in sorted(Path(path).parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @classmethod
    def load(cls) -> Nvrtc:
        """The library of the package nvidia-cuda-nvrtc, or one that the system's loader finds.

        Raises:
            InputError: there is none.
        """
        for path in (*_wheel_libraries(), *_SONAMES):
            try:
                return cls(path)
            except OSError:
                continue
        raise InputError(
            "compiling the decode kernels needs NVRTC, NVIDIA's run-time compiler, and no "
            f"{' or '.join(_SONAMES)} was found",
            fix=f"Install it: {install_command('plugins')}, or build with --no-plugins.",
        )

    @property
    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def architectures(self) -> list[int]:
        """What it compiles for: 90 for sm_90."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return list(found)

    def compile(self, name: str, text: str, headers: Mapping[str, str], options: Sequence[str]) -> Compiled:
        """Compile ``text``, which includes ``headers`` by their names.

        Raises:
            OperationError: with what the compiler said.
        """
        program = ctypes.c_void_p()
        texts = (ctypes.c_char_p * len(headers))(*(value.encode() for value in headers.values()))
        names = (ctypes.c_char_p * len(headers))(*(value.encode() for value in headers))
        source = (ctypes.c_char_p(text.encode()), ctypes.c_char_p(name.encode()))
        self._call("nvrtcCreateProgram", ctypes.byref(program), *source, len(headers), texts, names)
        try:
            arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = self._library.nvrtcCompileProgram(program, len(options), arguments)
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            if status != 0:
                raise OperationError(
                    f"NVRTC {self.version} cannot compile {name} with {' '.join(options)}: {self._text(status)}",
                    details=log.splitlines()[:20],
                )
            # PTX is text that ends in a zero, as the driver wants it.
            return Compiled(self._read(program, "CUBIN"), self._read(program, "PTX"), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise OperationError(f"NVRTC refused {function}: {self._text(status)}")

    def _text(self, status: int) -> str:
        return str(self._library.nvrtcGetErrorString(status).decode())


def _wheel_libraries() -> Iterator[str]:
    """NVRTC of the installed packages: they put it in a folder of the namespace package ``nvidia``."""
    namespace = importlib.util.find_spec("nvidia")
    for folder in (namespace.submodule_search_locations or ()) if namespace else ():
        for soname in _SONAMES:
            yield from (str(path) for path in sorted(Path(folder).glob(f"*/lib/{soname}")))
