# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers in the graph: one emitter per quantization algorithm and dialect.

Weights keep their stored values. The graph computes the numbers that these represent, and a compiler that knows the
pattern fuses that into the matrix product. Weight scales of 4-bit formats are rounded to the activation precision,
because TensorRT for RTX fuses no others. FP8 scales and statistics of activations are float32.

Shapes: B rows, S tokens, I input features, O output features, G input features per group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nld_trt.graph.precision import FP4, FP8, INT4, PRECISIONS, ElementType, Precision
from nld_trt.graph.tape import TRT_DOMAIN, Dialect, Tape, Value, maximum, where
from nld_trt.graph.weights import WeightFile
from nld_trt.model.quantized.formats import Float32, QuantizedWeight
from nld_trt.model.safetensors_file import Array

_FP8_MAX, _FP4_MAX = 448.0, 6.0
# The smallest peak of a row of activations: a row of zeros must not divide by zero.
_TINY = 1e-12
_FP4_GROUP = 16


@dataclass(frozen=True)
class Recorder:
    """Where linear layers are recorded: nodes on ``tape``, values in ``weights``, computing in ``precision``.

    Attributes:
        shared: values that several layers with the same input use, by keys that say what they are.
    """

    tape: Tape
    weights: WeightFile
    precision: Precision
    dialect: Dialect
    shared: dict[tuple[object, ...], Value] = field(default_factory=dict)

    def once(self, key: tuple[object, ...], record: Callable[[], Value]) -> Value:
        """The value of ``key``. ``record`` is called the first time that it is needed."""
        if key not in self.shared:
            self.shared[key] = record()
        return self.shared[key]

    def scalar(self, value: float) -> Value:
        return self.tape.constant(value, np.float32)

    def store(self, name: str, tensor: Array, element: ElementType, *, factor: Float32 | None = None) -> Value:
        """A weight, as :meth:`WeightFile.add` takes it."""
        return self.tape.named(self.weights.add(name, tensor, element, factor=factor), element.numpy_type)

    def rounded(self, value: Value, *, node: str | None = None) -> Value:
        """A value in the activation precision. ``node`` names the node."""
        to, dtype = self.precision.onnx_type, self.precision.numpy_type
        return self.tape.op("Cast", value, dtype=dtype, node=node, to=to)

    def dequantize(self, node: str | None, values: Value, scale: Value, **attributes: Any) -> Value:
        """Values to the activation precision, whatever the type of the scale."""
        return self.tape.op(
            "DequantizeLinear", values, scale, dtype=self.precision.numpy_type, node=node,
            output_dtype=self.precision.onnx_type, **attributes,
        )  # fmt: skip


@dataclass(frozen=True)
class QuantizedLinear:
    """One quantized layer to record.

    Attributes:
        module: names the MatMul node; its weight tensors and dequantization are named after it.
        factor: [O] multiplies its output; None for ones. ``prescale.SCALES_ROWS`` lists the formats that can take one.
    """

    module: str
    weight: QuantizedWeight
    factor: Float32 | None = None


def unpacking_node(module: str) -> str:
    """The name of the node that gives the weight of ``module`` in the activation precision."""
    return f"{module}.dequantize"


def float_linear(recorder: Recorder, module: str, weight: Array, x: Value, factor: Float32 | None = None) -> Value:
    """x [B, S, I] times a high-precision weight [O, I]; ``factor`` [O] multiplies the output."""
    stored = recorder.store(f"{module}.weight", weight.T, recorder.precision, factor=factor)
    return recorder.tape.op("MatMul", x, stored, node=module)


def quantized_linear(recorder: Recorder, layer: QuantizedLinear, x: Value) -> Value:
    """x [B, S, I], already multiplied by ``pre_quant_scale``, times the quantized weight."""
    emitter = EMITTERS[layer.weight.format.algorithm.name][recorder.dialect]
    rounded, unpacked = emitter.round_input(recorder, layer, x), emitter.unpack(recorder, layer)
    return emitter.finish(recorder, x, recorder.tape.op("MatMul", rounded, unpacked, node=layer.module))


@dataclass(frozen=True)
class Emitter:
    """How one algorithm is written in one dialect.

    Attributes:
        stored: element type of the weight's values in the graph.
        unpack: records the weight, [I, O] in the activation precision.
        round_input: records x as the matrix product reads it.
        finish: records the layer's output, from x and the matrix product.
    """

    stored: ElementType
    unpack: Callable[[Recorder, QuantizedLinear], Value]
    round_input: Callable[[Recorder, QuantizedLinear, Value], Value] = lambda recorder, layer, x: x
    finish: Callable[[Recorder, Value, Value], Value] = lambda recorder, x, product: product


def _int4_weight(recorder: Recorder, layer: QuantizedLinear) -> Value:
    weight, group = layer.weight, layer.weight.format.group_size
    scale = weight.scale
    if recorder.dialect == "tensorrt" and scale.shape[1] == 1:
        # TensorRT for RTX 1.7 does not fuse a single group. Two halves with the same scale are the same.
        scale, group = np.repeat(scale, 2, axis=1), group // 2
    values = _store(recorder, layer, "weight", weight.values, INT4)
    scales = _store(recorder, layer, "weight_scale", scale, recorder.precision, factor=layer.factor)
    # Unlike the others this node has no output_dtype: with it ONNX Runtime 1.32 does not fuse, and the scale has the
    # right type already.
    return recorder.tape.op(
        "DequantizeLinear", values, scales, dtype=scales.dtype, node=unpacking_node(layer.module), axis=0,
        block_size=group,
    )  # fmt: skip


def _fp8_weight(recorder: Recorder, layer: QuantizedLinear) -> Value:
    values = _store(recorder, layer, "weight", layer.weight.values, FP8)
    scale = _store(recorder, layer, "weight_scale", layer.weight.scale, _FLOAT32, factor=layer.factor)
    axis = {"axis": 1} if layer.weight.scale.ndim else {}
    return recorder.dequantize(unpacking_node(layer.module), values, scale, **axis)


def _fp4_weight(recorder: Recorder, layer: QuantizedLinear) -> Value:
    weight = layer.weight
    assert weight.scale_2 is not None
    assert layer.factor is None, "scales in FP8 take no factor"
    values = _store(recorder, layer, "weight", weight.values, FP4)
    blocks = _store(recorder, layer, "weight_scale", weight.scale, FP8)
    scale = recorder.dequantize(f"{layer.module}.dequantize_scale", blocks, recorder.scalar(weight.scale_2))
    return recorder.dequantize(unpacking_node(layer.module), values, scale, axis=0, block_size=weight.format.group_size)


def _weight_unpacked_at_load(recorder: Recorder, layer: QuantizedLinear) -> Value:
    """Computes the weight with operators on constants, for libraries without a matrix kernel for the format.

    The library computes these once, while it loads the graph; a DequantizeLinear would be computed in every forward.
    FP8 holds every FP4 number.
    """
    weight = layer.weight
    values = _store(recorder, layer, "weight", weight.values, FP8)
    scale, group = weight.scale if weight.scale_2 is None else weight.block_scale, weight.format.group_size
    stored = _store(recorder, layer, "weight_scale", scale, _FLOAT32, factor=layer.factor)
    unpacked, outputs = values.cast(np.float32), len(weight.values)
    if group:
        unpacked = (unpacked.reshape([-1, group, outputs]) * stored.unsqueeze(1)).reshape([-1, outputs])
    else:
        unpacked = unpacked * stored
    return recorder.rounded(unpacked, node=unpacking_node(layer.module))


def _store(
    recorder: Recorder,
    layer: QuantizedLinear,
    part: str,
    tensor: Array,
    element: ElementType,
    *,
    factor: Float32 | None = None,
) -> Value:
    """A tensor of the layer with the output features moved last, as MatMul wants them."""
    return recorder.store(f"{layer.module}.{part}", tensor.T, element, factor=factor)


def _static_fp8(recorder: Recorder, layer: QuantizedLinear, x: Value) -> Value:
    assert layer.weight.input_scale is not None
    return _rounded_to_fp8(recorder, x, layer.weight.input_scale)


def _fp8_per_token(recorder: Recorder, layer: QuantizedLinear, x: Value) -> Value:
    """Rows divided by their largest magnitude. Between -1 and 1: an FP16 product of -448 to 448 could overflow."""
    level = recorder.once(("level", x), lambda: _float32(recorder, x) / _row_peak(recorder, x))
    return _rounded_to_fp8(recorder, level, 1.0 / _FP8_MAX)


def _times_row_peak(recorder: Recorder, x: Value, product: Value) -> Value:
    return product * recorder.once(("peak", x, "rounded"), lambda: recorder.rounded(_row_peak(recorder, x)))


def _dynamic_fp4(recorder: Recorder, layer: QuantizedLinear, x: Value) -> Value:
    assert layer.weight.input_scale is not None
    return _rounded_to_fp4(recorder, x, layer.weight.input_scale)


def _dynamic_fp4_in_floats(recorder: Recorder, layer: QuantizedLinear, x: Value) -> Value:
    assert layer.weight.input_scale is not None
    return _rounded_to_fp4_in_floats(recorder, x, layer.weight.input_scale)


EMITTERS: Mapping[str, Mapping[Dialect, Emitter]] = {
    "W4A16_AWQ": {
        "onnxruntime": Emitter(INT4, _int4_weight),
        "tensorrt": Emitter(INT4, _int4_weight),
    },
    "FP8": {
        "onnxruntime": Emitter(FP8, _weight_unpacked_at_load, _static_fp8),
        "tensorrt": Emitter(FP8, _fp8_weight, _static_fp8),
    },
    "FP8_PER_CHANNEL_PER_TOKEN": {
        "onnxruntime": Emitter(FP8, _weight_unpacked_at_load, _fp8_per_token, _times_row_peak),
        "tensorrt": Emitter(FP8, _fp8_weight, _fp8_per_token, _times_row_peak),
    },
    "W4A16_NVFP4": {
        "onnxruntime": Emitter(FP8, _weight_unpacked_at_load),
        "tensorrt": Emitter(FP4, _fp4_weight),
    },
    "NVFP4": {
        "onnxruntime": Emitter(FP8, _weight_unpacked_at_load, _dynamic_fp4_in_floats),
        "tensorrt": Emitter(FP4, _fp4_weight, _dynamic_fp4),
    },
}

_FLOAT32 = PRECISIONS["fp32"]


def _float32(recorder: Recorder, x: Value) -> Value:
    return recorder.once(("float32", x), lambda: x.cast(np.float32))


def _row_peak(recorder: Recorder, x: Value) -> Value:
    """Largest magnitude of each row, [B, S, 1] float32, above zero."""
    return recorder.once(("peak", x), lambda: maximum(_float32(recorder, x).abs().max(-1, keepdims=True), _TINY))


def _rounded_to_fp8(recorder: Recorder, x: Value, scale: float) -> Value:
    """x to FP8 multiples of ``scale`` and back, in the activation precision."""

    def record() -> Value:
        step = recorder.scalar(scale)
        values = recorder.tape.op("QuantizeLinear", x, step, dtype=FP8.numpy_type, output_dtype=FP8.onnx_type)
        return recorder.dequantize(None, values, step)

    return recorder.once(("fp8", x, scale), record)


def _rounded_to_fp4(recorder: Recorder, x: Value, scale: float) -> Value:
    """x to FP4 in groups of 16, each with an FP8 multiple of ``scale``, and back."""

    def record() -> Value:
        tape, step = recorder.tape, recorder.scalar(scale)
        values, blocks = tape.ops(
            "TRT_FP4DynamicQuantize", x, step, dtypes=[FP4.numpy_type, FP8.numpy_type], domain=TRT_DOMAIN,
            axis=-1, block_size=_FP4_GROUP, scale_type=FP8.onnx_type,
        )  # fmt: skip
        scales = recorder.dequantize(None, blocks, step)
        return tape.op("DequantizeLinear", values, scales, dtype=scales.dtype, axis=-1, block_size=_FP4_GROUP)

    return recorder.once(("fp4", x, scale), record)


def _rounded_to_fp4_in_floats(recorder: Recorder, x: Value, scale: float) -> Value:
    """As :func:`_rounded_to_fp4`, without FP4 values: rounded to the spacing that FP4 has at each magnitude."""

    def record() -> Value:
        scalar = recorder.scalar
        groups = _float32(recorder, x).reshape([0, 0, -1, _FP4_GROUP])
        peak = groups.abs().max(-1, keepdims=True)
        blocks = (peak / (_FP4_MAX * scale)).cast(FP8.numpy_type)
        scales = blocks.cast(np.float32) * scale
        level = groups / where(scales.equals(0), 1, scales)
        magnitude = level.abs()
        wide = where(magnitude < 4, scalar(1), 2)
        spacing = where(magnitude < 2, 0.5, wide)
        values = recorder.tape.op("Round", level / spacing) * spacing
        values = recorder.tape.op("Clip", values, scalar(-_FP4_MAX), scalar(_FP4_MAX))
        return recorder.rounded((values * scales).reshape([0, 0, -1]))

    return recorder.once(("fp4", x, scale), record)
