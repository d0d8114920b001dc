# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers in PyTorch without kernels of our own: weights are unpacked while loading.

This is what the CPU runs, and what the kernels for packed weights are compared with.

Shapes: T tokens, I input features, O output features, G input features per group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt.engine.torch.forms import (
    FORMS,
    FP4,
    FP4_BOTH,
    FP8,
    FP8_PER_TOKEN,
    INT4,
    ROW_SCALE,
    SCALE,
    WEIGHT,
    Rounding,
)
from nld_trt.engine.torch.layout import Part
from nld_trt.engine.torch.writer import FACTOR

_FP8_MAX, _FP4_MAX = 448.0, 6.0
# The smallest peak of a row of activations: a row of zeros must not divide by zero.
_TINY = 1e-12
_FP4_GROUP = 16
# The numbers of FP4 (E2M1) by their codes.
_FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def unpack_pairs(packed: Tensor) -> Tensor:
    """Unpack bytes [O, I / 2] to 4-bit codes [O, I], uint8."""
    return torch.stack((packed & 0xF, packed >> 4), -1).flatten(1)


def _grouped(values: Tensor, scale: Tensor) -> Tensor:
    """Values [O, I] times a scale for each group [O, I / G], float32."""
    groups = values.float().reshape(*scale.shape, -1) * scale.float()[..., None]
    return groups.flatten(1)


def _unpack_int4(tensors: Mapping[str, Tensor]) -> Tensor:
    codes = unpack_pairs(tensors[WEIGHT]).to(torch.int8)
    return _grouped((codes ^ 8) - 8, tensors[SCALE])


def _unpack_fp8(tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[WEIGHT].float() * tensors[ROW_SCALE][:, None]


def _unpack_fp4(tensors: Mapping[str, Tensor]) -> Tensor:
    table = torch.tensor(_FP4_VALUES, device=tensors[WEIGHT].device)
    values = table[unpack_pairs(tensors[WEIGHT]).int()]
    return _grouped(values, tensors[SCALE].float() * tensors[ROW_SCALE][:, None])


_UNPACK: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    INT4.name: _unpack_int4,
    FP8.name: _unpack_fp8,
    FP8_PER_TOKEN.name: _unpack_fp8,
    FP4.name: _unpack_fp4,
    FP4_BOTH.name: _unpack_fp4,
}


def _as_it_is(x: Tensor, scale: float | None) -> Tensor:
    return x


def round_to_fp8(x: Tensor, scale: float | None) -> Tensor:
    """x [T, I] to FP8 multiples of ``scale`` and back."""
    assert scale is not None
    level = (x.float() / scale).clamp(-_FP8_MAX, _FP8_MAX).to(torch.float8_e4m3fn)
    return (level.float() * scale).to(x.dtype)


def round_rows_to_fp8(x: Tensor, scale: float | None) -> Tensor:
    """x [T, I] to FP8 multiples of a 448th of each row's largest magnitude, and back."""
    step = x.float().abs().amax(-1, keepdim=True).clamp_min(_TINY) / _FP8_MAX
    level = (x.float() / step).clamp(-_FP8_MAX, _FP8_MAX).to(torch.float8_e4m3fn)
    return (level.float() * step).to(x.dtype)


def round_to_fp4(x: Tensor, scale: float | None) -> Tensor:
    """x [T, I] to FP4 in groups of 16, each with an FP8 multiple of ``scale``, and back."""
    assert scale is not None
    groups = x.float().reshape(*x.shape[:-1], -1, _FP4_GROUP)
    peak = groups.abs().amax(-1, keepdim=True)
    blocks = (peak / (_FP4_MAX * scale)).clamp_max(_FP8_MAX).to(torch.float8_e4m3fn)
    scales = blocks.float() * scale
    level = groups / torch.where(scales == 0, 1.0, scales)
    magnitude = level.abs()
    spacing = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    values = ((level / spacing).round() * spacing).clamp(-_FP4_MAX, _FP4_MAX)
    rounded: Tensor = (values * scales).flatten(-2).to(x.dtype)
    return rounded


ROUND: Mapping[Rounding, Callable[[Tensor, float | None], Tensor]] = {
    "none": _as_it_is,
    "fp8": round_to_fp8,
    "fp8_per_token": round_rows_to_fp8,
    "fp4": round_to_fp4,
}


def unpacked(part: Part, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """The weight [O, I] that a part's stored values represent. ``tensors`` are by the last part of their names."""
    if part.form not in _UNPACK:
        return tensors[WEIGHT]
    return _UNPACK[part.form](tensors).to(dtype)


@dataclass(frozen=True)
class UnpackedPart:
    """One part of a stack, with its weight in the activation precision.

    Attributes:
        weight: [O, I].
        factor: [I] multiplies the input, or None.
    """

    weight: Tensor
    factor: Tensor | None
    rounding: Rounding
    input_scale: float | None

    @classmethod
    def of(cls, part: Part, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> UnpackedPart:
        rounding = FORMS[part.form].rounding
        return cls(unpacked(part, tensors, dtype), tensors.get(FACTOR), rounding, part.input_scale)

    def __call__(self, x: Tensor) -> Tensor:
        """[T, I] to [T, O]."""
        scaled = x if self.factor is None else x * self.factor
        return F.linear(ROUND[self.rounding](scaled, self.input_scale), self.weight)
