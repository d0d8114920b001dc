# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Matrix products with weights of 4 bits, which are unpacked between memory and the product.

A byte holds the weights of an even and the next odd input feature. The two halves are multiplied with the even and the
odd features of the input, so that nothing has to be interleaved.

Shapes: T tokens, I input features, O output features, G input features per group.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Bytes of a row that a program reads at a time.
_BYTES = 64


@triton.jit
def _int4(code):
    """Two's complement of 4 bits."""
    return ((code ^ 8).to(tl.int32) - 8).to(tl.float32)


@triton.jit
def _fp4(code):
    """E2M1: sign, two bits of exponent, one of mantissa."""
    exponent, mantissa = ((code >> 1) & 3).to(tl.int32), (code & 1).to(tl.float32)
    magnitude = tl.where(exponent == 0, 0.5 * mantissa, (2.0 + mantissa) * (1 << exponent).to(tl.float32) * 0.25)
    return tl.where((code & 8) != 0, -magnitude, magnitude)


@triton.jit(do_not_specialize=["tokens"])
def _packed_product(
    x, weight, scale, row_scale, out, tokens, outputs, inputs, group,
    FP4: tl.constexpr, TOKENS: tl.constexpr, OUTPUTS: tl.constexpr, BYTES: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """One program for a tile of tokens and outputs."""
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    here, wanted = (token < tokens)[:, None], (output < outputs)[:, None]
    half, groups = inputs // 2, inputs // group
    total = tl.zeros([TOKENS, OUTPUTS], tl.float32)
    for begin in range(0, half, BYTES):
        byte = begin + tl.arange(0, BYTES)
        inside = (byte < half)[None, :]
        codes = tl.load(weight + output.to(tl.int64)[:, None] * half + byte[None, :], mask=wanted & inside, other=0)
        step = tl.load(scale + output.to(tl.int64)[:, None] * groups + (2 * byte // group)[None, :],
                       mask=wanted & inside, other=0.0).to(tl.float32)  # fmt: skip
        if FP4:
            low, high = _fp4(codes & 15) * step, _fp4(codes >> 4) * step
        else:
            low, high = _int4(codes & 15) * step, _int4(codes >> 4) * step
        cells = x + token.to(tl.int64)[:, None] * inputs + 2 * byte[None, :]
        even = tl.load(cells, mask=here & inside, other=0.0)
        odd = tl.load(cells + 1, mask=here & inside, other=0.0)
        if PRECISE:
            total += tl.dot(even, tl.trans(low), input_precision="ieee")
            total += tl.dot(odd, tl.trans(high), input_precision="ieee")
        else:
            total += tl.dot(even, tl.trans(low.to(even.dtype)))
            total += tl.dot(odd, tl.trans(high.to(odd.dtype)))
    if FP4:
        total = total * tl.load(row_scale + output, mask=output < outputs, other=0.0)[None, :]
    place = out + token.to(tl.int64)[:, None] * outputs + output[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=here & (output < outputs)[None, :])


def packed_product(x: Tensor, weight: Tensor, scale: Tensor, row_scale: Tensor | None) -> Tensor:
    """x [T, I] times the weights, [T, O].

    Args:
        weight: bytes [O, I / 2].
        scale: [O, I / G].
        row_scale: [O] float32 for FP4 values; None for integers, which have none.
    """
    tokens, inputs = x.shape
    outputs = len(weight)
    out = torch.empty((tokens, outputs), dtype=x.dtype, device=x.device)
    tile = min(max(triton.next_power_of_2(tokens), 16), 64)
    width = 32 if tile == 16 else 64
    _packed_product[(triton.cdiv(outputs, width), triton.cdiv(tokens, tile))](
        x, weight, scale, scale if row_scale is None else row_scale, out,
        tokens, outputs, inputs, inputs // scale.shape[1],
        FP4=row_scale is not None, TOKENS=tile, OUTPUTS=width, BYTES=_BYTES, PRECISE=x.dtype == torch.float32,
        num_warps=4, num_stages=4,
    )  # fmt: skip
    return out
