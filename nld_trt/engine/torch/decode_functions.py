# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The end of a forward as the recorded decode operators: logits of the wanted tokens, and what is decided on them.

Shapes: B rows, S new tokens, W window tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LinearLayer
from nld_trt.engine.torch.onnx_program import Call, Program
from nld_trt.graph import contract
from nld_trt.graph.step.decode_step import DecodeStep, decode_functions
from nld_trt.graph.tape import DOMAIN, Dialect, Tape

_HEAD = "Head"


class FunctionStep:
    """Runs the decode operators from their definitions."""

    def __init__(self, info: EngineInfo, head: LinearLayer, device: torch.device, dialect: Dialect) -> None:
        """
        Args:
            head: from hidden states to logits.
            dialect: with the branches of ONNX Runtime's form greedy rows skip all sampling; the form of TensorRT has
                none, so that it can be captured into a CUDA graph.
        """
        config, quadratic = info.config, info.limits.max_quadratic_length > 0
        calls: dict[str, Call] = {_HEAD: lambda hidden: (head(hidden.flatten(0, 1)).reshape(*hidden.shape[:2], -1),)}
        blocks = contract.prompt_block(config, info.limits) > 0
        for function in decode_functions(
            config.mask_id, config.vocab_size, dialect, quadratic=quadratic, blocks=blocks
        ):
            calls[function.name] = _call(Program.of_function(function, device), tuple(function.input))
        tape = Tape()
        inputs = {
            binding.name: tape.named(binding.name, binding.dtype)
            for binding in contract.bindings("input", config=info.config)
            if not binding.per_layer
        }
        hidden, positions = tape.named("hidden", None), tape.named("positions", "int64")
        # The recorded step of TensorRT is the one without a branch around the operators.
        step = DecodeStep(
            tape, inputs, positions, quadratic=quadratic, mask_token_id=config.mask_id,
            vocab_size=config.vocab_size, form="functions", dialect="tensorrt", shifted=config.family.shifted,
        )  # fmt: skip
        step.record(hidden, lambda window: tape.op(_HEAD, window, domain=DOMAIN))
        self.outputs = [
            binding.name
            for binding in contract.bindings("output", debug=info.debug, config=info.config)
            if not binding.per_layer and binding.dtype != "activation" and "draft_head" not in binding.parts
        ]
        self._program = Program.of_tape(tape, self.outputs, device, calls)

    def run(self, inputs: Mapping[str, Tensor], hidden: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """The outputs of the step contract by name, except caches and hidden states.

        Args:
            inputs: those of the step contract.
            hidden: [B, S, H].
            positions: [B, S] int64.
        """
        values = {**inputs, "hidden": hidden, "positions": positions}
        return dict(zip(self.outputs, self._program.run(values), strict=True))


def _call(program: Program, names: tuple[str, ...]) -> Call:
    return lambda *tensors: program.run(dict(zip(names, tensors, strict=True)))
