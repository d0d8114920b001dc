# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded nodes and single decode operators, opened in ONNX Runtime."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
from onnx import helper

from nld_trt.graph.step import operators
from nld_trt.graph.step.candidates import CANDIDATE_INPUTS, CANDIDATE_OUTPUTS, CANDIDATES
from nld_trt.graph.tape import DOMAIN, OPSET
from nld_trt.model.config import MAX_EOS_IDS

# Input of an operator to its element type and axes; V is fixed when a session is opened.
INPUTS = {
    "logits": (np.float32, ["B", "W", "V"]),
    "block": (np.int32, ["B", "W"]),
    "valid": (np.int32, ["B"]),
    "verify_valid": (np.int32, ["B"]),
    "drawn_slots": (np.int32, ["N"]),
    "threshold": (np.float32, ["B"]),
    "quota": (np.int32, ["B"]),
    "eos_token_id": (np.int32, ["B", "E"]),
    "temperature": (np.float32, ["B"]),
    "top_k": (np.int32, ["B"]),
    "top_p": (np.float32, ["B"]),
    "min_p": (np.float32, ["B"]),
    "seed": (np.int64, ["B"]),
    "draw": (np.int32, ["B"]),
    "stream": (np.int32, ["B"]),
    "position": (np.int32, ["B", "W"]),
    "proposes": (np.bool_, ["B"]),
    "drafted_ids": (np.int32, ["B", "W", "K"]),
    "drafted_shares": (np.float32, ["B", "W", "K"]),
}
# A greedy step without drafts.
PLAIN = {
    "threshold": 2.0,
    "quota": 0,
    "eos_token_id": -1,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "seed": 0,
    "draw": 0,
    "stream": 0,
    "proposes": False,
    "drafted_ids": -1,
    "drafted_shares": 0.0,
}
STEPS = {
    "DraftCandidates": (CANDIDATE_INPUTS, CANDIDATE_OUTPUTS),
    "ChooseTokens": (operators.CHOOSE_INPUTS, operators.CHOOSE_OUTPUTS),
    "BlockDenoise": (operators.DENOISE_INPUTS, operators.DENOISE_OUTPUTS),
    # In a quadratic pass fewer tokens are verified than are real.
    "SpecVerify": (
        tuple("verify_valid" if name == "valid" else name for name in operators.VERIFY_INPUTS),
        operators.VERIFY_OUTPUTS,
    ),
}


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
def open_operators(mask, vocab, dialect="onnxruntime", logit_type=np.float32):
    sizes = {"V": vocab, "K": CANDIDATES, "E": MAX_EOS_IDS}
    inputs = {name: (dtype, [sizes.get(axis, axis) for axis in axes]) for name, (dtype, axes) in INPUTS.items()}
    inputs["logits"] = (logit_type, inputs["logits"][1])
    nodes = [helper.make_node(name, *values, domain=DOMAIN) for name, values in STEPS.items()]
    floats = ("cut", "candidate_shares", "probability", "confidence")
    outputs = {
        name: (np.float32 if name in floats else np.int32, None) for _, values in STEPS.values() for name in values
    }
    return open_nodes(nodes, inputs, outputs, functions=operators.decode_functions(mask, vocab, dialect))


def run_operators(mask, logits, *, dialect="onnxruntime", logit_type=np.float32, **values):
    """Outputs of all decode operators by name. Inputs are one value for all rows or a list; plain unless told."""
    logits = np.asarray(logits, logit_type)
    rows, width, vocab = logits.shape
    session = open_operators(mask, vocab, dialect, logit_type)
    position = np.broadcast_to(np.arange(width), (rows, width))
    block = np.zeros((rows, width))
    every = np.arange(rows * width)
    given = {
        **PLAIN,
        "drawn_slots": every,
        "position": position,
        "block": block,
        "valid": width,
        **values,
        "logits": logits,
    }
    given.setdefault("verify_valid", given["valid"])
    feeds = {}
    for name, (dtype, axes) in INPUTS.items():
        sizes = {"B": rows, "W": width, "V": vocab, "K": CANDIDATES, "E": MAX_EOS_IDS}
        value = np.asarray(given[name], logit_type if name == "logits" else dtype)
        shape = value.shape if name == "drawn_slots" else [sizes[axis] for axis in axes]
        feeds[name] = np.ascontiguousarray(np.broadcast_to(value, shape))
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True))
