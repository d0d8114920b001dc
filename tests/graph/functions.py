# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded nodes and single decode operators, opened in ONNX Runtime."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from nld_trt.graph import operators
from nld_trt.graph.tape import DOMAIN, OPSET

# Input of an operator to its element type and axes; V is fixed when a session is opened.
INPUTS = {
    "logits": (np.float32, ["B", "W", "V"]),
    "block": (np.int32, ["B", "W"]),
    "valid": (np.int32, ["B"]),
    "threshold": (np.float32, ["B"]),
    "quota": (np.int32, ["B"]),
    "eos_token_id": (np.int32, ["B"]),
    "temperature": (np.float32, ["B"]),
    "top_k": (np.int32, ["B"]),
    "top_p": (np.float32, ["B"]),
    "min_p": (np.float32, ["B"]),
    "seed": (np.int64, ["B"]),
    "draw": (np.int32, ["B"]),
    "position": (np.int32, ["B", "W"]),
}
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0, "draw": 0}


def open_nodes(nodes, inputs, outputs, *, functions=(), initializers=()):
    """A session of a graph whose inputs and outputs are ``name: (NumPy type, shape or None)``."""

    def values(items):
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in items.items()
        ]

    model = helper.make_model(
        helper.make_graph(nodes, "test", values(inputs), values(outputs), initializer=list(initializers)),
        functions=list(functions),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=11,
    )
    return onnxruntime.InferenceSession(model.SerializeToString())


@lru_cache
def open_operator(name, mask, vocab, dialect="onnxruntime"):
    names, outputs, function = {
        "BlockDenoise": (operators.DENOISE_INPUTS, operators.DENOISE_OUTPUTS, operators.block_denoise),
        "SpecVerify": (operators.VERIFY_INPUTS, operators.VERIFY_OUTPUTS, operators.spec_verify),
    }[name]
    inputs = {
        value: (dtype, [vocab if axis == "V" else axis for axis in axes])
        for value, (dtype, axes) in INPUTS.items()
        if value in names
    }
    results = {value: (np.float32 if value == "confidence" else np.int32, None) for value in outputs}
    node = helper.make_node(name, names, outputs, domain=DOMAIN)
    return open_nodes([node], inputs, results, functions=[function(mask, dialect)])


def run_operator(name, mask, logits, *, dialect="onnxruntime", **values):
    """Outputs by name. Inputs are those of the operator, as one value for all rows or a list; greedy unless told."""
    logits = np.asarray(logits, np.float32)
    rows, width, vocab = logits.shape
    session = open_operator(name, mask, vocab, dialect)
    position = np.broadcast_to(np.arange(width), (rows, width))
    given = {**GREEDY, "position": position, "valid": width, **values, "logits": logits}
    feeds = {}
    for needed in session.get_inputs():
        dtype, axes = INPUTS[needed.name]
        value = np.asarray(given[needed.name], dtype)
        feeds[needed.name] = np.ascontiguousarray(np.broadcast_to(value, (rows, width, vocab)[: len(axes)]))
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True))
