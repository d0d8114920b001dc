# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of an Eagle3 head, read from the head's ``config.json`` and compared with its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt.errors import shortened

# Layers of the target whose inputs a head reads, where its configuration does not name them.
_STATED: Final = "eagle_aux_hidden_state_layer_ids"
_SIZES: Final = ("hidden_size", "intermediate_size", "num_attention_heads", "draft_vocab_size")
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
# What a head has in common with its target: its caches are a further layer of the target's, its tokens the target's.
SHARED: Final = ("hidden_size", "num_key_value_heads", "head_dim", "vocab_size")


@dataclass(frozen=True)
class DraftConfig:
    """Sizes of an Eagle3 head that its target does not have. Sizes are in elements.

    Attributes:
        vocab_size: of the head's own vocabulary, which is a part of the target's.
        layers: those of the target whose inputs the head reads, in the order in which it joins them.
    """

    vocab_size: int
    intermediate_size: int
    num_attention_heads: int
    rms_norm_eps: float
    rope_theta: float
    layers: tuple[int, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DraftConfig:
        """Read the fields as JSON has them."""
        return cls(**{**values, "layers": tuple(values["layers"])})

    @classmethod
    def read(cls, raw: Mapping[str, Any], target: Mapping[str, Any]) -> tuple[DraftConfig | None, list[str]]:
        """Read a head's ``config.json``. Returns its configuration, or None and what is wrong with it.

        Args:
            target: settings of the target's configuration.
        """
        raw = {**_flattened(raw)}
        heads, hidden = raw.get("num_attention_heads"), raw.get("hidden_size")
        if raw.get("head_dim") is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
            raw["head_dim"] = hidden // heads
        raw.setdefault("num_key_value_heads", heads)
        raw.setdefault("draft_vocab_size", raw.get("vocab_size"))
        layers = raw.get(_STATED) or default_layers(target["num_hidden_layers"])
        problems = [*_problems(raw, target), *_layer_problems(layers, target["num_hidden_layers"])]
        if problems:
            return None, problems
        return cls(
            vocab_size=raw["draft_vocab_size"],
            intermediate_size=raw["intermediate_size"],
            num_attention_heads=raw["num_attention_heads"],
            rms_norm_eps=float(raw["rms_norm_eps"]),
            rope_theta=float(raw["rope_theta"]),
            layers=tuple(layers),
        ), []


def default_layers(count: int) -> tuple[int, int, int]:
    """The layers whose inputs a head reads, of a target with ``count``: near its start, its middle and its end."""
    return 2, count // 2, count - 3


def _flattened(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with those of the blocks that some tools put around some of them."""
    blocks = [raw.get(name) for name in ("rope_parameters", "eagle_config")]
    inner = {key: value for block in blocks if isinstance(block, Mapping) for key, value in block.items()}
    return {**inner, **{key: value for key, value in raw.items() if value is not None}}


def _problems(raw: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    expert = next((name for name in _EXPERTS if raw.get(name)), None)
    if expert is not None:
        return [f"{expert} is {raw[expert]!r}: the head is a mixture of experts, and layers here have one MLP"]
    problems = [
        f"{name} is {shortened(repr(raw.get(name)))}; it must be a positive whole number"
        for name in _SIZES
        if not _is_count(raw.get(name))
    ]
    problems += [
        f"{name} is {shortened(repr(raw.get(name)))}, and {target[name]} in the target"
        for name in SHARED
        if raw.get(name) != target[name]
    ]
    count = raw.get("num_hidden_layers", 1)
    if count != 1:
        problems.append(f"num_hidden_layers is {count!r}; an Eagle3 head has 1")
    for name in ("rms_norm_eps", "rope_theta"):
        value = raw.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            problems.append(f"{name} is {shortened(repr(value))}; it must be a positive number")
    kind = raw.get("rope_scaling") or raw.get("rope_type", "default")
    if kind != "default":
        problems.append(f"rope_scaling is {shortened(repr(kind))}; supported: plain rotary embedding")
    if raw.get("hidden_act", "silu") != "silu":
        problems.append(f"hidden_act is {raw['hidden_act']!r}; supported: 'silu'")
    for name in ("attention_bias", "mlp_bias"):
        if raw.get(name):
            problems.append(f"{name} is {raw[name]!r}; supported: False")
    heads, kv_heads = raw.get("num_attention_heads"), target["num_key_value_heads"]
    if _is_count(heads) and heads % kv_heads:
        problems.append(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    draft, vocab = raw.get("draft_vocab_size"), target["vocab_size"]
    if _is_count(draft) and draft > vocab:
        problems.append(f"draft_vocab_size is {draft}, more than the {vocab} tokens of the target")
    return problems


def _layer_problems(layers: Any, count: int) -> list[str]:
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        return [f"{_STATED} is {shortened(repr(layers))}; it must be a list of three layers"]
    outside = [layer for layer in layers if type(layer) is not int or not 0 <= layer < count]
    if len(layers) != 3 or len(set(map(str, layers))) != 3 or outside:
        return [
            f"the head reads the inputs of layers {', '.join(map(str, layers))}; they must be three layers of the "
            f"target's {count}, from 0 to {count - 1}"
        ]
    return []


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
