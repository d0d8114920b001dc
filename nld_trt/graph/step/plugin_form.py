# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in the form that TensorRT plugins take: three operators without bodies in the domain ``nld``.

``LogitStatistics`` reads the logits once. ``DecodeStep`` does the rest of what the functions ChooseTokens, BlockDenoise
and SpecVerify do; it reads logits again only where a token is sampled, and then a small part of them. ``Advance`` is
the function of that name. The kernels are in ``plugins/``, their launch parameters in ``nld_trt/engine/gpu/kernels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nld_trt.graph.step import advance
from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.tensors import Operator
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.graph.tape import DOMAIN


class PluginOperator(Operator):
    """An operator that a TensorRT plugin implements."""

    def attributes(self, mask_token_id: int) -> dict[str, Any]:
        """As of any operator. TensorRT's parser looks a plugin up by these names, and not by the node's domain."""
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
        "sample",
        "position",
        "drafted_ids",
        "drafted_probabilities",
        "block",
        "valid",
        "verify_valid",
        "threshold",
        "quota",
        "eos_token_id",
    ),
    outputs=(*BLOCK_DENOISE.outputs, *SPEC_VERIFY.outputs, "finite"),
)

ADVANCE = PluginOperator(advance.ADVANCE.name, advance.ADVANCE.inputs, advance.ADVANCE.outputs)

# In the order in which a forward runs them.
PLUGIN_OPERATORS: Mapping[str, PluginOperator] = {
    operator.name: operator for operator in (LOGIT_STATISTICS, DECODE_STEP, ADVANCE)
}
