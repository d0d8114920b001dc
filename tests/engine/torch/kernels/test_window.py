# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the decode kernels read beside logits, against the recorded step."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.engine.torch.kernels.window import window_inputs
from nld_trt.engine.torch.onnx_program import Program
from nld_trt.graph import contract
from nld_trt.graph.network.layout import record_layout
from nld_trt.graph.step.decode_step import DecodeStep
from nld_trt.graph.tape import DOMAIN, Tape

NAMES = ("block", "position", "valid", "verify_valid", "stream", "proposes", "drafted_ids")
DRAFTS = 2


def recorded_program() -> tuple[Program, dict[str, str]]:
    """A program for the inputs of the decode operators, and its names of them."""
    tape = Tape()
    inputs = {
        binding.name: tape.named(binding.name, None if binding.dtype == "activation" else binding.dtype)
        for binding in contract.bindings("input")
        if not binding.per_layer
    }
    layout = record_layout(inputs, quadratic=True)
    step = DecodeStep(
        tape,
        inputs,
        layout.positions,
        quadratic=True,
        mask_token_id=5,
        vocab_size=300,
        form="plugins",
        dialect="tensorrt",
    )
    step.record(tape.named("hidden", None), lambda window: tape.op("Head", window, domain=DOMAIN))
    nodes = {node.op_type: node for node in tape.nodes if node.domain == DOMAIN}
    places = {"DraftCandidates": ("proposes",), "DecodeStep": NAMES}
    from nld_trt.graph.step.candidates import DRAFT_CANDIDATES
    from nld_trt.graph.step.plugin_form import DECODE_STEP

    names = {}
    for operator in (DRAFT_CANDIDATES, DECODE_STEP):
        given_names = dict(zip(operator.inputs, nodes[operator.name].input, strict=True))
        names |= {name: given_names[name] for name in places[operator.name] if name in given_names}
    return Program.of_tape(tape, list(names.values()), torch.device("cpu"), {"Head": lambda hidden: (hidden,)}), names


PROGRAM, RECORDED = recorded_program()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5))
def test_window_inputs_are_those_of_the_recorded_step(seed, rows):
    random = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=random, dtype=torch.int32)

    width = DRAFTS + DRAFTS**2
    segments = integers(0, 2, rows) * DRAFTS
    wanted = torch.where(segments > 0, width, integers(1, width + 1, rows))
    slots = torch.arange(width, dtype=torch.int32)
    ends_prompt = ((segments == 0) & (integers(0, 2, rows) > 0))[:, None]
    last_alone = torch.where(slots == 0, wanted[:, None] - 1, -1)
    inputs = {
        "tokens": integers(0, 100, rows, width),
        "cache_length": integers(0, 50, rows),
        "valid_count": wanted,
        "causal": (integers(0, 2, rows) > 0) | (segments > 0),
        "segments": segments,
        "rejection": integers(0, 2, rows) > 0,
        # The end of a prompt chunk wants the logits of its last token alone.
        "logit_rows": torch.where(ends_prompt, last_alone, torch.where(slots < wanted[:, None], slots, -1)),
        "drafted_ids": integers(-1, 100, rows, width, 8),
    }
    given_values = {**inputs, "hidden": torch.zeros(rows, width, 1)}
    expected = dict(zip(RECORDED, PROGRAM.run(given_values), strict=True))
    found = window_inputs(inputs)
    for name in NAMES:
        assert torch.equal(found[name], expected[name]), name
    flat = inputs["tokens"].reshape(-1)
    assert torch.equal(flat[found["rows"]], found["block"])
