# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What MODEL may be: a released size, a checkpoint, a quantized one, or an engine. No weights are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.model.family import FAMILIES, NLD, Family
from nld_trt.model.inventory import HEAD, layer_tensor
from nld_trt.model.releases import preset
from nld_trt.planning.products import ModelShape, Product
from nld_trt.planning.release_shapes import of_geometry

if TYPE_CHECKING:
    from nld_trt.engine.manifest import Manifest
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.config import ModelConfig

# Algorithms of quantized checkpoints, and the precision by whose law they are planned.
PRECISION_OF: Final[Mapping[str, str]] = {
    "W4A16_AWQ": names.INT4,
    "FP8": names.FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": names.FP8,
    "W4A16_NVFP4": names.W4A16_NVFP4,
    "NVFP4": names.NVFP4,
}
# The algorithm that a release is quantized with, by precision.
ALGORITHM_OF: Final[Mapping[str, str]] = {
    precision: algorithm for algorithm, precision in [*PRECISION_OF.items()][::-1]
}
# The first matrix of each product of a layer; what reads the same input has the same precision.
_FIRST_OF_PRODUCT: Final = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


@dataclass(frozen=True)
class PlannedModel:
    """A model whose engines are planned.

    Attributes:
        algorithms: of its quantized layers.
        backends: those that an engine was built with; empty for what is not built yet.
        family: of which the modes follow.
        max_rows, max_seq_len, max_block_length: limits of an engine; None for what is not built yet.
    """

    shape: ModelShape
    algorithms: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    family: Family = FAMILIES[NLD]
    max_rows: int | None = None
    max_seq_len: int | None = None
    max_block_length: int | None = None


def planned_model(asked: str, precision: str | None) -> PlannedModel:
    """The model that ``asked`` names.

    Args:
        asked: one of ``names.MODEL_SIZES``, or a folder.
        precision: of the weights, one of ``names.PLANNED_PRECISIONS``; None means the checkpoint's, or BF16.

    Raises:
        InputError: there is no such model, or it is stored in another precision.
    """
    size, path = asked.lower(), Path(asked)
    if size in names.MODEL_SIZES:
        geometry = preset(size)
        found = _in_precision(of_geometry(size, geometry), precision or names.BF16)
        return replace(found, family=FAMILIES[geometry.family_name])
    if (path / "engine.json").is_file():
        return _of_engine(path, precision)
    if (path / "config.json").is_file():
        found, config = _of_checkpoint(path, precision)
        return replace(found, family=config.family)
    raise InputError(
        f"{asked} is neither a released size, a checkpoint nor an engine; sizes are {', '.join(names.MODEL_SIZES)}",
        fix="Pass a size, or a folder with config.json (checkpoint) or engine.json (engine).",
    )


def _in_precision(shape: ModelShape, precision: str) -> PlannedModel:
    algorithm = ALGORITHM_OF.get(precision)
    return PlannedModel(replace(shape, precision=precision), (algorithm,) if algorithm else ())


def _of_checkpoint(path: Path, precision: str | None) -> tuple[PlannedModel, ModelConfig]:
    from nld_trt.model.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(path)
    return _of_weights(path, checkpoint, precision), checkpoint.config


def _of_weights(path: Path, checkpoint: Checkpoint, precision: str | None) -> PlannedModel:
    shape = replace(
        _of_config(path.name or str(path), checkpoint.config),
        adapter_rank=0 if checkpoint.adapter is None else checkpoint.adapter.rank,
    )
    head = checkpoint.draft_head
    stored_bytes = _stored_bytes(shape, checkpoint.weight_bytes + (head.weight_bytes if head else 0))
    if not checkpoint.formats:
        found = _in_precision(shape, precision or names.BF16)
        if found.algorithms:  # the weights that are there are not those that are planned
            return found
        return replace(found, shape=replace(found.shape, stored_bytes=stored_bytes))
    stored = replace(
        _quantized(shape, {module: format.algorithm.name for module, format in checkpoint.formats.items()}),
        stored_bytes=stored_bytes,
    )
    _refuse_another(path, precision, stored.precisions)
    return PlannedModel(stored, tuple(dict.fromkeys(each.algorithm.name for each in checkpoint.formats.values())))


def _quantized(shape: ModelShape, algorithms: Mapping[str, str]) -> ModelShape:
    """The shape with the precisions that a checkpoint states: algorithm by name of each quantized module."""
    counts: Counter[Product] = Counter()
    for layer in range(shape.layers):
        for sizes, part in zip(shape.layer_sizes, _FIRST_OF_PRODUCT, strict=True):
            counts[Product(*sizes, _precision(algorithms, layer_tensor(layer, part)))] += 1
    return replace(shape, stored_products=tuple(counts.items()), head_precision=_precision(algorithms, HEAD))


def _precision(algorithms: Mapping[str, str], weight: str) -> str:
    algorithm = algorithms.get(weight.removesuffix(".weight"))
    return names.BF16 if algorithm is None else PRECISION_OF[algorithm]


def _stored_bytes(shape: ModelShape, weight_bytes: int) -> int:
    """Of weights and adapter."""
    adapter = shape.layers * shape.adapter_rank * (shape.hidden + shape.heads * shape.head_size) * 2
    return weight_bytes + adapter


def _of_engine(path: Path, precision: str | None) -> PlannedModel:
    from nld_trt.engine.manifest import Manifest

    manifest = Manifest.of_folder(path)
    limits, computed = manifest.limits, next(iter(manifest.backends.values())).precision
    if computed not in names.PLANNED_PRECISIONS:
        known = ", ".join(names.PLANNED_PRECISIONS)
        raise InputError(f"the engine in {path} is in {computed}; plan has laws for {known}")
    layers: Mapping[str, Mapping[str, Any]] = {} if manifest.quantization is None else manifest.quantization["layers"]
    algorithms = {module: format["quant_algo"] for module, format in layers.items()}
    shape = replace(_of_config(path.name or str(path), manifest.config), precision=computed)
    if algorithms:
        shape = _quantized(shape, algorithms)
    _refuse_another(path, precision, shape.precisions)
    return PlannedModel(
        replace(shape, stored_bytes=_engine_bytes(manifest)),
        tuple(dict.fromkeys(algorithms.values())),
        tuple(manifest.backends),
        manifest.config.family,
        limits.max_batch_size,
        limits.max_seq_len,
        limits.max_block_length,
    )


def _engine_bytes(manifest: Manifest) -> int:
    """Of the files of the largest backend: one of them is loaded."""
    return max(
        sum(manifest.files[name].size for name in artefact.files.values() if name in manifest.files)
        for artefact in manifest.backends.values()
    )


def _of_config(name: str, config: ModelConfig) -> ModelShape:
    return ModelShape(
        name=name,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=config.head_dim,
    )


def _refuse_another(path: Path, precision: str | None, stored: tuple[str, ...]) -> None:
    """Refuse a precision that a folder's layers are not in."""
    if precision is not None and precision not in stored:
        raise InputError(
            f"--precision is {precision}, and the layers of {path} are in {', '.join(stored)}",
            fix="Leave --precision out, or plan the checkpoint that it was quantized from.",
        )
