# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint's graph: ``model.onnx`` with the contract's inputs and outputs, and the file of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx import FunctionProto, ModelProto, TensorProto, ValueInfoProto, helper

import nld_trt
from nld_trt.graph import contract
from nld_trt.graph.contract import Binding, Limits
from nld_trt.graph.network.decoder import DecoderGraph
from nld_trt.graph.network.host_decoder import HostDecoderGraph
from nld_trt.graph.precision import Precision
from nld_trt.graph.step.decode_step import OperatorForm, decode_functions
from nld_trt.graph.tape import DOMAIN, OPSET, Dialect, Tape, with_branches
from nld_trt.graph.weights import WeightFile
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.quantized.formats import LinearFormat

MODEL_FILE, WEIGHTS_FILE = "model.onnx", "model.weights"
# Opset 24 models are commonly written with IR version 11, which both runtimes read.
_IR_VERSION = 11

# How the layers are recorded for each library.
_FORMS: Mapping[Dialect, type[DecoderGraph]] = {"onnxruntime": HostDecoderGraph, "tensorrt": DecoderGraph}

_TYPES = {
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "bool": TensorProto.BOOL,
}


def write_graph(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    precision: Precision,
    limits: Limits,
    adapter: bool,
    static_capacity: bool,
    dialect: Dialect = "onnxruntime",
    operators: OperatorForm = "functions",
    debug: bool = False,
    head: LinearFormat | None = None,
) -> Path:
    """Write the graph of ``checkpoint`` into ``folder`` and return the path of the model file.

    Args:
        adapter: include the draft branch; the checkpoint must have an adapter.
        static_capacity: fix the caches at ``limits.capacity`` slots (compiled engines); otherwise the
            runtime chooses how many slots to bind, up to that number.
        dialect: the library that will read the graph.
        operators: the form of the decode operators: ONNX functions, or the operators of plugins, which the library that
            reads the graph must have been given.
        debug: add the contract's debug outputs.
        head: the format that the head is rounded to, of ``head.rounded_head_format``; None for the checkpoint's. Only
            ``onnxruntime`` has one.
    """
    with WeightFile(folder / WEIGHTS_FILE) as weights:
        graph = _FORMS[dialect](
            checkpoint,
            precision,
            weights,
            table_length=limits.capacity,
            adapter=adapter,
            quadratic=limits.max_quadratic_length > 0,
            prompt_block=contract.prompt_block(checkpoint.config, limits),
            dialect=dialect,
            operators=operators,
            head=head,
            drafts=limits.max_block_length - 1,
        )
        graph.record()
    fixed = contract.fixed_axes(checkpoint.config)
    if static_capacity:
        fixed["capacity"] = limits.capacity
    inputs, outputs = (
        [
            value
            for binding in contract.bindings(direction, debug=debug, config=checkpoint.config)
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
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in _domains(graph.tape).items()],
        functions=_functions(graph.tape, checkpoint.config, dialect, operators, limits),
    )
    path = folder / MODEL_FILE
    path.write_bytes(model.SerializeToString())
    return path


def _domains(tape: Tape) -> dict[str, int]:
    """Version of every operator domain that the graph uses. ONNX Runtime refuses domains that it does not know."""
    foreign = {node.domain for node in with_branches(tape.nodes)} - {"", DOMAIN}
    return {"": OPSET, DOMAIN: 1, **dict.fromkeys(sorted(foreign), 1)}


def _functions(
    tape: Tape, config: ModelConfig, dialect: Dialect, operators: OperatorForm, limits: Limits
) -> list[FunctionProto]:
    """The functions that the graph calls."""
    called = {node.op_type for node in with_branches(tape.nodes) if node.domain == DOMAIN}
    made = decode_functions(
        config.mask_id, config.vocab_size, dialect, quadratic=limits.max_quadratic_length > 0,
        blocks=contract.prompt_block(config, limits) > 0, form=operators,
    )  # fmt: skip
    return [function for function in made if function.name in called]


def _values(binding: Binding, config: ModelConfig, precision: Precision, fixed: dict[str, int]) -> list[ValueInfoProto]:
    element = precision.onnx_type if binding.dtype == "activation" else _TYPES[binding.dtype]
    shape = [fixed.get(axis, axis) for axis in binding.axes]
    return [helper.make_tensor_value_info(name, element, shape) for name in binding.names(config)]


def load_graph(path: Path) -> ModelProto:
    """The model without its weights."""
    model: ModelProto = ModelProto.FromString(path.read_bytes())
    return model
