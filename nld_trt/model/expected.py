# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compares the tensors of a checkpoint with those that its configuration requires."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from nld_trt.errors import InputError, some
from nld_trt.model.config import ModelConfig
from nld_trt.model.family import FAMILIES, Family
from nld_trt.model.inventory import (
    EMBEDDING,
    FOREIGN_PREFIXES,
    HEAD,
    TensorSpec,
    expected_tensors,
    linear_modules,
)
from nld_trt.model.names import canonical
from nld_trt.model.quantized.config import QUANT_CONFIG_FILE, QuantConfig
from nld_trt.model.quantized.formats import WEIGHT_SCALE, LinearFormat
from nld_trt.model.shards import StoredTensor

Sources = Mapping[str, StoredTensor]


def linear_formats(config: ModelConfig, quantization: QuantConfig | None, sources: Sources) -> dict[str, LinearFormat]:
    """Find the format of every linear layer that is quantized according to the checkpoint's configuration."""
    if quantization is None:
        return {}
    formats = {}
    for module, (_, inputs) in linear_modules(config).items():
        found = quantization.format_of(module)
        if found is None:
            continue
        scale = f"{module}.{WEIGHT_SCALE}"
        if found.group_size and quantization.group_size is None and not quantization.layers and scale in sources:
            # config.json alone does not give the group size of every algorithm; the shape of the scales does.
            columns = sources[scale].info.shape[-1:]
            found = replace(found, group_size=inputs // columns[0] if columns and columns[0] else found.group_size)
        formats[module] = found
    return formats


def expected_of(config: ModelConfig, formats: Mapping[str, LinearFormat]) -> dict[str, TensorSpec]:
    """List every tensor of the checkpoint in canonical order. Scales come after their weight."""
    linears = linear_modules(config)
    expected: dict[str, TensorSpec] = {}
    for name, shape in expected_tensors(config).items():
        module = name.removesuffix(".weight")
        expected |= (
            formats[module].tensors(module, *linears[module]) if module in formats else {name: TensorSpec(shape)}
        )
    return expected


def require_complete(
    folder: Path,
    config: ModelConfig,
    expected: Mapping[str, TensorSpec],
    sources: Sources,
    misplaced: list[str],
    quantization: QuantConfig | None,
) -> None:
    """Raise InputError unless ``sources`` are the ``expected`` tensors. Some faults of each kind are listed.

    Args:
        misplaced: faults of names and files that were found earlier.
    """
    missing = [
        f"missing: {name} {list(spec.shape)}"
        for name, spec in expected.items()
        if name not in sources and not spec.optional
    ]
    unexpected = [f"unexpected: {source.name}" for name, source in sources.items() if name not in expected]
    shapes, dtypes = [], []
    for name in (name for name in expected if name in sources):
        info, spec = sources[name].info, expected[name]
        if info.shape != spec.shape and not (spec.shape == () and info.shape == (1,)):
            shapes.append(f"{name} is {list(info.shape)}; {list(spec.shape)} was expected")
        if info.dtype not in spec.dtypes:
            dtypes.append(f"{name} is {info.dtype}; supported: {', '.join(spec.dtypes)}")
    problems = some(misplaced, missing, unexpected, shapes, dtypes)
    if problems:
        raise InputError(
            f"The tensors in {folder} are not those of the network that its config.json describes",
            details=problems,
            fix=_fix(config, sources, quantization),
        )


def _fix(config: ModelConfig, sources: Sources, quantization: QuantConfig | None) -> str:
    others = " or ".join(family.title for family in _other_families(config, sources))
    if others:
        return (
            f"These are the tensors of {others}, and config.json says {config.family.title}: use config.json and "
            "weights of one release."
        )
    for prefix, kind in FOREIGN_PREFIXES.items():
        if any(name.startswith(prefix) for name in sources):
            return f"Names that begin with {prefix!r} mean {kind}: use the released checkpoint."
    if any(".lora_" in name for name in sources):
        return "The weights contain an adapter: merge it (PEFT's merge_and_unload) and save the model again."
    if quantization is not None:
        return (
            f"The checkpoint says {quantization.algorithm} for all layers but its exclude_modules: use weights and "
            f"{QUANT_CONFIG_FILE} of one export, complete and unedited."
        )
    if any(name.endswith(f".{WEIGHT_SCALE}") for name in sources):
        return f"There are quantization scales and no {QUANT_CONFIG_FILE}: copy that file of the export as well."
    return "Use config.json and weights of one release, complete and unedited."


def _other_families(config: ModelConfig, sources: Sources) -> list[Family]:
    """Find the families, other than that of ``config``, whose tensors have just the names of ``sources``."""
    stored = [source.name for name, source in sources.items() if name != HEAD]

    def has_these(family: Family) -> bool:
        expected = {*expected_tensors(replace(config, family_name=family.name))} - {HEAD}
        return expected == {canonical(name, family) for name in stored} - {HEAD}

    return [] if has_these(config.family) else [family for family in FAMILIES.values() if has_these(family)]


def require_tied(folder: Path, sources: Sources) -> None:
    """Raise InputError unless the head equals the embedding, element by element."""
    # The generators are closed explicitly: a difference ends the comparison early and would leave both files open.
    with closing(sources[EMBEDDING].chunks()) as embedding, closing(sources[HEAD].chunks()) as head:
        pairs = zip_longest(embedding, head)
        equal = all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)
    if not equal:
        raise InputError(
            f"config.json in {folder} says tie_word_embeddings, and {HEAD} differs from {EMBEDDING}",
            fix="Set tie_word_embeddings to false if the head was trained; released models are untied.",
        )
