# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized linear layers as ModelOpt's unified Hugging Face export stores them.

A packed ``MODULE.weight`` has its scales beside it. A layer computes

    y = dequantized(weight) · (pre_quant_scale ∘ x)

where formats that quantize activations round x first. One table gives, for each algorithm, the tensors with their
dtypes and shapes, and how the weight is unpacked.

Shapes: O output features, I input features, G input features per group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError
from nld_trt.model.inventory import WEIGHT_DTYPES, Shape, TensorSpec
from nld_trt.model.safetensors_file import Array

Float32 = npt.NDArray[np.float32]
Activations = Literal["none", "static", "per_token", "fp4"]

WEIGHT_SCALE, WEIGHT_SCALE_2, INPUT_SCALE, PRE_QUANT_SCALE = (
    "weight_scale",
    "weight_scale_2",
    "input_scale",
    "pre_quant_scale",
)


@dataclass(frozen=True)
class Part:
    """A tensor that is stored beside the weight.

    Attributes:
        shape: function from (O, I, G) to the tensor's shape.
        optional: a checkpoint may leave it out.
    """

    shape: Callable[[int, int, int], Shape]
    dtypes: tuple[str, ...] = WEIGHT_DTYPES
    optional: bool = False


@dataclass(frozen=True)
class Algorithm:
    """One quantization of a linear layer, with its name in ``hf_quant_config.json``.

    Attributes:
        weight_bits: bits of one weight, without scales.
        group_size: input features per weight scale where the checkpoint gives none; 0 without groups.
        activations: how the input is rounded.
        unpack: function from the stored weight to values [O, I].
    """

    name: str
    weight_bits: int
    weight_dtype: str
    weight_shape: Callable[[int, int], Shape]
    parts: Mapping[str, Part]
    group_size: int
    activations: Activations
    unpack: Callable[[Array], Array]


def unpack_int4(packed: Array) -> npt.NDArray[np.int8]:
    """Unpack bytes [O / 2, I], with row 2r in the low and 2r + 1 in the high halves, to int8 [O, I] from -8 to 7."""
    rows = np.empty((packed.shape[0], 2, packed.shape[1]), np.uint8)
    np.bitwise_and(packed, 0xF, out=rows[:, 0])
    np.right_shift(packed, 4, out=rows[:, 1])
    values = rows.reshape(-1, packed.shape[1]).view(np.int8)
    # Extend the sign of four bits.
    values ^= 8
    values -= 8
    return values


def unpack_fp4(packed: Array) -> Array:
    """Unpack bytes [O, I / 2], with column 2c in the low and 2c + 1 in the high halves, to float4_e2m1fn [O, I]."""
    columns = np.empty((*packed.shape, 2), np.uint8)
    np.bitwise_and(packed, 0xF, out=columns[..., 0])
    np.right_shift(packed, 4, out=columns[..., 1])
    return columns.reshape(packed.shape[0], -1).view(ml_dtypes.float4_e2m1fn)


def _scalar(outputs: int, inputs: int, group: int) -> Shape:
    return ()


_GROUP_SCALES = Part(lambda outputs, inputs, group: (outputs, inputs // group))
_FP4_SCALES = Part(lambda outputs, inputs, group: (outputs, inputs // group), dtypes=("F8_E4M3",))
_PRE_QUANT = Part(lambda outputs, inputs, group: (inputs,), optional=True)
_SCALAR = Part(_scalar)

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            name="W4A16_AWQ",
            weight_bits=4,
            weight_dtype="U8",
            weight_shape=lambda outputs, inputs: (outputs // 2, inputs),
            parts={WEIGHT_SCALE: _GROUP_SCALES, PRE_QUANT_SCALE: _PRE_QUANT},
            group_size=128,
            activations="none",
            unpack=unpack_int4,
        ),
        Algorithm(
            name="FP8",
            weight_bits=8,
            weight_dtype="F8_E4M3",
            weight_shape=lambda outputs, inputs: (outputs, inputs),
            parts={WEIGHT_SCALE: _SCALAR, INPUT_SCALE: _SCALAR},
            group_size=0,
            activations="static",
            unpack=lambda stored: stored,
        ),
        Algorithm(
            name="FP8_PER_CHANNEL_PER_TOKEN",
            weight_bits=8,
            weight_dtype="F8_E4M3",
            weight_shape=lambda outputs, inputs: (outputs, inputs),
            parts={WEIGHT_SCALE: Part(lambda outputs, inputs, group: (outputs,))},
            group_size=0,
            activations="per_token",
            unpack=lambda stored: stored,
        ),
        Algorithm(
            name="W4A16_NVFP4",
            weight_bits=4,
            weight_dtype="U8",
            weight_shape=lambda outputs, inputs: (outputs, inputs // 2),
            parts={WEIGHT_SCALE: _FP4_SCALES, WEIGHT_SCALE_2: _SCALAR, PRE_QUANT_SCALE: _PRE_QUANT},
            group_size=16,
            activations="none",
            unpack=unpack_fp4,
        ),
        Algorithm(
            name="NVFP4",
            weight_bits=4,
            weight_dtype="U8",
            weight_shape=lambda outputs, inputs: (outputs, inputs // 2),
            parts={
                WEIGHT_SCALE: _FP4_SCALES,
                WEIGHT_SCALE_2: _SCALAR,
                INPUT_SCALE: _SCALAR,
                PRE_QUANT_SCALE: _PRE_QUANT,
            },
            group_size=16,
            activations="fp4",
            unpack=unpack_fp4,
        ),
    )
}


@dataclass(frozen=True)
class LinearFormat:
    """The quantization of one linear layer.

    Attributes:
        group_size: input features per weight scale; 0 for formats without groups.
    """

    algorithm: Algorithm
    group_size: int

    @classmethod
    def named(cls, algorithm: str, group_size: int | None = None) -> LinearFormat:
        """Make the format of an algorithm by name. Raises InputError for an unknown one."""
        try:
            found = ALGORITHMS[algorithm]
        except KeyError:
            raise InputError(
                f"the quantization algorithm {algorithm!r} is not supported; supported: {', '.join(ALGORITHMS)}"
            ) from None
        return cls(found, (group_size or found.group_size) if found.group_size else 0)

    def to_dict(self) -> dict[str, Any]:
        """Returns the format as ``hf_quant_config.json`` states it for one layer."""
        return {"quant_algo": self.algorithm.name, **({"group_size": self.group_size} if self.group_size else {})}

    def tensors(self, module: str, outputs: int, inputs: int) -> dict[str, TensorSpec]:
        """List the tensors that a checkpoint has for a linear layer [O, I] called ``module``.

        Raises:
            InputError: the group size does not divide the input features, or an odd number of weights is packed in
                pairs.
        """
        group = self.group_size
        if group and inputs % group:
            raise InputError(f"{module} has {inputs} input features, which groups of {group} do not divide")
        if self.algorithm.weight_bits == 4 and (outputs % 2 or inputs % 2):
            raise InputError(f"{module} is [{outputs}, {inputs}], which cannot be packed two weights to a byte")
        weight = TensorSpec(self.algorithm.weight_shape(outputs, inputs), (self.algorithm.weight_dtype,))
        parts = {
            f"{module}.{name}": TensorSpec(part.shape(outputs, inputs, group), part.dtypes, part.optional)
            for name, part in self.algorithm.parts.items()
        }
        return {f"{module}.weight": weight, **parts}


@dataclass(frozen=True)
class QuantizedWeight:
    """One quantized linear layer, read and unpacked.

    Attributes:
        values: [O, I] int8, float8_e4m3fn or float4_e2m1fn.
        scale: float32, [O, I / G] with groups, [O] per channel, [] per tensor.
        scale_2: second-level scale of NVFP4.
        input_scale: static scale of the activations.
        pre_quant_scale: [I] float32, by which the input is multiplied; None for ones.
    """

    format: LinearFormat
    values: Array
    scale: Float32
    scale_2: float | None = None
    input_scale: float | None = None
    pre_quant_scale: Float32 | None = None

    @classmethod
    def from_tensors(cls, format: LinearFormat, tensors: Mapping[str, Array]) -> QuantizedWeight:
        """Unpack the stored tensors of one layer, which are given by the last part of their names."""

        def scalar(name: str) -> float | None:
            return float(tensors[name].astype(np.float32).reshape(-1)[0]) if name in tensors else None

        pre_quant_scale = tensors.get(PRE_QUANT_SCALE)
        return cls(
            format=format,
            values=format.algorithm.unpack(tensors["weight"]),
            scale=tensors[WEIGHT_SCALE].astype(np.float32),
            scale_2=scalar(WEIGHT_SCALE_2),
            input_scale=scalar(INPUT_SCALE),
            pre_quant_scale=None if pre_quant_scale is None else pre_quant_scale.astype(np.float32),
        )

    @property
    def block_scale(self) -> Float32:
        """The weight scale times the second-level scale, shaped to broadcast over groups or rows of values."""
        scale = self.scale if self.scale_2 is None else self.scale * np.float32(self.scale_2)
        return scale[:, None] if scale.ndim == 1 else scale

    def dequantized(self) -> Float32:
        """Returns the weight that the stored values represent, float32 [O, I], without ``pre_quant_scale``."""
        values = self.values.astype(np.float32)
        if not self.format.group_size:
            return values * self.block_scale
        groups = values.reshape(values.shape[0], -1, self.format.group_size) * self.block_scale[..., None]
        return groups.reshape(values.shape)
