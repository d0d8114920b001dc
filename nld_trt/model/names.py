# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tensor names: maps the names that training tools write to the canonical ones of the released checkpoints.

Tools add the names of their wrappers, leave out the first part of a name, or call the head ``lm_head`` as most language
models do. Such a name stands for the canonical one unless another tensor of the checkpoint does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nld_trt.model.family import FAMILIES, NLD, Family
from nld_trt.model.inventory import BODY, HEAD, HEAD_MODULE

# Modules that wrap another one, in DDP and DeepSpeed, torch.compile, FSDP, activation checkpointing, Lightning and
# PEFT. No canonical name contains them, so they are removed wherever they are.
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
OTHER_HEADS = ("lm_head",)
# The beginnings of names that lack the leading encoder.
_BODY_PARTS = ("embed_tokens", "layers", "norm")

# Rotary tables, which some tools store although they follow from the configuration.
_ROTARY_BUFFER = re.compile(r"(.*\.)?rotary_emb\.(original_)?(inv_freq|cos_cached|sin_cached|cos_sin_cache)")
# Scales of KV caches in 8 or 4 bits, as ModelOpt, vLLM and compressed-tensors name them.
_CACHE_SCALE = re.compile(
    r"encoder\.layers\.(?P<layer>\d+)\.(self_attn|attn|attention)(\.\w+)*\."
    r"(([qkv]|kv|prob)(_cache)?_(scale|scaling_factor|zero_point|bias)|(?<=[kv]_proj\.)output_scale)"
)


def canonical(name: str, family: Family = FAMILIES[NLD]) -> str:
    """Returns the canonical name of a tensor or module. Names of anything else are returned without wrappers.

    Args:
        family: the one whose releases may have it under a name of their own.
    """
    parts = family.renamed(".".join(part for part in name.split(".") if part not in WRAPPERS)).split(".")
    while len(parts) > 1 and parts[0] == BODY and parts[1] in (BODY, HEAD_MODULE, *OTHER_HEADS):
        del parts[0]
    if parts and parts[0] in OTHER_HEADS:
        parts[0] = HEAD_MODULE
    elif parts and parts[0] in _BODY_PARTS:
        parts.insert(0, BODY)
    return ".".join(parts)


def stock_name(name: str) -> str:
    """Returns the name that the language models of transformers have for a canonical one."""
    return f"{OTHER_HEADS[0]}.weight" if name == HEAD else f"model.{name.removeprefix(f'{BODY}.')}"


def release_name(name: str, family: Family) -> str:
    """Returns the name that releases of ``family`` have for a canonical one."""
    own = family.released(name)
    return stock_name(name) if own is None else f"model.{own}"


def is_rotary_buffer(name: str) -> bool:
    return _ROTARY_BUFFER.fullmatch(name) is not None


def is_cache_scale(name: str, layers: int) -> bool:
    """Whether a canonical ``name`` is a scale of the KV cache of one of the network's ``layers`` layers."""
    match = _CACHE_SCALE.fullmatch(name)
    return match is not None and int(match["layer"]) < layers


@dataclass(frozen=True)
class Names:
    """The tensor names of a checkpoint, sorted by kind.

    Attributes:
        stored: canonical name to the name in the files.
        rotary_buffers: names in the files of rotary tables, which follow from the configuration.
        left_out: names in the files of tensors that the family has and that are not converted, by what they are.
        cache_scales: names in the files of scales for quantized KV caches.
        problems: names that stand for the same tensor as another name.
    """

    stored: Mapping[str, str]
    rotary_buffers: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    cache_scales: tuple[str, ...]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], *, layers: int, family: Family = FAMILIES[NLD]) -> Names:
        """Sort the ``names`` in the files of a network of ``family`` with ``layers`` layers."""
        stored: dict[str, str] = {}
        left_out: dict[str, list[str]] = {}
        buffers, scales, problems = [], [], []
        for name in names:
            found = canonical(name, family)
            foreign = next((what for start, what in family.left_out.items() if found.startswith(start)), None)
            if is_rotary_buffer(found):
                buffers.append(name)
            elif is_cache_scale(found, layers):
                scales.append(name)
            elif foreign is not None:
                left_out.setdefault(foreign, []).append(name)
            elif found in stored:
                problems.append(f"{stored[found]} and {name} are both {found}")
            else:
                stored[found] = name
        others = {what: tuple(found) for what, found in left_out.items()}
        return cls(stored, tuple(buffers), others, tuple(scales), tuple(problems))

    def notes(self) -> list[str]:
        """Returns a line for each kind of tensor that is renamed or left out."""
        renamed = [(stored, found) for found, stored in self.stored.items() if stored != found]
        lines = []
        if renamed:
            lines.append(f"{_tensors(len(renamed))} renamed, such as {renamed[0][0]} to {renamed[0][1]}")
        if self.rotary_buffers:
            count = _tensors(len(self.rotary_buffers))
            lines.append(f"{count} left out, such as {self.rotary_buffers[0]}: rotary tables follow from config.json")
        for what, found in self.left_out.items():
            lines.append(f"{_tensors(len(found))} left out, such as {found[0]}: {what}, which engines do not have")
        if self.cache_scales:
            lines.append(
                f"{_tensors(len(self.cache_scales))} left out, such as {self.cache_scales[0]}: scales for quantized "
                "key/value caches; engines keep their caches in their own precision (nld-trt build --kv-cache)"
            )
        return lines


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"
