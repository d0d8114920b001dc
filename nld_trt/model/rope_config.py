# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The rotary settings of a ``config.json``, from the block of the releases and from places that other tools use.

Releases have one ``rope_parameters`` block. transformers before 5.0 wrote ``rope_scaling`` with ``rope_theta`` beside
it, and vLLM reads the query scale from ``llama_4_scaling``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KEY = "rope_parameters"
_BLOCKS = (KEY, "rope_scaling")
# Keys inside a block that other tools write under another name.
_RENAMED = {"type": "rope_type"}
# Entries that may be beside a block, and vLLM's block with its names for two of them.
_BESIDE = ("rope_theta", "original_max_position_embeddings", "llama_4_scaling_beta", "partial_rotary_factor")
_QUERY_SCALE = "llama_4_scaling"
_IN_QUERY_SCALE = {
    "beta": "llama_4_scaling_beta",
    "original_max_position_embeddings": "original_max_position_embeddings",
}


@dataclass(frozen=True)
class RopeStatement:
    """The rotary settings of a configuration, gathered from all places.

    Attributes:
        raw: the configuration in the form of the releases; the given one where it already has that form.
        note: a line about settings that were read from other places; None where there are none.
        problems: entries that contradict each other.
    """

    raw: Mapping[str, Any]
    note: str | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def gather(cls, raw: Mapping[str, Any]) -> RopeStatement:
        if not any(isinstance(raw.get(block), Mapping) for block in _BLOCKS):
            return cls(raw)
        merged: dict[str, Any] = {}
        said_by: dict[str, str] = {}
        problems = []
        for place, key, value in _entries(raw):
            if key not in merged:
                merged[key], said_by[key] = value, place
            elif merged[key] != value:
                problems.append(f"{said_by[key]} is {merged[key]!r}, and {place} is {value!r}")
        own = raw.get(KEY)
        gathered = {said_by[key] for key in merged if not isinstance(own, Mapping) or own.get(key) is None}
        if problems or not gathered:
            return cls(raw, problems=tuple(problems))
        others = {key: value for key, value in raw.items() if key not in (*_BLOCKS, *_BESIDE, _QUERY_SCALE)}
        sources = " and ".join(sorted({place.partition(".")[0] for place in gathered}))
        return cls({**others, KEY: merged}, f"config.json: {KEY} taken from {sources}")


def _entries(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the place, the key in ``rope_parameters`` and the value of every setting that is not null."""
    for block in _BLOCKS:
        values = raw.get(block)
        if isinstance(values, Mapping):
            for key, value in values.items():
                if value is not None:
                    yield f"{block}.{key}", _RENAMED.get(str(key), str(key)), value
    for key in _BESIDE:
        if raw.get(key) is not None:
            yield key, key, raw[key]
    scale = raw.get(_QUERY_SCALE)
    if isinstance(scale, Mapping):
        for name, meaning in _IN_QUERY_SCALE.items():
            if scale.get(name) is not None:
                yield f"{_QUERY_SCALE}.{name}", meaning, scale[name]
