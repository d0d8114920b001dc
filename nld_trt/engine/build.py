# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Build an engine folder from a converted checkpoint. The folder appears complete or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt import names
from nld_trt.engine import manifest as manifests
from nld_trt.engine import support
from nld_trt.engine.backend import BuildPlan, backend
from nld_trt.engine.manifest import FileRecord, Manifest
from nld_trt.errors import InputError
from nld_trt.files import opened_path, publish_folder, sha256_of, write_json
from nld_trt.graph.contract import MAX_DRAFTS, quadratic_width
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.description import quantization_facts
from nld_trt.model.inventory import BIAS, HEAD_MODULE, linear_modules
from nld_trt.model.text.files import TOKENIZER_FILE
from nld_trt.progress import SILENT, Progress


def check_plans(checkpoint: Checkpoint, plans: Sequence[BuildPlan]) -> None:
    """Refuse, before any work, plans that the checkpoint or a backend does not support.

    Raises:
        InputError: naming the setting.
    """
    config = checkpoint.config
    for plan in plans:
        limits = plan.limits
        for name, value in limits.to_dict().items():
            least = 0 if name in ("max_quadratic_length", "max_canvas_length") else 1
            if value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")
        if limits.max_seq_len < 2:
            raise InputError("max_seq_len is 1; it must hold a prompt and a generated token, so at least 2")
        if limits.max_seq_len > config.max_position_embeddings:
            raise InputError(
                f"max_seq_len is {limits.max_seq_len}; the checkpoint has {config.max_position_embeddings} positions",
                fix=f"Use --max-seq-len {config.max_position_embeddings} or less.",
            )
        if config.attention_window is not None and limits.max_seq_len > config.attention_window:
            raise InputError(
                f"max_seq_len is {limits.max_seq_len}; attention of {config.family.title} forgets tokens after "
                f"{config.attention_window}, which engines do not",
                fix=f"Use --max-seq-len {config.attention_window} or less, within which it forgets nothing.",
            )
        if limits.max_block_length > 1 and not config.family.has_blocks:
            raise InputError(
                f"block_length is {limits.max_block_length}; {config.family.title} decodes in "
                f"{', '.join(config.family.modes)}, which has no blocks",
                fix="Leave --block-length and --quadratic-length out.",
            )
        if config.draft is not None and not 2 <= limits.max_block_length <= MAX_DRAFTS + 1:
            raise InputError(
                f"block_length is {limits.max_block_length}; a block of an Eagle3 head is the bonus token and 1 to "
                f"{MAX_DRAFTS} drafts",
                fix=f"Use a --block-length from 2 to {MAX_DRAFTS + 1}.",
            )
        if limits.max_quadratic_length and names.QUADRATIC not in config.family.modes:
            raise InputError(
                f"quadratic_length is {limits.max_quadratic_length}; {config.family.title} decodes in "
                f"{', '.join(config.family.modes)}",
                fix="Leave --quadratic-length out.",
            )
        if limits.max_block_length > limits.max_seq_len:
            raise InputError(
                f"block_length is {limits.max_block_length} and max_seq_len {limits.max_seq_len}: "
                "a block must fit the sequence",
                fix="Use a smaller --block-length or a larger --max-seq-len.",
            )
        if limits.max_canvas_length != (limits.max_seq_len if config.family.reads_canvas else 0):
            raise InputError(
                f"max_canvas_length is {limits.max_canvas_length} and max_seq_len {limits.max_seq_len}; for "
                f"{config.family.title} it must be {limits.max_seq_len if config.family.reads_canvas else 0}"
            )
        drafts = limits.max_quadratic_length
        if drafts and names.QUADRATIC not in config.family.modes:
            raise InputError(
                f"quadratic_length is {drafts}; {config.family.title} decodes in {', '.join(config.family.modes)}",
                fix="Leave --quadratic-length out.",
            )
        if drafts > limits.max_block_length:
            raise InputError(
                f"quadratic_length is {drafts} and block_length {limits.max_block_length}, the longest that a request "
                "can ask for",
                fix=f"Use --quadratic-length {limits.max_block_length} or less, or a larger --block-length.",
            )
        if drafts and quadratic_width(drafts) > limits.max_seq_len:
            raise InputError(
                f"quadratic_length is {drafts}, whose passes have {quadratic_width(drafts)} tokens, and max_seq_len is "
                f"{limits.max_seq_len}: a pass must fit the sequence",
                fix="Use a smaller --quadratic-length or a larger --max-seq-len.",
            )
        if plan.adapter and checkpoint.adapter is None:
            raise InputError(
                "--lora was asked for and the checkpoint has no linear_spec_lora/ adapter",
                fix="Convert a checkpoint that has one, or build with --no-lora.",
            )
        support.check(plan, checkpoint)
        backend(plan.backend).check(plan)


@dataclass(frozen=True)
class Build:
    """A checkpoint and plans for it that have been checked; made by :meth:`checked`."""

    checkpoint: Checkpoint
    plans: tuple[BuildPlan, ...]

    @classmethod
    def checked(cls, checkpoint: Checkpoint, plans: Sequence[BuildPlan]) -> Build:
        """Raises InputError for what the checkpoint or a backend cannot give."""
        check_plans(checkpoint, plans)
        return cls(checkpoint, tuple(plans))

    def to_dict(self) -> dict[str, Any]:
        """What will be built, for the user."""
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "generation": self.checkpoint.generation.to_dict(),
            "fallbacks": {plan.backend: support.fallbacks(plan.backend, self.checkpoint) for plan in self.plans},
        }

    def warnings(self) -> list[str]:
        """Sentences on what the engine will not do as its user may expect."""
        lines = [
            f"{plan.backend} has no kernels for {line}"
            for plan in self.plans
            for line in support.fallbacks(plan.backend, self.checkpoint)
        ]
        if not any(path.name == TOKENIZER_FILE for path in self.checkpoint.companions()):
            bare = f"{self.checkpoint.folder} has no {TOKENIZER_FILE}: the engine will take token ids, and no texts"
            lines.insert(0, bare)
        return lines

    def notes(self) -> list[str]:
        """Sentences on defaults and caches that are worth knowing."""
        note = support.cache_note(self.plans, self.checkpoint)
        return [*self.checkpoint.generation.notes, *([note] if note else [])]

    def run(self, target: Path, *, force: bool = False, progress: Progress = SILENT) -> Manifest:
        """Build all plans into one engine folder.

        All plans share limits, adapter and debug setting, because one folder is one engine for several machines.

        Args:
            force: replace an engine folder in ``target``.
            progress: is told of every stage of every backend.

        Raises:
            InputError: ``target`` is taken. Nothing is written.
            OperationError: a backend failed, or its engine is not what the plan asked for. Nothing is published.
        """
        checkpoint, first = self.checkpoint, self.plans[0]
        opened_path(target)  # refused before the work
        with publish_folder(target, force, marker=manifests.FILE_NAME) as work:
            artefacts = {
                plan.backend: backend(plan.backend).compile(checkpoint, plan, work, progress) for plan in self.plans
            }
            checkpoint.copy_companions(work)
            with progress.stage("hashing files"):
                files = {
                    path.relative_to(work).as_posix(): FileRecord(sha256_of(path), path.stat().st_size)
                    for path in sorted(work.rglob("*"))
                    if path.is_file()
                }
            manifest = Manifest(
                tool_version=nld_trt.__version__,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                model=_identity(checkpoint),
                config=checkpoint.config,
                limits=first.limits,
                has_adapter=first.adapter,
                debug=first.debug,
                backends=artefacts,
                files=files,
                quantization=_quantization(checkpoint),
                generation=checkpoint.generation,
            )
            write_json(work / manifests.FILE_NAME, manifest.to_dict())
        return manifest


def build_engine(
    checkpoint: Checkpoint,
    plans: Sequence[BuildPlan],
    target: Path,
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """Check ``plans`` and build them into one engine folder; see :meth:`Build.run`.

    Raises:
        InputError: a plan that cannot be built, or ``target`` is taken. Nothing is written.
        OperationError: a backend failed, or its engine is not what the plan asked for. Nothing is published.
    """
    return Build.checked(checkpoint, plans).run(target, force=force, progress=progress)


def _identity(checkpoint: Checkpoint) -> dict[str, object]:
    assert checkpoint.manifest is not None, "engines are built from converted checkpoints"
    config, source = checkpoint.config, checkpoint.manifest["source"]
    return {
        "name": source.get("repository") or source["folder"],
        "sha256": checkpoint.manifest["model_sha256"],
        "rotary_table_sha256": rotary.table_hash(config.rope, config.head_dim),
    }


def _quantization(checkpoint: Checkpoint) -> dict[str, object] | None:
    """The quantization for the manifest: the checkpoint's facts, every layer's format, and mean bits per weight."""
    facts = quantization_facts(checkpoint)
    if facts is None:
        return None
    modules = linear_modules(checkpoint.config)
    if checkpoint.has_tied_head:
        del modules[HEAD_MODULE]
    of_layers = [name for name in checkpoint.names if name.rpartition(".")[0] in modules and not name.endswith(BIAS)]
    stored = sum(map(checkpoint.nbytes_of, of_layers))
    weights = sum(outputs * inputs for outputs, inputs in modules.values())
    layers = {module: found.to_dict() for module, found in checkpoint.formats.items()}
    return {**facts, "bits_per_weight": round(stored * 8 / weights, 3), "layers": layers}
