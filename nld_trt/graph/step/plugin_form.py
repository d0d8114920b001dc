# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in the form that TensorRT plugins take: two operators without bodies in the domain ``nld``.

``LogitStatistics`` reads the logits once; ``DecodeStep`` does the rest of what the functions ChooseTokens, BlockDenoise
and SpecVerify do. It reads logits again only to draw a token, a small part of them. Kernels and types of the tensors
are in ``nld_trt/engine/trt/kernels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nld_trt.graph.tape import DOMAIN


@dataclass(frozen=True)
class PluginOperator:
    """A node's operator type, and its inputs and outputs in order. All of them are required."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def attributes(self, mask_token_id: int) -> dict[str, int | str]:
        """Of a node. TensorRT's parser looks a plugin up by these names, and not by the node's domain."""
        return {"mask_token_id": mask_token_id, "plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}


LOGIT_STATISTICS = PluginOperator("LogitStatistics", inputs=("logits", "temperature", "cut"), outputs=("partials",))
DECODE_STEP = PluginOperator(
    "DecodeStep",
    inputs=(
        "logits",
        "partials",
        "temperature",
        "cut",
        "seed",
        "stream",
        "draw",
        "position",
        "drafted_ids",
        "drafted_shares",
        "block",
        "valid",
        "verify_valid",
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
