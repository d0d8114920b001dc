# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writing a checkpoint's graph: ``model.onnx`` and its weights, with the contract's bindings."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import nld_trt
from nld_trt.graph import contract, operators
from nld_trt.graph.contract import Binding, Limits
from nld_trt.graph.decoder import DecoderGraph
from nld_trt.graph.precision import Precision
from nld_trt.graph.tape import DOMAIN, OPSET
from nld_trt.graph.weights import WeightFile
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig

MODEL_FILE, WEIGHTS_FILE = "model.onnx", "model.weights"
# IR version 11 is what opset 24 models are commonly written with; both runtimes read it.
_IR_VERSION = 11

_TYPES = {"int32": TensorProto.INT32, "float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


def write_graph(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    precision: Precision,
    limits: Limits,
    adapter: bool,
    static_capacity: bool,
    debug: bool = False,
) -> Path:
    """Write the graph of ``checkpoint`` into ``folder`` and return the path of the model file.

    Args:
        adapter: include the draft branch; the checkpoint must have an adapter.
        static_capacity: fix the caches at ``limits.capacity`` slots (compiled engines); otherwise the
            runtime chooses how many slots to bind, up to that number.
        debug: add the contract's debug outputs.
    """
    with WeightFile(folder / WEIGHTS_FILE) as weights:
        graph = DecoderGraph(checkpoint, precision, weights, table_length=limits.capacity, adapter=adapter)
        graph.record()
    fixed = contract.fixed_axes(checkpoint.config)
    if static_capacity:
        fixed["capacity"] = limits.capacity
    inputs, outputs = (
        [
            value
            for binding in contract.bindings(direction, debug=debug)
            for value in _values(binding, checkpoint.config, precision, fixed)
        ]
        for direction in ("input", "output")
    )
    proto = helper.make_graph(
        graph.tape.nodes, "nld", inputs, outputs, initializer=[*graph.tape.constants, *weights.tensors]
    )
    model = helper.make_model(
        proto,
        producer_name="nld-trt",
        producer_version=nld_trt.__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        functions=operators.decode_functions(checkpoint.config.mask_token_id),
    )
    path = folder / MODEL_FILE
    path.write_bytes(model.SerializeToString())
    return path


def _values(binding: Binding, config: ModelConfig, precision: Precision, fixed: dict[str, int]) -> list[ValueInfoProto]:
    element = precision.onnx_type if binding.dtype == "activation" else _TYPES[binding.dtype]
    shape = [fixed.get(axis, axis) for axis in binding.axes]
    return [helper.make_tensor_value_info(name, element, shape) for name in binding.names(config)]


def load_graph(path: Path) -> ModelProto:
    """The model without its weights."""
    model: ModelProto = ModelProto.FromString(path.read_bytes())
    return model
