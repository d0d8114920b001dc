# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Convert a released checkpoint to the normalised form from which every later step starts.

A normalised checkpoint has one weights file with canonical names in canonical order and in the original dtypes, an
adapter with canonical names in float32, settings in the form of the releases, only files that are used, and a
manifest. Every value is checked on the way, because a NaN in one weight would otherwise be noticed much later, as
an engine that answers nonsense.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.errors import InputError, some
from nld_trt.files import human_bytes, publish_folder, resolved, write_json
from nld_trt.model import adapter as adapters
from nld_trt.model.adapter import Adapter
from nld_trt.model.adapter_config import CONFIG_FILE as ADAPTER_CONFIG_FILE
from nld_trt.model.checkpoint import CONFIG_FILE, Checkpoint
from nld_trt.model.description import describe
from nld_trt.model.draft_head import DRAFT_FOLDER, DraftHead
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.model.quantized.audit import audit
from nld_trt.model.quantized.config import QUANT_CONFIG_FILE
from nld_trt.model.safetensors_file import Array, SafetensorsWriter, dtype_name
from nld_trt.model.shards import WEIGHTS_FILE
from nld_trt.model.text.check import check_text
from nld_trt.progress import SILENT, Progress, Stage

# Disk space that is reserved for headers, tokenizer and manifest beside the weights.
SPARE_BYTES = 64 << 20

# A float is NaN or infinite when all its exponent bits are set (E4M3: NaN when all but the sign are): dtype name to
# integer type and mask. On bfloat16 this takes a fraction of the time of np.isfinite. Other dtypes hold no such values.
_EXPONENT_BITS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
    "F8_E4M3": (np.uint8, 0x7F),
}


def convert(
    source: Path, target: Path, *, draft: Path | None = None, force: bool = False, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write the normalised form of the release in ``source`` to ``target``. Returns its manifest.

    Only a piece of one tensor is in memory at a time.

    Args:
        draft: the folder of an Eagle3 head that drafts for the network.
        force: replace an earlier conversion in ``target``.
        progress: is told of the stage, and warned of everything that will not work, such as chat without a template.

    Raises:
        InputError: the checkpoint, its tokenizer or a chat template is not usable, a weight is NaN
            or infinite (all such tensors are listed), or ``target`` is taken. Nothing is left behind.
        OperationError: the disk has too little space.
    """
    with progress.stage("converting") as stage:
        checkpoint = Checkpoint.open(source, draft)
        if draft is not None:
            refuse_overlap(draft, target)
        return _convert(checkpoint, target, force, progress, stage)


def _convert(checkpoint: Checkpoint, target: Path, force: bool, progress: Progress, stage: Stage) -> dict[str, Any]:
    source = checkpoint.folder
    refuse_overlap(source, target)
    if checkpoint.quantization is not None:
        stage.detail("auditing the quantized layers")
        audit(checkpoint).require()
    for warning in check_text(source, checkpoint.config.vocab_size):
        progress.warn(warning)
    adapter, head = checkpoint.adapter, checkpoint.draft_head
    drafter = (4 * adapter.parameters if adapter else 0) + (head.weight_bytes if head else 0)
    needs = checkpoint.weight_bytes + drafter + SPARE_BYTES
    with publish_folder(target, force, needs_bytes=needs, marker=MANIFEST_FILE) as folder:
        stage.detail(f"checking and copying {len(checkpoint.names)} tensors, {human_bytes(checkpoint.weight_bytes)}")
        problems = copy_weights(checkpoint, folder / WEIGHTS_FILE, {name: name for name in checkpoint.names})
        if adapter is not None:
            problems += copy_adapter(adapter, folder / adapters.ADAPTER_FOLDER)
        if head is not None:
            problems += copy_draft_head(head, folder / DRAFT_FOLDER)
        refuse_non_finite(source, problems)
        for path in (source / name for name in (CONFIG_FILE, QUANT_CONFIG_FILE)):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        checkpoint.copy_companions(folder)
        if checkpoint.respelled_config:
            write_json(folder / CONFIG_FILE, checkpoint.raw_config)
        stage.detail("hashing the new files")
        manifest = describe(checkpoint, folder)
        write_json(folder / MANIFEST_FILE, manifest)
    return manifest


def refuse_overlap(source: Path, target: Path) -> None:
    """Raise InputError if writing ``target`` would replace ``source``."""
    if resolved(source).is_relative_to(resolved(target)):
        raise InputError(
            f"The output folder {target} is or contains the checkpoint {source}",
            fix="Choose another output folder with -o.",
        )


def copy_weights(checkpoint: Checkpoint, path: Path, new_names: Mapping[str, str]) -> list[str]:
    """Write the tensors of ``checkpoint`` to one file, in the order and under the names of ``new_names``.

    Returns:
        A line for every tensor with NaN or infinite values.
    """
    declared = {new: (checkpoint.dtype_of(name), checkpoint.shape_of(name)) for name, new in new_names.items()}
    problems: list[str] = []
    with SafetensorsWriter(path, declared) as writer:
        for name, new in new_names.items():
            writer.write_chunks(new, _checked(name, checkpoint.chunks(name), problems))
    return problems


def refuse_non_finite(source: Path, problems: list[str]) -> None:
    if problems:
        raise InputError(
            f"Weights in {source} are NaN or infinite",
            details=some(problems),
            fix="Download the checkpoint again; if the values are the same, the training run that wrote it diverged.",
        )


def copy_adapter(adapter: Adapter, folder: Path) -> list[str]:
    """Write ``adapter`` with canonical names in float32. Returns a line for every tensor with NaN or infinity."""
    folder.mkdir()
    write_json(folder / ADAPTER_CONFIG_FILE, adapter.raw_config)
    names = [name for layer in range(adapter.layers) for name in adapter.names(layer)]
    declared = {name: ("F32", adapter.shape_of(name)) for name in names}
    problems: list[str] = []
    with SafetensorsWriter(folder / adapters.WEIGHTS_FILE, declared) as writer:
        for layer in range(adapter.layers):
            for name, tensor in zip(adapter.names(layer), adapter.read(layer), strict=True):
                writer.write_chunks(name, _checked(name, iter([tensor]), problems))
    return problems


def copy_draft_head(head: DraftHead, folder: Path) -> list[str]:
    """Write ``head`` with canonical names. Returns a line for every tensor with NaN or infinite values."""
    folder.mkdir()
    write_json(folder / CONFIG_FILE, head.raw_config)
    problems: list[str] = []
    declared = {name: (head.dtype_of(name), head.shape_of(name)) for name in head.names}
    with SafetensorsWriter(folder / WEIGHTS_FILE, declared) as writer:
        for name in head.names:
            writer.write_chunks(name, _checked(f"{DRAFT_FOLDER}: {name}", head.chunks(name), problems))
    return problems


def _checked(name: str, chunks: Iterator[Array], problems: list[str]) -> Iterator[Array]:
    count = 0
    for chunk in chunks:
        if dtype_name(chunk.dtype) in _EXPONENT_BITS:
            integers, mask = _EXPONENT_BITS[dtype_name(chunk.dtype)]
            count += int(np.count_nonzero((chunk.view(integers) & mask) == mask))
        yield chunk
    if count:
        problems.append(f"{name}: {count} NaN or infinite values")
