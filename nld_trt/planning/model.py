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
from nld_trt.model.releases import preset
from nld_trt.planning.products import ModelShape, Product
from nld_trt.planning.release_shapes import of_geometry

if TYPE_CHECKING:
    from nld_trt.engine.manifest import Manifest
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
_HIGH: Final = (names.BF16, names.FP16)
# The first matrix of each product of a layer; what reads the same input has the same precision.
_FIRST_OF_PRODUCT: Final = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


@dataclass(frozen=True)
class PlannedModel:
    """A model whose engines are planned.

    Attributes:
        algorithms: of its quantized layers.
        backends: those that an engine was built with; empty for what is not built yet.
        max_rows, max_seq_len, max_block_length: limits of an engine; None for what is not built yet.
    """

    shape: ModelShape
    algorithms: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
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
        return _in_precision(of_geometry(size, preset(size)), precision or names.BF16)
    if (path / "engine.json").is_file():
        return _of_engine(path, precision)
    if (path / "config.json").is_file():
        return _of_checkpoint(path, precision)
    raise InputError(
        f"{asked} is neither a released size, a checkpoint nor an engine; sizes are {', '.join(names.MODEL_SIZES)}",
        fix="Pass a size, or a folder with config.json (checkpoint) or engine.json (engine).",
    )


def _in_precision(shape: ModelShape, precision: str) -> PlannedModel:
    algorithm = ALGORITHM_OF.get(precision)
    return PlannedModel(replace(shape, precision=precision), (algorithm,) if algorithm else ())


def _of_checkpoint(path: Path, precision: str | None) -> PlannedModel:
    from nld_trt.model.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(path)
    shape = replace(
        _of_config(path.name or str(path), checkpoint.config),
        adapter_rank=0 if checkpoint.adapter is None else checkpoint.adapter.rank,
    )
    if not checkpoint.formats:
        found = _in_precision(shape, precision or names.BF16)
        if found.algorithms:  # the weights that are there are not those that are planned
            return found
        return replace(found, shape=replace(found.shape, stored_bytes=_stored_bytes(shape, checkpoint.weight_bytes)))
    counts: Counter[Product] = Counter()
    for layer in range(shape.layers):
        for sizes, part in zip(shape.layer_sizes, _FIRST_OF_PRODUCT, strict=True):
            format = checkpoint.formats.get(f"encoder.layers.{layer}.{part}")
            counts[Product(*sizes, names.BF16 if format is None else PRECISION_OF[format.algorithm.name])] += 1
    stored = replace(
        shape, stored_products=tuple(counts.items()), stored_bytes=_stored_bytes(shape, checkpoint.weight_bytes)
    )
    _refuse_another(path, precision, stored.precisions)
    algorithms = tuple(dict.fromkeys(format.algorithm.name for format in checkpoint.formats.values()))
    return PlannedModel(stored, algorithms)


def _stored_bytes(shape: ModelShape, weight_bytes: int) -> int:
    """Of weights and adapter."""
    adapter = shape.layers * shape.adapter_rank * (shape.hidden + shape.heads * shape.head_size) * 2
    return weight_bytes + adapter


def _of_engine(path: Path, precision: str | None) -> PlannedModel:
    from nld_trt.engine.manifest import Manifest

    manifest = Manifest.of_folder(path)
    formats: list[Mapping[str, Any]] = [] if manifest.quantization is None else manifest.quantization["formats"]
    found = {PRECISION_OF[each["quant_algo"]] for each in formats}
    layers = manifest.config.num_hidden_layers
    if formats and (len(found) > 1 or sum(each["layers"] for each in formats) < 7 * layers):
        raise InputError(
            f"the engine in {path} has layers of several precisions, and its manifest does not say which",
            fix="Plan the checkpoint that it was built from: nld-trt plan CHECKPOINT ...",
        )
    stored = found.pop() if found else next(iter(manifest.backends.values())).precision
    if stored not in names.PLANNED_PRECISIONS:
        known = ", ".join(names.PLANNED_PRECISIONS)
        raise InputError(f"the engine in {path} is in {stored}; plan has laws for {known}")
    _refuse_another(path, precision, (stored,))
    shape = replace(
        _of_config(path.name or str(path), manifest.config),
        precision=stored,
        adapter_rank=0,
        stored_bytes=_engine_bytes(manifest),
    )
    return PlannedModel(
        shape,
        tuple(dict.fromkeys(each["quant_algo"] for each in formats)),
        tuple(manifest.backends),
        manifest.limits.max_batch_size,
        manifest.limits.max_seq_len,
        manifest.limits.max_block_length,
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
