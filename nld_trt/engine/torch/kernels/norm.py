# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""RMSNorm, with the addition of the residual stream where one comes with it. Statistics are FP32.

Shapes: T tokens, H hidden.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _norm(x, residual, weight, total, normed, hidden, eps, HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr):
    """One program for each token."""
    row = tl.program_id(0).to(tl.int64) * hidden
    at = tl.arange(0, BLOCK)
    real = at < hidden
    value = tl.load(x + row + at, mask=real, other=0.0)
    if HAS_RESIDUAL:
        # The sum is rounded to the activation precision, as it is kept.
        value = (value + tl.load(residual + row + at, mask=real, other=0.0)).to(x.dtype.element_ty)
        tl.store(total + row + at, value, mask=real)
    wide = value.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / hidden + eps)
    scaled = (wide * scale).to(x.dtype.element_ty) * tl.load(weight + at, mask=real, other=0.0)
    tl.store(normed + row + at, scaled.to(x.dtype.element_ty), mask=real)


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of x [T, H]."""
    return _run(x, None, weight, eps)[1]


def add_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + residual [T, H], and RMSNorm of it."""
    return _run(x, residual, weight, eps)


def _run(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    tokens, hidden = x.shape
    normed = torch.empty_like(x)
    total = x if residual is None else torch.empty_like(x)
    block = triton.next_power_of_2(hidden)
    _norm[(tokens,)](
        x, x if residual is None else residual, weight, total, normed, hidden, eps,
        HAS_RESIDUAL=residual is not None, BLOCK=block, num_warps=min(max(block // 512, 1), 16),
    )  # fmt: skip
    return total, normed
