# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A family's ``config.json`` in our spelling: keys renamed, rotary settings in one block, defaults filled in.

What is spelled so already stays as it is, so that a converted checkpoint reads as its release did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nld_trt.model.family import Family, recognised
from nld_trt.model.rope_config import KEY, RopeStatement

# The type that transformers gives to plain rotary embedding.
PLAIN_ROPE = "default"


@dataclass(frozen=True)
class Spelling:
    """A configuration in our spelling.

    Attributes:
        raw: the configuration.
        note: a line about rotary settings that were read from other places than the family's releases have them in.
        problems: entries that contradict each other.
    """

    family: Family
    raw: Mapping[str, Any]
    note: str | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Spelling:
        """Raises InputError for a configuration of no known family."""
        family = recognised(raw)
        problems = [
            f"{theirs} is {raw[theirs]!r}, and {ours} is {raw[ours]!r}"
            for theirs, ours in family.keys.items()
            if theirs in raw and ours in raw and raw[theirs] != raw[ours]
        ]
        renamed = {family.keys.get(key, key): value for key, value in raw.items()}
        renamed |= {key: value for key, value in family.defaults.items() if renamed.get(key) is None}
        renamed |= {key: value for key, value in _following(renamed).items() if key in family.may_lack}
        stated = RopeStatement.gather(renamed)
        spelled = stated.raw
        if family.rotary == "plain" and not isinstance(spelled.get(KEY), Mapping):
            # Releases with plain rotary embedding have no block.
            others = {key: value for key, value in spelled.items() if key not in ("rope_theta", "rope_scaling")}
            spelled = {**others, KEY: {"rope_type": PLAIN_ROPE, "rope_theta": spelled.get("rope_theta")}}
        return cls(family, spelled, stated.note, (*problems, *stated.problems))


def _following(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not stated and follow from others."""
    heads, hidden = raw.get("num_attention_heads"), raw.get("hidden_size")
    found: dict[str, Any] = {}
    if raw.get("num_key_value_heads") is None:
        found["num_key_value_heads"] = heads
    if raw.get("head_dim") is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        found["head_dim"] = hidden // heads
    return found
