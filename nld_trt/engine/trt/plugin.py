# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators as TensorRT's ahead-of-time plugins: the engine contains the kernel and needs no Python.

A plugin of this kind is one launch of one kernel on the plugin's tensors, without workspace and without memory that
lives between launches. So the statistics pass, the decision and the next pass are plugins of their own, and the partial
results between the first two are a tensor that TensorRT allocates. docs/plugins.md has the reasons, and what was never
executed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from nld_trt.engine.gpu.kernels.image import Image
from nld_trt.engine.gpu.kernels.launch import CHUNK, Sizes, checked_sizes, launch
from nld_trt.engine.gpu.kernels.spec import LOGIT_TYPES, OPERATORS, PLUGIN_NAMESPACE, TENSORS, Operator

_TYPE_NAMES = {"bool": "BOOL", "float32": "FP32", "int32": "INT32", "int64": "INT64"}


# The kernels that plugins created from now on carry. TensorRT keeps a plugin for the life of the process.
_loaded: Image | None = None


def register_plugins(image: Image, *, batch: int, width: int, vocab: int) -> None:
    """Register the operators with TensorRT. If they are registered already, give them another image.

    Args:
        batch, width, vocab: the largest sizes that an engine will run with.

    Raises:
        InputError: the kernels do not take these sizes, or TensorRT is not installed.
    """
    from nld_trt.engine.trt.flavour import TRT

    global _loaded
    checked_sizes(batch, width, vocab)
    trt = TRT.load()
    if _loaded is None:
        from tensorrt import plugin

        for operator in OPERATORS.values():
            _register(trt, plugin, operator)
    _loaded = image


def _register(trt: Any, plugin: Any, operator: Operator) -> None:
    identity = f"{PLUGIN_NAMESPACE}::{operator.name}"
    count = len(operator.inputs)
    types = {
        "bool": trt.DataType.BOOL,
        "float32": trt.DataType.FLOAT,
        "int32": trt.DataType.INT32,
    }
    logit_types = {trt.DataType.BF16: "bf16", trt.DataType.HALF: "fp16", trt.DataType.FLOAT: "fp32"}

    def sizes_of(inputs: Sequence[Any]) -> Sizes[Any]:
        first = inputs[0].shape_expr
        if not operator.reads_logits:
            return Sizes(first[0], first[1])
        return Sizes(first[0], first[1], first[2], plugin.cdiv(first[2], CHUNK))

    def describe(*inputs: Any, mask_token_id: int) -> tuple[Any, ...]:
        sizes = sizes_of(inputs)
        return tuple(plugin.from_shape_expr(sizes.shape(name), types[TENSORS[name].dtype]) for name in operator.outputs)

    def supported(*arguments: Any) -> list[Any]:
        return [plugin.AutoTuneCombination(io_types, "LINEAR") for io_types in io_types_of(operator)]

    def implement(*arguments: Any) -> tuple[str, str | bytes, Any, Any]:
        inputs, (mask_token_id, _outputs, _tactic) = arguments[:count], arguments[count:]
        assert _loaded is not None
        sizes = sizes_of(inputs)
        planned = launch(operator, sizes)
        parameters = plugin.KernelLaunchParams()
        parameters.grid_x, parameters.grid_y, parameters.grid_z = planned.grid
        parameters.block_x = planned.threads
        parameters.shared_mem = 0
        # An engine does not keep the attributes of a plugin: the kernel gets the one that it needs as a constant.
        scalars = sizes.scalars(operator, mask_token_id)
        extra = plugin.SymIntExprs(len(scalars))
        for index, value in enumerate(scalars):
            extra[index] = plugin.SymInt32(value)
        kernel = operator.kernel(logit_types[inputs[0].dtype]) if operator.reads_logits else operator.symbol
        return kernel, _code(_loaded), parameters, extra

    tensor, one_of = plugin.TensorDesc, inspect.Parameter.POSITIONAL_OR_KEYWORD
    inputs = [inspect.Parameter(name, one_of, annotation=tensor) for name in operator.inputs]
    attribute = inspect.Parameter("mask_token_id", one_of, annotation=int)
    outputs = inspect.Parameter("outputs", one_of, annotation=_tuple_of(tensor, len(operator.outputs)))
    tactic = inspect.Parameter("tactic", one_of, annotation=int)
    code = tuple[str | bytes, str | bytes, plugin.KernelLaunchParams, plugin.SymIntExprs]

    plugin.register(identity)(_signed(describe, [*inputs, attribute], outputs.annotation))
    plugin.autotune(identity)(_signed(supported, [*inputs, outputs], list[plugin.AutoTuneCombination]))
    plugin.aot_impl(identity)(_signed(implement, [*inputs, attribute, outputs, tactic], code))


def io_types_of(operator: Operator) -> list[str]:
    """The types of inputs and outputs as TensorRT writes them, a line for each type of logits that it can read.

    >>> io_types_of(OPERATORS["LogitStatistics"])[0]
    'BF16, FP32, FP32, INT32'
    """
    names = [*operator.inputs, *operator.outputs]
    lines = (
        ", ".join(_TYPE_NAMES.get(TENSORS[name].dtype, logit_type) for name in names)
        for logit_type in LOGIT_TYPES.values()
    )
    return list(dict.fromkeys(lines))


def _code(image: Image) -> str:
    """The PTX as text. TensorRT takes its length, so the zero at the end, which the driver wants, goes."""
    return image.ptx.rstrip(b"\0").decode()


def _tuple_of(item: Any, count: int) -> Any:
    return tuple.__class_getitem__((item,) * count)


def _signed(function: Callable[..., Any], parameters: list[inspect.Parameter], returns: Any) -> Callable[..., Any]:
    """``function`` with the signature that TensorRT reads: it insists on one named, annotated parameter per tensor."""
    function.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    return function
