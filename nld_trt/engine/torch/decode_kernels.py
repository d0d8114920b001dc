# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The end of a forward as CUDA kernels: those of ``plugins/``, which write to the session's memory directly.

Shapes: B rows, S new tokens, W window tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt.engine.gpu.kernels.launch import LIMITS, PARTIAL_WORDS, Sizes, checked_sizes
from nld_trt.engine.gpu.kernels.spec import OPERATORS, Operator
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LinearLayer
from nld_trt.engine.torch.kernels.window import window_inputs
from nld_trt.engine.torch.onnx_program import Program
from nld_trt.engine.torch.types import OF_NUMPY
from nld_trt.graph.contract import quadratic_width
from nld_trt.graph.step.candidates import DRAFT_CANDIDATES, draft_candidates
from nld_trt.graph.step.tensors import TENSORS


class Launcher(Protocol):
    """Queues the kernel of an operator: ``engine.gpu.kernels.launcher.Kernels``."""

    def launch(
        self, operator: Operator, sizes: Sizes[int], addresses: Mapping[str, int], logit_type: str, mask_token_id: int
    ) -> None:
        """``addresses`` has the device address of each tensor, by the tensor's name."""


def fits(info: EngineInfo) -> bool:
    """Whether the kernels take every shape of an engine."""
    limits = info.limits
    width = max(limits.max_block_length, quadratic_width(limits.max_quadratic_length))
    largest = {"batch": limits.max_batch_size, "width": width, "vocab": info.config.vocab_size}
    return all(LIMITS[name][0] <= value <= LIMITS[name][1] for name, value in largest.items())


class KernelStep:
    """Runs the decode operators as kernels.

    Filters and candidates of sampled rows are computed by the operator's definition; in greedy forwards there are none.
    """

    def __init__(self, info: EngineInfo, head: LinearLayer, device: torch.device, launcher: Launcher) -> None:
        """``head`` computes logits [T, V] from hidden states [T, H]."""
        config = info.config
        self._info = info
        self._head = head
        self._device = device
        self._launcher = launcher
        # The form without branches, which can be captured into a CUDA graph.
        function = draft_candidates(config.mask_id, config.vocab_size, "tensorrt")
        self._candidates = Program.of_function(function, device)

    def run(
        self, inputs: Mapping[str, Tensor], hidden: Tensor, outputs: Mapping[str, Tensor], *, samples: bool
    ) -> None:
        """Fill the outputs of the step contract, except caches and hidden states.

        Args:
            inputs: those of the step contract.
            hidden: [B, S, H].
            outputs: of the step contract by name, in memory that the kernels write to.
            samples: some row may sample its tokens.
        """
        window = window_inputs(inputs, shifted=self._info.config.family.shifted)
        rows, width = window["block"].shape
        flat = hidden.flatten(0, 1)
        logits = self._head(F.embedding(window["rows"].reshape(-1), flat)).reshape(rows, width, -1)
        values = {**inputs, **window, **outputs, "logits": logits}
        self._limit(values, outputs, samples=samples)
        if "logits" in outputs:
            outputs["logits"].copy_(logits)
        sizes = checked_sizes(rows, width, logits.shape[-1])
        values["partials"] = torch.empty(
            (rows, width, sizes.splits, PARTIAL_WORDS), dtype=torch.int32, device=self._device
        )
        for operator in OPERATORS.values():
            for name in operator.outputs:
                if name not in values:
                    dtype = OF_NUMPY[TENSORS[name].dtype]
                    values[name] = torch.empty(sizes.shape(name), dtype=dtype, device=self._device)
            addresses = {name: values[name].data_ptr() for name in (*operator.inputs, *operator.outputs)}
            self._launcher.launch(operator, sizes, addresses, self._info.precision, self._info.config.mask_id)

    def _limit(self, values: dict[str, Tensor], outputs: Mapping[str, Tensor], *, samples: bool) -> None:
        """Which tokens may be sampled, and the candidates of drafts."""
        if samples:
            made = self._candidates.run({name: values[name] for name in DRAFT_CANDIDATES.inputs})
            values["cut"], ids, probabilities = made
            outputs["candidate_ids"].copy_(ids)
            outputs["candidate_probabilities"].copy_(probabilities)
            values["cut"] = values["cut"].contiguous()
        else:
            values["cut"] = torch.full(values["block"].shape, float("-inf"), device=self._device)
            outputs["candidate_ids"].fill_(-1)
            outputs["candidate_probabilities"].zero_()
