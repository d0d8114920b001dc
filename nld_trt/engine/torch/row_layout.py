# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Positions and masks of a forward from the integers of its rows: the recorded nodes of ``graph.network.layout``.

Shapes: B rows, S new tokens, L cache slots that are read.
"""

from __future__ import annotations

import torch

from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.onnx_program import Program
from nld_trt.graph import contract
from nld_trt.graph.network.layout import record_layout
from nld_trt.graph.tape import Tape


def layout_program(info: EngineInfo, device: torch.device) -> Program:
    """Positions [B, S], mask [B, 1, S, L] and drafts [B, S] or [B, 1] from the inputs of the step contract."""
    tape, names = _recorded(info)
    return Program.of_tape(tape, names, device)


def position_program(info: EngineInfo, device: torch.device) -> Program:
    """Positions [B, S] alone, which depend on no cache."""
    tape, names = _recorded(info)
    return Program.of_tape(tape, names[:1], device)


def _recorded(info: EngineInfo) -> tuple[Tape, list[str]]:
    """The layout on a tape, and the names of positions, mask and drafts."""
    tape = Tape()
    inputs = {
        name: tape.named(name, None if binding.dtype == "activation" else binding.dtype)
        for binding in contract.bindings("input", config=info.config)
        for name in binding.names(info.config)
    }
    layout = record_layout(
        inputs, quadratic=info.limits.max_quadratic_length > 0,
        prompt_block=contract.prompt_block(info.config, info.limits),
    )  # fmt: skip
    return tape, [layout.positions.name, layout.mask.name, layout.drafts.name]
