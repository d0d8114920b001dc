# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The operators that the kernels implement: their tensors, their scalars, the order of a kernel's parameters.

One table for the launcher, the TensorRT plugins, the tests and the benchmark. A kernel's parameters are its
operator's inputs, scalars and outputs, in the order given here: what TensorRT's ahead-of-time plugins want.

Axes: B rows, W window slots, V vocabulary, S splits of the vocabulary, P 32-bit words of a partial result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PLUGIN_NAMESPACE = "nld"


@dataclass(frozen=True)
class Tensor:
    """``dtype`` is a NumPy name, or ``logits`` for whichever of LOGIT_TYPES the operator is used with."""

    dtype: str
    axes: str
    meaning: str


@dataclass(frozen=True)
class Operator:
    """One plugin: one kernel per type of logits, or one kernel where it sees none.

    Attributes:
        symbol: the kernel's name, or what precedes the type in it.
        inputs, outputs: names in TENSORS.
        scalars: int32, by value.
    """

    name: str
    symbol: str
    inputs: tuple[str, ...]
    scalars: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def typed(self) -> bool:
        return any(TENSORS[name].dtype == "logits" for name in self.inputs)

    def kernel(self, logit_type: str) -> str:
        """The kernel for logits of ``logit_type``, a name in LOGIT_TYPES."""
        return f"{self.symbol}_{logit_type}" if self.typed else self.symbol

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.kernel(logit_type) for logit_type in LOGIT_TYPES))


# As in nld_trt.graph.precision, and TensorRT's name of each.
LOGIT_TYPES: Mapping[str, str] = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}

TENSORS: Mapping[str, Tensor] = {
    "logits": Tensor("logits", "BWV", "of every window slot"),
    "temperature": Tensor("float32", "B", "Gumbel noise is added above 0, and nothing else"),
    "seed": Tensor("int64", "B", "key of the noise"),
    "draw": Tensor("int32", "B", "which draw of the noise"),
    "positions": Tensor("int32", "BW", "absolute position of the token that a slot predicts"),
    "cut": Tensor("float32", "BW", "with a temperature, tokens with a smaller logit are not allowed; -inf allows all"),
    "partials": Tensor("int32", "BWSP", "statistics of each split; floats by their bits"),
    "block": Tensor("int32", "BW", "window tokens"),
    "valid": Tensor("int32", "B", "leading window slots that are real"),
    "threshold": Tensor("float32", "B", "masks with at least this confidence are committed"),
    "quota": Tensor("int32", "B", "at least this many masks are committed, the most confident"),
    "eos_token_id": Tensor("int32", "B", "-1 never matches"),
    "block_tokens": Tensor("int32", "BW", "window tokens after the step"),
    "confidence": Tensor("float32", "BW", "probability of a masked slot's choice, -1 elsewhere"),
    "masks_left": Tensor("int32", "B", "masks still in the window"),
    "verified_tokens": Tensor("int32", "BW", "choice of every slot; -1 where its logits decide nothing"),
    "accepted_count": Tensor("int32", "B", "matching draft tokens + 1; 0 for a row that is not finite"),
    "next_seed": Tensor("int32", "B", "the last accepted token; -1 for a row that is not finite"),
    "eos_position": Tensor("int32", "B", "slot of the first accepted EOS, or W"),
    "finite": Tensor("int32", "B", "0 where a real slot holds NaN or +inf, or no allowed token above -inf"),
}

_DENOISE_OUTPUTS = ("block_tokens", "confidence", "masks_left")
_VERIFY_OUTPUTS = ("verified_tokens", "accepted_count", "next_seed", "eos_position")

LOGIT_STATISTICS = Operator(
    "LogitStatistics",
    "nld_logit_statistics",
    ("logits", "temperature", "seed", "draw", "positions", "cut"),
    ("width", "vocab", "mask_token_id"),
    ("partials",),
)
BLOCK_DENOISE = Operator(
    "BlockDenoise",
    "nld_block_denoise",
    ("partials", "block", "valid", "threshold", "quota"),
    ("width", "splits", "mask_token_id"),
    (*_DENOISE_OUTPUTS, "finite"),
)
SPEC_VERIFY = Operator(
    "SpecVerify",
    "nld_spec_verify",
    ("partials", "block", "valid", "eos_token_id"),
    ("width", "splits", "mask_token_id"),
    (*_VERIFY_OUTPUTS, "finite"),
)
DECODE_STEP = Operator(
    "DecodeStep",
    "nld_decode_step",
    ("partials", "block", "valid", "threshold", "quota", "eos_token_id"),
    ("width", "splits", "mask_token_id"),
    (*_DENOISE_OUTPUTS, *_VERIFY_OUTPUTS, "finite"),
)

OPERATORS: Mapping[str, Operator] = {
    operator.name: operator for operator in (LOGIT_STATISTICS, BLOCK_DENOISE, SPEC_VERIFY, DECODE_STEP)
}
KERNELS: tuple[str, ...] = tuple(kernel for operator in OPERATORS.values() for kernel in operator.kernels)
