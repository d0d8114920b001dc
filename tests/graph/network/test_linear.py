# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized linear layers in the graph, against the same arithmetic in NumPy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nld_trt.engine.ort.session import session_options
from nld_trt.graph.export import load_graph, write_graph
from nld_trt.graph.network.linear import EMITTERS, QuantizedLinear, Recorder, quantized_linear
from nld_trt.graph.network.prescale import SCALES_ROWS
from nld_trt.graph.precision import FP4, INT4, PRECISIONS
from nld_trt.graph.tape import OPSET, Tape
from nld_trt.graph.weights import WeightFile
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.quantized.formats import ALGORITHMS, LinearFormat, QuantizedWeight
from nld_trt.model.synthetic import Geometry, write_synthetic
from tests.graph.passes import LIMITS
from tests.quantized_checkpoint import INPUT_RANGES, QUANTIZERS, Export, write_quantized

OUTPUTS, INPUTS = 24, 64
PEAK = 4.0


def quantized(algorithm: str, group_size: int = 16) -> QuantizedWeight:
    """A random weight with rows of different sizes."""
    random = np.random.default_rng(3)
    weight = random.standard_normal((OUTPUTS, INPUTS), np.float32) * random.uniform(0.01, 1, (OUTPUTS, 1))
    parts = QUANTIZERS[algorithm](weight.astype(np.float32), group_size, np.float32)
    if algorithm in INPUT_RANGES:
        parts["input_scale"] = np.asarray(PEAK / INPUT_RANGES[algorithm], np.float32)
    return QuantizedWeight.from_tensors(LinearFormat.named(algorithm, group_size), parts)


def inputs() -> np.ndarray:
    """[2, 3, I]: ordinary rows, one of zeros, one of small and one of very large values."""
    x = np.random.default_rng(4).standard_normal((2, 3, INPUTS)).astype(np.float32)
    x[0, 1], x[1, 0], x[1, 2] = 0, x[1, 0] * 1e-4, x[1, 2] * 100
    return x


def rounded_fp4(x: np.ndarray, scale: float) -> np.ndarray:
    groups = x.reshape(*x.shape[:-1], -1, 16)
    blocks = np.minimum(np.abs(groups).max(-1, keepdims=True) / np.float32(6 * scale), 448)
    blocks = blocks.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(scale)
    level = np.divide(groups, blocks, out=np.zeros_like(groups), where=blocks > 0)
    return (level.astype(ml_dtypes.float4_e2m1fn).astype(np.float32) * blocks).reshape(x.shape)


def rounded_fp8(x: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    return np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale


def rounded(weight: QuantizedWeight, x: np.ndarray) -> np.ndarray:
    """x as the algorithm's matrix product sees it."""
    match weight.format.algorithm.activations:
        case "static":
            return rounded_fp8(x, np.float32(weight.input_scale))
        case "per_token":
            return rounded_fp8(x, np.maximum(np.abs(x).max(-1, keepdims=True), 1e-12) / np.float32(448))
        case "fp4":
            return rounded_fp4(x, weight.input_scale)
    return x


def run(weight: QuantizedWeight, folder: Path, dialect: str, factor: np.ndarray | None = None) -> np.ndarray:
    """[2, 3, O]: the emitted nodes alone, on :func:`inputs`."""
    tape = Tape()
    with WeightFile(folder / "w") as file:
        recorder = Recorder(tape, file, PRECISIONS["fp32"], dialect)
        y = quantized_linear(recorder, QuantizedLinear("layer", weight, factor), tape.named("x", np.float32)).name
    x, out = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "S", size])
        for name, size in (("x", INPUTS), (y, OUTPUTS))
    )
    graph = helper.make_graph(tape.nodes, "g", [x], [out], initializer=[*tape.constants, *file.tensors])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=11)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), session_options(exact=True), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": inputs()})[0]


# The TensorRT graphs of these are standard operators that ONNX Runtime can run as well.
RUNNABLE = [(name, "onnxruntime") for name in EMITTERS] + [
    (name, "tensorrt") for name in ("W4A16_AWQ", "FP8", "FP8_PER_CHANNEL_PER_TOKEN")
]


@pytest.mark.parametrize(("algorithm", "dialect"), RUNNABLE)
def test_a_layer_is_its_weight_times_its_rounded_input(tmp_path, algorithm, dialect):
    weight = quantized(algorithm)
    expected = rounded(weight, inputs()) @ weight.dequantized().T
    scale = np.abs(inputs()).max(-1, keepdims=True) + 1e-6
    np.testing.assert_allclose(run(weight, tmp_path, dialect) / scale, expected / scale, atol=2e-5)


@pytest.mark.parametrize("group_size", [16, 32, 64])
def test_int4_groups(tmp_path, group_size):
    weight = quantized("W4A16_AWQ", group_size)
    np.testing.assert_allclose(
        run(weight, tmp_path, "onnxruntime"), inputs() @ weight.dequantized().T, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("algorithm", "dialect"), [pair for pair in RUNNABLE if pair[0] in SCALES_ROWS])
def test_a_factor_multiplies_the_output(tmp_path, algorithm, dialect):
    factor = np.linspace(0.5, 2, OUTPUTS).astype(np.float32)
    weight = quantized(algorithm)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    plain, scaled = run(weight, tmp_path / "a", dialect), run(weight, tmp_path / "b", dialect, factor)
    np.testing.assert_allclose(scaled, plain * factor, rtol=1e-4, atol=1e-4)


def test_every_algorithm_has_an_emitter_for_both_dialects():
    assert {name: set(dialects) for name, dialects in EMITTERS.items()} == {
        name: {"onnxruntime", "tensorrt"} for name in ALGORITHMS
    }


@pytest.mark.parametrize(
    ("element", "values", "expected"),
    [
        (INT4, np.array([[1, -8], [7, -1]], np.int8), b"\x81\xf7"),
        (FP4, np.array([[0.5, -6], [2, 0]], ml_dtypes.float4_e2m1fn), b"\xf1\x04"),
    ],
    ids=["int4", "fp4"],
)
def test_packed_elements_start_in_the_low_half(element, values, expected):
    assert element.encode(values) == expected


def test_a_factor_is_applied_before_rounding(tmp_path):
    values = np.array([[1.001, 3.0]], np.float32)
    with WeightFile(tmp_path / "w") as file:
        file.add("w", values, PRECISIONS["bf16"], factor=np.array([3.0, 1 / 3], np.float32))
    stored = np.frombuffer((tmp_path / "w").read_bytes()[:4], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(stored, (values[0] * [3.0, 1 / 3]).astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stored_values_take_the_bits_that_the_format_says(converted, tmp_path, algorithm):
    """In the TensorRT graph; ONNX Runtime has FP8 for FP4."""
    folder = write_quantized(converted("tiny-a"), tmp_path / "q", Export(algorithm))
    checkpoint = Checkpoint.open(folder)
    model = write_graph(
        checkpoint, tmp_path, precision=PRECISIONS["bf16"], limits=LIMITS, adapter=True, static_capacity=True,
        dialect="tensorrt",
    )  # fmt: skip
    sizes = {
        tensor.name: next(int(entry.value) for entry in tensor.external_data if entry.key == "length")
        for tensor in load_graph(model).graph.initializer
        if tensor.external_data
    }
    bits = ALGORITHMS[algorithm].weight_bits
    for module in checkpoint.formats:
        outputs, inputs_ = checkpoint.read_quantized(module).values.shape
        assert sizes[f"{module}.weight"] == outputs * inputs_ * bits // 8


def test_layers_with_one_input_round_it_once(converted, tmp_path):
    folder = write_quantized(converted("tiny-a"), tmp_path / "q", Export("FP8_PER_CHANNEL_PER_TOKEN"))
    model = write_graph(
        Checkpoint.open(folder), tmp_path, precision=PRECISIONS["fp32"], limits=LIMITS, adapter=True,
        static_capacity=False,
    )  # fmt: skip
    kinds = [node.op_type for node in load_graph(model).graph.node]
    # Four inputs in each of two layers: of q, k and v; of o; of gate and up; of down.
    assert kinds.count("QuantizeLinear") == 8


def test_one_layer_is_in_memory_at_a_time(tmp_path):
    geometry = Geometry(256, 1024, 12, 1e6, num_attention_heads=4, num_key_value_heads=2, head_dim=64, vocab_size=256)
    write_synthetic(geometry, tmp_path / "release", adapter=False)
    checkpoint = Checkpoint.open(write_quantized(tmp_path / "release", tmp_path / "q"))
    tracemalloc.start()
    try:
        write_graph(
            checkpoint, tmp_path, precision=PRECISIONS["fp32"], limits=LIMITS, adapter=False, static_capacity=False
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The largest product joins two layers of 262144 weights: their bytes, their values twice while they are joined,
    # one piece of them and their nodes.
    assert peak < 3 << 20 < checkpoint.weight_bytes
