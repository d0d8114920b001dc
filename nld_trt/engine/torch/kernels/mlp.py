# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""SwiGLU: silu(gate) · up.

Shapes: T tokens, I intermediate.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit(do_not_specialize=["size"])
def _swiglu(gate_up, out, size, BLOCK: tl.constexpr):
    token, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < size
    gate = tl.load(gate_up + token * 2 * size + at, mask=real, other=0.0).to(tl.float32)
    up = tl.load(gate_up + token * 2 * size + size + at, mask=real, other=0.0)
    # silu is rounded to the activation precision before the product, as PyTorch does.
    activated = (gate * tl.sigmoid(gate)).to(up.dtype) * up
    tl.store(out + token * size + at, activated.to(up.dtype), mask=real)


def swiglu(gate_up: Tensor) -> Tensor:
    """[T, 2 · I] to [T, I]."""
    tokens, size = len(gate_up), gate_up.shape[1] // 2
    out = torch.empty((tokens, size), dtype=gate_up.dtype, device=gate_up.device)
    _swiglu[(tokens, triton.cdiv(size, _BLOCK))](gate_up, out, size, BLOCK=_BLOCK, num_warps=4)
    return out
