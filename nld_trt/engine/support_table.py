# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The table of how each backend runs each quantization. Refusals, proofs and the documentation are based on it.

The entries for ``ort`` and ``trt-rtx`` were verified, with ONNX Runtime 1.32 on a CPU and in plans that TensorRT for
RTX 1.7 compiled. Those for ``trt``, which compiles the graph of ``trt-rtx``, were not. Those for ``torch`` were run on
the CPU, with its kernels in Triton's interpreter, and compiled for its GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nld_trt import names

Status = Literal["native", "fallback", "refused"]


@dataclass(frozen=True)
class Support:
    """How one backend runs one algorithm.

    Attributes:
        status: native if matrix kernels read the quantized weights.
        how: what the engine does, or the reason for a refusal.
        compute_capability: the lowest one whose GPUs support the types; empty where all do, or no GPU is used.
        group_sizes: the group sizes that its kernels can read; empty where they can read any.
        executed: whether the authors compiled (trt-rtx) or ran (ort) it.
    """

    status: Status
    how: str
    compute_capability: str = ""
    group_sizes: tuple[int, ...] = ()
    executed: bool = True


_UNPACKED_AT_LOAD = (
    "weights are stored quantized and unpacked while loading: memory and speed are those of an unquantized engine"
)
_FP4_UNPACKED = (
    "weights stay in FP4 in the plan, and every forward unpacks each in a separate kernel before the matrix "
    "product: less memory than bf16, and no less time"
)

# The entries by algorithm, then by backend. A pair without an entry is refused.
SUPPORT: Mapping[str, Mapping[str, Support]] = {
    "W4A16_AWQ": {
        names.ORT: Support(
            "native",
            "4-bit matrix kernels, which round activations to 8 bits in groups of the weights'",
            group_sizes=tuple(1 << power for power in range(4, 13)),
        ),
        names.TRT_RTX: Support("native", "INT4 weights are unpacked inside the matrix kernel", "8.6"),
        names.TRT: Support("native", "the graph of trt-rtx", executed=False),
        names.TORCH: Support(
            "native", "INT4 weights are unpacked inside a Triton kernel; on the CPU while loading", executed=False
        ),
    },
    "FP8": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("native", "FP8 matrix kernels", "8.9"),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
        names.TORCH: Support(
            "native",
            "FP8 matrix kernels of PyTorch, in bf16; otherwise, and on the CPU, unpacked while loading",
            executed=False,
        ),
    },
    "FP8_PER_CHANNEL_PER_TOKEN": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support(
            "native", "FP8 matrix kernels; one kernel before and one after each for the scales", "8.9"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
        names.TORCH: Support(
            "native",
            "FP8 matrix kernels of PyTorch, in bf16; otherwise, and on the CPU, unpacked while loading",
            executed=False,
        ),
    },
    "W4A16_NVFP4": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("fallback", _FP4_UNPACKED, "12.0"),
        names.TRT: Support("fallback", _FP4_UNPACKED, "10.0", executed=False),
        names.TORCH: Support(
            "native", "FP4 weights are unpacked inside a Triton kernel; on the CPU while loading", executed=False
        ),
    },
    "NVFP4": {
        names.ORT: Support("fallback", f"{_UNPACKED_AT_LOAD}; activations are rounded to FP4 in floats"),
        names.TRT_RTX: Support(
            "native", "FP4 matrix kernels; activations are quantized in a kernel before each", "12.0"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "10.0", executed=False),
        names.TORCH: Support(
            "fallback",
            "FP4 weights are unpacked inside a Triton kernel, and activations rounded to FP4 in floats: less memory, "
            "and no FP4 arithmetic",
            executed=False,
        ),
    },
}

# The reason why each backend has no quantized KV caches. Caches are always in the engine's precision, also for
# checkpoints that were made for quantized caches.
KV_CACHE: Mapping[str, str] = {
    names.ORT: "ONNX Runtime 1.32 cannot update an FP8 cache: it has no CPU kernel for TensorScatter of that type",
    names.TRT_RTX: "TensorRT for RTX 1.7 takes caches in fp32, fp16 and bf16 only",
    names.TRT: "its graph is that of trt-rtx, and nothing else was tried",
    names.TORCH: "its attention kernel reads caches in the engine's precision",
}
