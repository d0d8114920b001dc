# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded nodes and single decode operators, opened in ONNX Runtime."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
from onnx import helper

from nld_trt.graph.step.candidates import DRAFT_CANDIDATES
from nld_trt.graph.step.choose import CHOOSE_TOKENS
from nld_trt.graph.step.decode_step import decode_functions
from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.tensors import ANY_FLOAT, CANDIDATES, TENSORS
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.graph.tape import DOMAIN, OPSET
from nld_trt.model.config import MAX_EOS_IDS

# Inputs of a greedy step without drafts, one value for all rows.
PLAIN = {
    "threshold": 2.0,
    "quota": 0,
    "eos_token_id": -1,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "seed": 0,
    "sample": 0,
    "stream": 0,
    "proposes": False,
    "drafted_ids": -1,
    "drafted_probabilities": 0.0,
}
STEP = (DRAFT_CANDIDATES, CHOOSE_TOKENS, BLOCK_DENOISE, SPEC_VERIFY)
OUTPUTS = tuple(name for operator in STEP for name in operator.outputs)
INPUTS = tuple(dict.fromkeys(name for operator in STEP for name in operator.inputs if name not in OUTPUTS))


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


def axes_of(name, sizes):
    """Lengths of a tensor's axes; names of those that ``sizes`` does not have."""
    return [sizes.get(axis, axis) for axis in TENSORS[name].axes]


def type_of(name, logit_type=np.float32):
    dtype = TENSORS[name].dtype
    return np.dtype(logit_type if dtype == ANY_FLOAT else dtype)


@lru_cache
def open_operators(mask, vocab, dialect="onnxruntime", logit_type=np.float32, operators=STEP, quadratic=False):
    """A session of some decode operators, each of which reads what those before it have written."""
    outputs = [name for operator in operators for name in operator.outputs]
    inputs = dict.fromkeys(name for operator in operators for name in operator.inputs if name not in outputs)
    sizes = {"vocab": vocab, "candidates": CANDIDATES, "eos_ids": MAX_EOS_IDS}
    return open_nodes(
        [helper.make_node(each.name, each.inputs, each.outputs, domain=DOMAIN) for each in operators],
        {name: (type_of(name, logit_type), axes_of(name, sizes)) for name in inputs},
        {name: (type_of(name), None) for name in outputs},
        functions=decode_functions(mask, vocab, dialect, quadratic=quadratic),
    )


def run_operators(
    mask, logits, *, dialect="onnxruntime", logit_type=np.float32, operators=STEP, quadratic=False, **values
):
    """Outputs of decode operators by name. Inputs are one value for all rows or a list; plain unless told."""
    logits = np.asarray(logits, logit_type)
    rows, width, vocab = logits.shape
    session = open_operators(mask, vocab, dialect, logit_type, operators, quadratic)
    sizes = {"batch": rows, "window": width, "vocab": vocab, "candidates": CANDIDATES, "eos_ids": MAX_EOS_IDS,
             "slots": rows * width}  # fmt: skip
    given = {
        **PLAIN,
        "sampled_slots": np.arange(rows * width),
        "position": np.arange(width),
        "block": 0,
        "valid": width,
        **values,
        "logits": logits,
    }
    given.setdefault("verify_valid", given["valid"])
    if "sampled_slots" in values:
        sizes["slots"] = len(given["sampled_slots"])
    feeds = {
        each.name: np.ascontiguousarray(
            np.broadcast_to(np.asarray(given[each.name], type_of(each.name, logit_type)), axes_of(each.name, sizes))
        )
        for each in session.get_inputs()
    }
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True))
