# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The registers and memory that kernels take, read from their machine code.

The compiler prints them too, but only when it compiles: NVRTC 13.0 keeps finished code in ~/.nv/ComputeCache where
there is a driver, and prints nothing when it takes it from there. Machine code is an ELF file, and NVIDIA describes its
sections nowhere; what is read here equals what NVRTC 12.9 to 13.5 print, and a test compares it with the installed one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nld_trt.errors import OperationError

_CODE, _SHARED, _ATTRIBUTES = ".text.", ".nv.shared.", ".nv.info"
# From compute capability 9.0 on, the system takes this many bytes at the start of a block's shared memory. The size of
# the section includes them; the figure that the compiler prints does not.
_RESERVED_BYTES = 1024

# Numbers of attributes. The first two are pairs of a symbol and a value; the last lists, as pairs of a kind and an
# offset into the code, the instructions that store or load spilled registers.
_REGISTERS, _STACK_FRAME, _SPILLS = 0x2F, 0x11, 0x55
# Attributes of this format are followed by as many bytes as they say; the others are four bytes in all.
_SIZED = 4
# Bits 73 to 75 of an instruction of 16 bytes that stores or loads: how many bytes it moves.
_MOVED_BYTES = (1, 1, 2, 2, 4, 8, 16, 16)


@dataclass(frozen=True)
class Resources:
    """The registers and memory that one kernel takes.

    Attributes:
        registers: number of 32-bit registers of a thread.
        shared_bytes: static shared memory of a block.
        stack_bytes: local memory of a thread, spilled registers included.
        spill_bytes: bytes that the spill stores and spill loads of a thread move, each instruction counted once.
    """

    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


def read_cubin(cubin: bytes) -> dict[str, Resources]:
    """The resources of each kernel, by its name, from machine code for compute capability 9.0 or newer.

    Raises:
        OperationError: the file is not such machine code, or a kernel lacks an attribute.
    """
    try:
        return dict(_resources(_Elf.read(cubin)))
    except (LookupError, ValueError, struct.error) as error:
        raise OperationError(
            "the compiler's machine code is not laid out as in CUDA 12.9 to 13: the registers of its kernels cannot be "
            f"read ({type(error).__name__}: {error})"
        ) from error


@dataclass(frozen=True)
class _Section:
    content: bytes
    size: int


@dataclass(frozen=True)
class _Elf:
    """Sections by name, and the names of symbols by their index. A section without content can have a size."""

    sections: Mapping[str, _Section]
    symbols: tuple[str, ...]

    @classmethod
    def read(cls, file: bytes) -> _Elf:
        if file[:5] != b"\x7fELF\x02":
            raise ValueError("not an ELF file of 64 bits")
        (start,) = struct.unpack_from("<Q", file, 0x28)
        entry_size, count, names_index = struct.unpack_from("<HHH", file, 0x3A)
        # Name, type, flags, address, offset, size, link, info, alignment, size of an entry.
        headers = [struct.unpack_from("<IIQQQQIIQQ", file, start + index * entry_size) for index in range(count)]
        names = _content(file, headers[names_index])
        sections = {_text(names, header[0]): _Section(_content(file, header), header[5]) for header in headers}
        symbol_names = sections[".strtab"].content
        # Name, information, visibility, section, value, size.
        symbols = struct.iter_unpack("<IBBHQQ", sections[".symtab"].content)
        return cls(sections, tuple(_text(symbol_names, symbol[0]) for symbol in symbols))


def _content(file: bytes, header: tuple[int, ...]) -> bytes:
    without_content = header[1] == 8
    return b"" if without_content else file[header[4] : header[4] + header[5]]


def _text(names: bytes, offset: int) -> str:
    return names[offset : names.index(b"\0", offset)].decode()


def _resources(elf: _Elf) -> Iterator[tuple[str, Resources]]:
    of_symbols: dict[tuple[int, str], int] = {}
    for attribute, value in _attributes(elf.sections[_ATTRIBUTES].content):
        if attribute in (_REGISTERS, _STACK_FRAME):
            symbol, number = struct.unpack("<II", value)
            of_symbols[attribute, elf.symbols[symbol]] = number
    for name, section in elf.sections.items():
        if not name.startswith(_CODE):
            continue
        kernel = name.removeprefix(_CODE)
        shared = elf.sections.get(f"{_SHARED}{kernel}")
        yield (
            kernel,
            Resources(
                registers=of_symbols[_REGISTERS, kernel],
                shared_bytes=shared.size - _RESERVED_BYTES if shared else 0,
                stack_bytes=of_symbols[_STACK_FRAME, kernel],
                spill_bytes=_spill_bytes(elf.sections[f"{_ATTRIBUTES}.{kernel}"].content, section.content),
            ),
        )


def _attributes(section: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the value of every attribute of a section."""
    at = 0
    while at < len(section):
        kind, attribute, size = struct.unpack_from("<BBH", section, at)
        at += 4
        end = at + size if kind == _SIZED else at
        yield attribute, section[at:end]
        at = end


def _spill_bytes(attributes: bytes, code: bytes) -> int:
    total = 0
    for attribute, value in _attributes(attributes):
        if attribute == _SPILLS:
            for _, offset in struct.iter_unpack("<II", value):
                total += _MOVED_BYTES[code[offset + 9] >> 1 & 7]
    return total
