# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels of the plugin operators: their tensors, their scalars, and the order of a kernel's parameters.

The launcher, the TensorRT plugins, the tests and the benchmark all read this table. A kernel's parameters are its
operator's inputs, scalars and outputs, in the order given here, as TensorRT's ahead-of-time plugins require.

The tensors are those of ``nld_trt.graph.step.tensors``, which says what they hold and what their axes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nld_trt.graph.step import plugin_form
from nld_trt.graph.step.plugin_form import PluginOperator
from nld_trt.graph.step.tensors import TENSORS as STEP_TENSORS
from nld_trt.graph.step.tensors import Tensor
from nld_trt.graph.tape import DOMAIN

PLUGIN_NAMESPACE = DOMAIN


@dataclass(frozen=True)
class Operator:
    """An operator that a plugin implements.

    One that reads logits has a kernel for each of their types, and they are its first input; another has one kernel.

    Attributes:
        symbol: the kernel's name, without the type of logits at its end.
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

    @property
    def reads_logits(self) -> bool:
        return "logits" in self.inputs

    def kernel(self, logit_type: str) -> str:
        """The kernel for logits of ``logit_type``, a name in LOGIT_TYPES; any will do where none are read."""
        return f"{self.symbol}_{logit_type}" if self.reads_logits else self.symbol

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.kernel(logit_type) for logit_type in LOGIT_TYPES))


# The precisions of nld_trt.graph.precision, with TensorRT's name of each.
LOGIT_TYPES: Mapping[str, str] = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}

_SCALARS = ("width", "vocab", "mask_token_id")

LOGIT_STATISTICS = Operator(plugin_form.LOGIT_STATISTICS, "nld_logit_statistics", _SCALARS)
DECODE_STEP = Operator(plugin_form.DECODE_STEP, "nld_decode_step", _SCALARS)
ADVANCE = Operator(plugin_form.ADVANCE, "nld_advance", ("width", "mask_token_id"))

# In the order in which a forward runs them.
OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in (LOGIT_STATISTICS, DECODE_STEP, ADVANCE)}
TENSORS: Mapping[str, Tensor] = {
    name: STEP_TENSORS[name] for operator in OPERATORS.values() for name in (*operator.inputs, *operator.outputs)
}
KERNELS: tuple[str, ...] = tuple(kernel for operator in OPERATORS.values() for kernel in operator.kernels)
