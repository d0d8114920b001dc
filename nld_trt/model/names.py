# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tensor names: how training tools spell them, and the one spelling of the released checkpoints.

Tools put the names of their wrappers into a name, leave out the first part of it, or call the head as most language
models do. None of this changes what a tensor is, so such a name stands for the canonical one, as long as no other
tensor does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nld_trt.model.inventory import BODY, HEAD

# Modules that wrap another one: of DDP and DeepSpeed, torch.compile, FSDP, activation checkpointing, Lightning and
# PEFT. A canonical name has none of them, so they can be left out wherever they stand.
WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "base_model",
    "base_layer",
    "model",
)
_HEAD_MODULE = HEAD.removesuffix(".weight")
OTHER_HEADS = ("lm_head",)
# What a name begins with behind the encoder, and so without it.
_BODY_PARTS = ("embed_tokens", "layers", "norm")

# Stored by some tools although it follows from the configuration.
_ROTARY_BUFFER = re.compile(r"(.*\.)?rotary_emb\.(original_)?(inv_freq|cos_cached|sin_cached|cos_sin_cache)")
# Scales for keys and values that are cached in 8 or 4 bits, by the names of ModelOpt, vLLM and compressed-tensors.
_CACHE_SCALE = re.compile(
    r"encoder\.layers\.(?P<layer>\d+)\.(self_attn|attn|attention)(\.\w+)*\."
    r"(([qkv]|kv|prob)(_cache)?_(scale|scaling_factor|zero_point|bias)|(?<=[kv]_proj\.)output_scale)"
)


def canonical(name: str) -> str:
    """The name in the released spelling; a name of something else comes back without wrappers.

    Names of modules are understood as well as those of tensors.
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while len(parts) > 1 and parts[0] == BODY and parts[1] in (BODY, _HEAD_MODULE, *OTHER_HEADS):
        del parts[0]
    if parts and parts[0] in OTHER_HEADS:
        parts[0] = _HEAD_MODULE
    elif parts and parts[0] in _BODY_PARTS:
        parts.insert(0, BODY)
    return ".".join(parts)


def is_rotary_buffer(name: str) -> bool:
    return _ROTARY_BUFFER.fullmatch(name) is not None


def is_cache_scale(name: str, layers: int) -> bool:
    """Whether a canonical ``name`` is a scale of cached keys or values in one of the network's ``layers``."""
    match = _CACHE_SCALE.fullmatch(name)
    return match is not None and int(match["layer"]) < layers


@dataclass(frozen=True)
class Names:
    """The names of a checkpoint, sorted by what they stand for.

    Attributes:
        stored: canonical name to the name in the files.
        rotary_buffers: names in the files of what follows from the configuration.
        cache_scales: names in the files of scales for quantized caches.
        problems: names that stand for a tensor that another one already is.
    """

    stored: Mapping[str, str]
    rotary_buffers: tuple[str, ...]
    cache_scales: tuple[str, ...]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], *, layers: int) -> Names:
        """Sort the ``names`` of the files of a network with so many ``layers``."""
        stored: dict[str, str] = {}
        buffers, scales, problems = [], [], []
        for name in names:
            found = canonical(name)
            if is_rotary_buffer(found):
                buffers.append(name)
            elif is_cache_scale(found, layers):
                scales.append(name)
            elif found in stored:
                problems.append(f"{stored[found]} and {name} are both {found}")
            else:
                stored[found] = name
        return cls(stored, tuple(buffers), tuple(scales), tuple(problems))

    def notes(self) -> list[str]:
        """A line for each kind of tensor that is not read as it is stored."""
        renamed = [(stored, found) for found, stored in self.stored.items() if stored != found]
        lines = []
        if renamed:
            lines.append(f"{_tensors(len(renamed))} renamed, such as {renamed[0][0]} to {renamed[0][1]}")
        if self.rotary_buffers:
            count = _tensors(len(self.rotary_buffers))
            lines.append(f"{count} left out, such as {self.rotary_buffers[0]}: rotary tables follow from config.json")
        if self.cache_scales:
            lines.append(
                f"{_tensors(len(self.cache_scales))} left out, such as {self.cache_scales[0]}: scales for quantized "
                "key/value caches; engines keep their caches in their own precision (nld-trt build --kv-cache)"
            )
        return lines


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"
