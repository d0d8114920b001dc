# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Applies a recipe to a network without weights, before any weight is read.

ModelOpt applies the recipe to the network on the meta device, and the resulting format of every linear layer is read.
A name that matches nothing, a block that does not divide a matrix, or a head that is quantized by accident is thus
refused within a second, and not noticed in the finished checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from nld_trt.errors import InputError
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import HEAD_MODULE, linear_modules
from nld_trt.model.network import Network
from nld_trt.model.quantized.config import MIXED
from nld_trt.model.quantized.formats import LinearFormat
from nld_trt.quantization.modelopt import quietly
from nld_trt.quantization.recipe import Recipe

# Group sizes, largest first, for integer weights whose input features the recipe's group size does not divide.
SMALLER_GROUPS = (64, 32)


@dataclass(frozen=True)
class Plan:
    """A recipe that was applied to one network.

    Attributes:
        formats: the formats of the linear layers that will be quantized.
        config: the configuration that ModelOpt gets for every part of the network.
        hf_quant_config: content of ``hf_quant_config.json``.
        reads_activations: whether calibration data is needed.
        regrouped: modules with a smaller group size than the recipe's.
    """

    recipe: Recipe
    formats: Mapping[str, LinearFormat]
    config: Mapping[str, Any]
    hf_quant_config: Mapping[str, Any]
    reads_activations: bool
    regrouped: Mapping[str, int]

    @property
    def head(self) -> bool:
        return HEAD_MODULE in self.formats

    def touches(self, prefix: str) -> bool:
        """Whether a module below ``prefix`` is quantized."""
        return any(module == prefix or module.startswith(f"{prefix}.") for module in self.formats)


def make_plan(recipe: Recipe, config: ModelConfig, *, head: bool) -> Plan:
    """Apply ``recipe`` to the network of ``config``.

    Args:
        head: quantize ``diffusion_head`` as the layers are, even if the recipe excludes it.

    Raises:
        InputError: an entry matches no quantizer, no layer is quantized, no group size divides a matrix, or something
            other than a linear layer is quantized. All faulty entries are listed.
    """
    network = _skeleton(config)
    entries = [dict(entry) for entry in recipe.entries]
    _apply(network, entries)
    quantizers = [name for name, module in network.named_modules() if _is_quantizer(module)]
    _refuse_unmatched(recipe, quantizers)
    if head:
        entries += _head_entries(recipe, network)
    regrouped = _regroup(network, config, head=head)
    entries += [
        {
            "quantizer_name": f"{module}.weight_quantizer",
            "cfg": {"num_bits": 4, "block_sizes": {-1: size, "type": "static"}},
        }
        for module, size in regrouped.items()
    ]
    if head or regrouped:
        network = _skeleton(config)
        _apply(network, entries)
    facts = _quantization_facts(network)
    _refuse_others(recipe, network, config, head=head)
    formats = _formats(facts, config)
    if not formats:
        raise InputError(
            f"the recipe {recipe.name} quantizes no layer",
            fix="Add an entry for the weights, such as quantizer_name: '*weight_quantizer' with a cfg.",
        )
    static_inputs = any(format.algorithm.activations in ("static", "fp4") for format in formats.values())
    return Plan(
        recipe=recipe,
        formats=formats,
        config={"quant_cfg": entries, "algorithm": dict(recipe.algorithm)},
        hf_quant_config=facts,
        reads_activations=recipe.reads_activations or static_inputs,
        regrouped=regrouped,
    )


def _skeleton(config: ModelConfig) -> Network:
    with torch.device("meta"):
        return Network(config)


def _apply(network: Network, entries: list[dict[str, Any]]) -> None:
    import modelopt.torch.quantization as mtq

    # Without an algorithm nothing is calibrated, so nothing is computed.
    with quietly():
        try:
            mtq.quantize(network, {"quant_cfg": copy.deepcopy(entries), "algorithm": None})
        except RuntimeError as error:
            # ModelOpt refuses a recipe whose weight patterns match nothing; make_plan does so with a better message.
            if "no weight quantizer" not in str(error):
                raise


def _is_quantizer(module: nn.Module) -> bool:
    from modelopt.torch.quantization.nn import TensorQuantizer

    return isinstance(module, TensorQuantizer)


def _refuse_unmatched(recipe: Recipe, quantizers: list[str]) -> None:
    """Refuse entries that match no quantizer. Entries that disable one may, as in ModelOpt's lists."""
    unmatched = [
        str(entry["quantizer_name"])
        for entry in recipe.entries
        if entry.get("enable", True) and not any(fnmatchcase(name, entry["quantizer_name"]) for name in quantizers)
    ]
    if unmatched:
        raise InputError(
            f"the recipe {recipe.name} names quantizers that this network does not have",
            details=[
                *(f"no quantizer matches {pattern!r}" for pattern in unmatched),
                "quantizers are called encoder.layers.N.PART.KIND, with PART self_attn.q_proj, k_proj, v_proj, o_proj, "
                "mlp.gate_proj, up_proj or down_proj and KIND weight_quantizer, input_quantizer or output_quantizer",
            ],
            fix="Correct the names. Keys and values are not quantized: no backend has a quantized KV cache.",
        )


def _head_entries(recipe: Recipe, network: Network) -> list[dict[str, Any]]:
    """Make entries that quantize the head like the first gate_proj, whose input is a norm's output as well."""
    model = network.get_submodule("encoder.layers.0.mlp.gate_proj")
    entries = []
    for kind in ("weight_quantizer", "input_quantizer"):
        if not getattr(model, kind).is_enabled:
            continue
        name = f"encoder.layers.0.mlp.gate_proj.{kind}"
        given = [entry for entry in recipe.entries if fnmatchcase(name, entry["quantizer_name"]) and entry.get("cfg")]
        if given:
            entries.append({"quantizer_name": f"{HEAD_MODULE}.{kind}", "cfg": given[-1]["cfg"], "enable": True})
    return entries


def _block_size(quantizer: Any) -> int | None:
    return quantizer.block_sizes.get(-1) if quantizer.is_enabled and quantizer.block_sizes else None


def _regroup(network: Network, config: ModelConfig, *, head: bool) -> dict[str, int]:
    """Find the modules whose input features need a smaller group size than the recipe's. Returns it by module."""
    found, unfit = {}, []
    for module, (_, inputs) in linear_modules(config).items():
        # A head that is quantized because of the flag has no quantizer yet, and gets the group size of the layers.
        source = "encoder.layers.0.mlp.gate_proj" if head and module == HEAD_MODULE else module
        quantizer: Any = network.get_submodule(source).weight_quantizer
        size = _block_size(quantizer)
        if size is None or inputs % size == 0:
            continue
        smaller = [group for group in SMALLER_GROUPS if group < size and inputs % group == 0]
        if quantizer.num_bits == 4 and smaller:
            found[module] = smaller[0]
        else:
            unfit.append(f"{module} has {inputs} input features, which blocks of {size} do not divide")
    if unfit:
        raise InputError(
            "the recipe's block size does not divide the input features of every layer that it quantizes",
            details=unfit,
            fix="Use another block size, or exclude these layers.",
        )
    return found


def _quantization_facts(network: Network) -> dict[str, Any]:
    """Make the content of ``hf_quant_config.json``, as ModelOpt's export does."""
    from modelopt.torch.export.quant_utils import get_quant_config

    with quietly():
        facts: dict[str, Any] = get_quant_config(network)
    return facts


def _refuse_others(recipe: Recipe, network: Network, config: ModelConfig, *, head: bool) -> None:
    linears = linear_modules(config)
    wrong = []
    for name, module in network.named_modules():
        if not _is_quantizer(module) or not module.is_enabled:
            continue
        owner, _, kind = name.rpartition(".")
        if owner not in linears:
            wrong.append(f"{owner} ({kind}): only linear layers can be quantized, not embedding and norms")
        elif kind == "output_quantizer":
            wrong.append(f"{owner} ({kind}): outputs stay in high precision")
        elif owner == HEAD_MODULE and not head:
            wrong.append(f"{owner} ({kind}): the head is quantized on request only, with --quantize-head")
    if wrong:
        raise InputError(
            f"the recipe {recipe.name} quantizes what must stay in high precision",
            details=wrong,
            fix="Add entries with enable: false for these, after the entry that enables them.",
        )


def _formats(facts: Mapping[str, Any], config: ModelConfig) -> dict[str, LinearFormat]:
    from nld_trt.model.quantized.config import QuantConfig

    details = facts["quantization"]
    if details.get("quant_algo") is None:
        return {}
    stated = QuantConfig(
        algorithm=details["quant_algo"],
        group_size=details.get("group_size") or None,
        excluded=tuple(details.get("exclude_modules") or ()),
        layers={
            name: LinearFormat.named(entry["quant_algo"], entry.get("group_size"))
            for name, entry in (details.get("quantized_layers") or {}).items()
        }
        if details["quant_algo"] == MIXED
        else {},
    )
    formats = {module: stated.format_of(module) for module in linear_modules(config)}
    return {module: format for module, format in formats.items() if format is not None}
