# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in the form that TensorRT plugins take: two operators without bodies in the domain ``nld``.

``LogitStatistics`` reads the logits once; ``DecodeStep`` does with its results, which are small, what the functions
ChooseTokens, BlockDenoise and SpecVerify do. Kernels and types of the tensors are in ``nld_trt/engine/kernels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nld_trt.graph.tape import DOMAIN

# Entries of ``drafted_ids`` and ``drafted_shares`` of each slot.
CANDIDATES = 8


@dataclass(frozen=True)
class PluginOperator:
    """A node's operator type, and its inputs and outputs in order. All of them are required."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def attributes(self, mask_token_id: int) -> dict[str, int | str]:
        """Of a node. TensorRT's parser looks a plugin up by these names, and not by the node's domain."""
        return {"mask_token_id": mask_token_id, "plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}


_SAMPLING = ("temperature", "seed", "draw", "position", "cut")

LOGIT_STATISTICS = PluginOperator(
    "LogitStatistics",
    inputs=("logits", *_SAMPLING, "drafted_ids"),
    outputs=("partials", "drafted_logits"),
)
DECODE_STEP = PluginOperator(
    "DecodeStep",
    inputs=(
        *LOGIT_STATISTICS.outputs,
        *_SAMPLING,
        "drafted_ids",
        "drafted_shares",
        "block",
        "valid",
        "threshold",
        "quota",
        "eos_token_id",
    ),
    outputs=(
        "block_tokens",
        "confidence",
        "masks_left",
        "verified_tokens",
        "accepted_count",
        "next_seed",
        "eos_position",
        "finite",
    ),
)

PLUGIN_OPERATORS: Mapping[str, PluginOperator] = {
    operator.name: operator for operator in (LOGIT_STATISTICS, DECODE_STEP)
}
