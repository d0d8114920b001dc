# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of 4 bits unpacked to the activation precision, for products of so many tokens that arithmetic bounds them.

Shapes: I input features, O output features, G input features per group.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.few import BLOCK, fp4_values, integers

_OUTPUTS = 32


@triton.jit
def _unpack(
    weight, scale, row_scale, out, outputs, inputs, bytes_in_row, group,
    FORM: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program for a tile of outputs and a block of input features."""
    output, half = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS), tl.arange(0, BLOCK // 2)
    begin, wanted = tl.program_id(1) * BLOCK, (output < outputs)[:, None]
    row = output.to(tl.int64)[:, None]
    codes = tl.load(weight + row * bytes_in_row + begin // 2 + half[None, :], mask=wanted, other=0)
    groups = inputs // group
    factor = tl.full([OUTPUTS], 1.0, tl.float32)
    if FORM == "fp4":
        factor = tl.load(row_scale + output, mask=output < outputs, other=0.0)
    like = tl.zeros([1], tl.float32)
    for part in tl.static_range(2):
        feature = begin + part * (BLOCK // 2) + half
        inside = wanted & (feature < inputs)[None, :]
        code = (codes >> 4) if part == 1 else (codes & 15)
        value = integers(code, like) if FORM == "int4" else fp4_values(code, like)
        step = tl.load(scale + row * groups + (feature // group)[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row * inputs + feature[None, :], (value * step * factor[:, None]).to(out.dtype.element_ty),
                 mask=inside)  # fmt: skip


def unpack(
    weight: Tensor, form: str, inputs: int, dtype: torch.dtype, scale: Tensor, row_scale: Tensor | None
) -> Tensor:
    """The weight [O, I] in ``dtype`` that packed values represent.

    Args:
        weight: bytes as :func:`nld_trt.engine.torch.kernels.few.reordered` returns them.
        form: "int4" or "fp4".
        scale: [O, I / G].
        row_scale: [O] float32 of FP4 weights.
    """
    outputs, size = weight.shape
    out = torch.empty((outputs, inputs), dtype=dtype, device=weight.device)
    _unpack[(triton.cdiv(outputs, _OUTPUTS), triton.cdiv(inputs, BLOCK))](
        weight, scale, scale if row_scale is None else row_scale, out, outputs, inputs, size, inputs // scale.shape[1],
        FORM=form, OUTPUTS=_OUTPUTS, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return out
