# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels of the plugin operators: their tensors, their scalars, and the order of a kernel's parameters.

The launcher, the TensorRT plugins, the tests and the benchmark all read this table. A kernel's parameters are its
operator's inputs, scalars and outputs, in the order given here, as TensorRT's ahead-of-time plugins require.

Axes: B rows, W window slots, V vocabulary, K drafted candidates of a slot, E tokens that end a row's answer, S splits
of the vocabulary, P 32-bit words of a partial result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nld_trt.graph.step import plugin_form as plugin_operators
from nld_trt.graph.step.plugin_form import PluginOperator
from nld_trt.graph.tape import DOMAIN

PLUGIN_NAMESPACE = DOMAIN


@dataclass(frozen=True)
class Tensor:
    """A tensor of an operator.

    ``dtype`` is a NumPy name, or ``logits`` for any of LOGIT_TYPES; ``axes`` has a letter for each axis.
    """

    dtype: str
    axes: str
    meaning: str


@dataclass(frozen=True)
class Operator:
    """An operator that a plugin implements, with one kernel per type of logits. The logits are its first input.

    Attributes:
        symbol: the kernel's name without the type of logits at its end.
        scalars: names of the int32 parameters that are passed by value.
    """

    node: PluginOperator
    symbol: str
    scalars: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names in TENSORS."""
        return self.node.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names in TENSORS."""
        return self.node.outputs

    def kernel(self, logit_type: str) -> str:
        """The kernel for logits of ``logit_type``, a name in LOGIT_TYPES."""
        return f"{self.symbol}_{logit_type}"

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(self.kernel(logit_type) for logit_type in LOGIT_TYPES)


# The precisions of nld_trt.graph.precision, with TensorRT's name of each.
LOGIT_TYPES: Mapping[str, str] = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}

TENSORS: Mapping[str, Tensor] = {
    "logits": Tensor("logits", "BWV", "of every window slot"),
    "temperature": Tensor("float32", "B", "above 0 tokens are sampled; otherwise only the largest logit counts"),
    "cut": Tensor("float32", "BW", "with a temperature, tokens with a smaller logit are not allowed; -inf allows all"),
    "seed": Tensor("int64", "B", "key of the random numbers"),
    "stream": Tensor("int32", "B", "which of the key's independent streams"),
    "draw": Tensor("int32", "B", "which draw of a position"),
    "position": Tensor("int32", "BW", "absolute position of the token that a slot predicts"),
    "drafted_ids": Tensor("int32", "BWK", "candidates that a slot's token was drafted from; -1 for none"),
    "drafted_shares": Tensor("float32", "BWK", "probability with which the draft took each of them"),
    "partials": Tensor("int32", "BWSP", "statistics of each split; floats by their bits"),
    "block": Tensor("int32", "BW", "window tokens"),
    "valid": Tensor("int32", "B", "leading window slots that are real"),
    "verify_valid": Tensor("int32", "B", "leading window slots that are verified; of a quadratic pass only its drafts"),
    "threshold": Tensor("float32", "B", "masks with at least this confidence are committed"),
    "quota": Tensor("int32", "B", "at least this many masks are committed, the most confident"),
    "eos_token_id": Tensor("int32", "BE", "tokens that end the row's answer; -1 never matches"),
    "block_tokens": Tensor("int32", "BW", "window tokens after the step"),
    "confidence": Tensor("float32", "BW", "probability of a masked slot's choice, -1 elsewhere"),
    "masks_left": Tensor("int32", "B", "masks still in the window"),
    "verified_tokens": Tensor("int32", "BW", "choice of every slot; -1 where its logits decide nothing"),
    "accepted_count": Tensor("int32", "B", "matching draft tokens + 1; 0 for a row that is not finite"),
    "next_seed": Tensor("int32", "B", "the last accepted token; -1 for a row that is not finite"),
    "eos_position": Tensor("int32", "B", "slot of the first accepted EOS, or W"),
    "finite": Tensor("int32", "B", "0 where a real slot holds NaN or +inf, or no allowed token above -inf"),
}

_SCALARS = ("width", "vocab", "mask_token_id")

LOGIT_STATISTICS = Operator(plugin_operators.LOGIT_STATISTICS, "nld_logit_statistics", _SCALARS)
DECODE_STEP = Operator(plugin_operators.DECODE_STEP, "nld_decode_step", _SCALARS)

OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in (LOGIT_STATISTICS, DECODE_STEP)}
KERNELS: tuple[str, ...] = tuple(kernel for operator in OPERATORS.values() for kernel in operator.kernels)
