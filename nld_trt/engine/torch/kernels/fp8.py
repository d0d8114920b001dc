# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rounding of activations to FP8, as matrix products of FP8 read them.

Shapes: T tokens, I input features.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_MAX = 448.0
# The smallest peak of a row: a row of zeros must not divide by zero.
_TINY = 1e-12


@triton.jit
def _quantize(x, values, steps, size, static, PER_TOKEN: tl.constexpr, BLOCK: tl.constexpr, MAX: tl.constexpr,
              TINY: tl.constexpr):  # fmt: skip
    """One program for each token."""
    token, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    real = at < size
    value = tl.load(x + token * size + at, mask=real, other=0.0).to(tl.float32)
    step = static
    if PER_TOKEN:
        step = tl.maximum(tl.max(tl.abs(value), 0), TINY) / MAX
    level = tl.minimum(tl.maximum(value / step, -MAX), MAX)
    tl.store(values + token * size + at, level.to(tl.float8e4nv), mask=real)
    tl.store(steps + token, step)


def quantize(x: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """FP8 values [T, I] and their scale for each token [T, 1] float32.

    Args:
        scale: of all tokens; None scales each token by a 448th of its largest magnitude.
    """
    tokens, size = x.shape
    values = torch.empty((tokens, size), dtype=torch.float8_e4m3fn, device=x.device)
    steps = torch.empty((tokens, 1), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(size)
    _quantize[(tokens,)](
        x, values, steps, size, 1.0 if scale is None else scale, PER_TOKEN=scale is None, BLOCK=block,
        MAX=_MAX, TINY=_TINY, num_warps=min(max(block // 512, 1), 16),
    )  # fmt: skip
    return values, steps
