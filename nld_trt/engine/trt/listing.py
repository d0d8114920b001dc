# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The text in which TensorRT lists a compiled engine: its kernels and its bindings.

The builder logs this listing when a plan is done, and the engine inspector gives the same text
(``LayerInformationFormat.ONELINE``) for a deserialised plan. It describes the compiled engine, not the
network that was asked for, and the builder gives it on machines without a GPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]

# First lines of the builder's message.
LISTING_HEADERS = ("Layers:", "Engine Layer Information:")

# The listing's names of element types, in the contract's spelling.
ELEMENT_TYPES = {
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
    "Float": "float32",
    "Half": "fp16",
    "BFloat16": "bf16",
    "Int8": "int8",
    "FP8": "fp8",
    "Int4": "int4",
    "FP4E2M1": "fp4",
}

_KERNEL = re.compile(
    r"Name: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: (?P<inputs>.*?), "
    r"(?:Constants: (?P<constants>.*?), )?Outputs: (?P<outputs>.*?)(?:, TacticName: |$)"
)
_TENSOR = re.compile(
    r"\s*Name: (?P<name>.+?), IOMode: (?P<mode>\w+), DataType: (?P<dtype>\w+), Dimensions: \[(?P<shape>[^\]]*)\]"
)
_RANGE = re.compile(r"MinShape: \[([^\]]*)\], OptShape: \[([^\]]*)\], MaxShape: \[([^\]]*)\]")
_PROFILE = re.compile(r" \[profile (\d+)\]")
_NODE = re.compile(r"\[ONNX Layer: ([^\]|]+)")
_TACTIC = re.compile(r"TacticName: ([^,]*)")
_DATATYPE = re.compile(r"Datatype: (\w+)")
_OPERAND = re.compile(r"\{ Name: (.+?), (?:Location: \w+, )?(?:Dimensions: \[([^\]]*)\])?([^{}]*)")
_BYTES = {"int32": 4, "int64": 8, "bool": 1, "float32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class Operand:
    """A tensor that a kernel reads or writes, without the profile's mark. Run-time sizes are -1."""

    name: str
    shape: Shape
    dtype: str

    @property
    def element_bytes(self) -> int:
        return _BYTES[self.dtype]


@dataclass(frozen=True)
class Kernel:
    """One step of the engine.

    Attributes:
        profile: index of the optimisation profile it was compiled for.
        tactic: symbol of the kernel; empty for steps that launch none.
        reads, writes: tensors. A tensor that it changes in place is both.
        constants: element types of the weights it reads.
        nodes: ONNX nodes it computes.
    """

    name: str
    kind: str
    profile: int
    tactic: str
    reads: tuple[Operand, ...]
    writes: tuple[Operand, ...]
    constants: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it reads."""
        return tuple(operand.name for operand in self.reads)


@dataclass(frozen=True)
class Tensor:
    """One binding of the engine; ``ranges`` has (minimum, best, maximum) per profile, for inputs only."""

    name: str
    mode: str
    dtype: str
    shape: Shape
    ranges: tuple[ShapeRange, ...]


@dataclass(frozen=True)
class EngineListing:
    kernels: tuple[Kernel, ...]
    tensors: tuple[Tensor, ...]

    @classmethod
    def parse(cls, text: str) -> EngineListing:
        """Read a listing. Lines that are neither a kernel nor a binding are passed over.

        Kernels come profile by profile; names of the first profile carry no mark, those of profile n
        carry ``[profile n]``, and kernels between intermediate tensors may carry none.
        """
        kernels: list[Kernel] = []
        tensors: list[Tensor] = []
        profile = 0
        for line in text.splitlines():
            profile = max([profile, *(int(index) for index in _PROFILE.findall(line))])
            plain = _PROFILE.sub("", line)
            if match := _TENSOR.match(plain):
                tensors.append(_tensor(match, plain))
            elif match := _KERNEL.match(plain):
                kernels.append(_kernel(match, plain, profile))
        return cls(tuple(kernels), tuple(tensors))


def node_names(metadata: str) -> tuple[str, ...]:
    """The ONNX nodes named in a layer's metadata."""
    return tuple(name.strip() for name in _NODE.findall(metadata))


def _kernel(match: re.Match[str], line: str, profile: int) -> Kernel:
    tactic = _TACTIC.search(line)
    return Kernel(
        name=match["name"],
        kind=match["kind"],
        profile=profile,
        tactic=tactic[1].strip() if tactic else "",
        reads=_operands(match["inputs"]),
        writes=_operands(match["outputs"]),
        constants=tuple(ELEMENT_TYPES.get(name, name) for name in _DATATYPE.findall(match["constants"] or "")),
        nodes=node_names(line),
    )


def _operands(text: str) -> tuple[Operand, ...]:
    found = []
    for name, shape, rest in _OPERAND.findall(text):
        dtype = _DATATYPE.search(rest)
        found.append(Operand(name, _shape(shape), ELEMENT_TYPES.get(dtype[1], dtype[1]) if dtype else ""))
    return tuple(found)


def _tensor(match: re.Match[str], line: str) -> Tensor:
    ranges = tuple((_shape(low), _shape(best), _shape(high)) for low, best, high in _RANGE.findall(line))
    dtype = ELEMENT_TYPES.get(match["dtype"], match["dtype"])
    return Tensor(match["name"], match["mode"].lower(), dtype, _shape(match["shape"]), ranges)


def _shape(text: str) -> Shape:
    return tuple(int(size) for size in text.split(",") if size.strip())
