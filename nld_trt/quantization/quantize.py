# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantizes a converted checkpoint layer by layer. The work can be resumed, and the result is audited."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import nld_trt
from nld_trt import interrupts
from nld_trt.errors import InputError, OperationError, some
from nld_trt.files import check_space, disk_is_full, locked_folder, publish_folder, resolved, write_json
from nld_trt.files.lock import OutputLock
from nld_trt.machine.host import peak_resident_bytes
from nld_trt.machine.installed import package_version
from nld_trt.model import adapter as adapters
from nld_trt.model.checkpoint import CONFIG_FILE, Checkpoint
from nld_trt.model.convert import SPARE_BYTES, copy_adapter, copy_draft_head
from nld_trt.model.description import describe
from nld_trt.model.draft_head import DRAFT_FOLDER
from nld_trt.model.inventory import EMBEDDING, HEAD
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.model.quantized.audit import audit
from nld_trt.model.quantized.config import CONFIG_KEY, QUANT_CONFIG_FILE
from nld_trt.model.safetensors_file import SafetensorsFile, SafetensorsWriter
from nld_trt.model.shards import WEIGHTS_FILE
from nld_trt.progress import SILENT, Progress, Stage
from nld_trt.quantization.calibration import Pack
from nld_trt.quantization.calibration_set import CalibrationSet
from nld_trt.quantization.layerwise import LayerwiseQuantizer
from nld_trt.quantization.modelopt import quietly
from nld_trt.quantization.packing import to_numpy, to_torch
from nld_trt.quantization.plan import Plan
from nld_trt.quantization.recipe import NEEDS_GPU
from nld_trt.quantization.workplace import Workplace


def choose_device(plan: Plan) -> torch.device:
    """Choose the GPU if there is one, else the CPU. Raises InputError when the plan needs a GPU and there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    needing = {format.algorithm.name.lower() for format in plan.formats.values()} & NEEDS_GPU.keys()
    if needing:
        name = sorted(needing)[0]
        raise InputError(
            f"quantizing to {name} needs an NVIDIA GPU, and torch sees none: ModelOpt rounds FP4 activations on "
            "CUDA only",
            fix=f"Run it on a machine with a GPU and a CUDA build of torch, or use --qformat {NEEDS_GPU[name]}.",
        )
    return torch.device("cpu")


def quantize(
    checkpoint: Checkpoint,
    plan: Plan,
    target: Path,
    *,
    calibration: CalibrationSet | None,
    force: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Quantize ``checkpoint`` by ``plan`` into the folder ``target``. Returns the new manifest.

    An interrupted call leaves its finished layers in a hidden folder beside ``target``, which it reports. The next call
    with the same arguments resumes there. One layer and the calibration's hidden states are in memory at a time.

    Args:
        calibration: required when the plan reads activations.
        progress: is told of the parts that are done, layers and head, and of what the user should know.

    Raises:
        InputError: the checkpoint is quantized already, ``target`` is taken or being written by another process, or a
            GPU is needed.
        OperationError: the disk has too little space or became full, or the result failed its audit.
    """
    checkpoint.refuse_quantized()
    if checkpoint.manifest is None:
        raise ValueError("open the checkpoint with Checkpoint.open_converted")
    if plan.reads_activations and calibration is None:
        raise ValueError(f"{plan.recipe.name} needs calibration data")
    device = choose_device(plan)
    packs = calibration.packs if plan.reads_activations and calibration is not None else ()
    facts = {
        "recipe": plan.recipe.name,
        "calibration_algorithm": dict(plan.recipe.algorithm),
        "quant_cfg": plan.config["quant_cfg"],
        "calibration": calibration.to_dict() if packs and calibration is not None else None,
        "quantized_from": checkpoint.manifest["model_sha256"],
        "nld_trt": nld_trt.__version__,
        "tools": {name: package_version(name) for name in ("nvidia-modelopt", "torch")},
    }
    needs = _output_bytes(checkpoint, plan)
    hidden_bytes = sum(4 * len(pack) * checkpoint.config.hidden_size for pack in packs)
    check_space(resolved(target).parent, 2 * needs + 2 * hidden_bytes)
    parts = checkpoint.config.num_hidden_layers + 1
    with (
        progress.stage("quantizing", total=parts, unit="layers") as stage,
        locked_folder(target, keep_parents=True) as lock,
    ):
        work = Workplace(lock.target, lock.path.parent, facts)
        try:
            manifest = _quantize(checkpoint, plan, packs, device, work, lock, force, facts, progress, stage)
        except OSError as error:
            if not disk_is_full(error):
                work.keep(progress)
                raise
            work.remove()
            raise OperationError(
                f"The disk that holds {lock.path.parent} is full; nothing was written to {target}",
                fix="Free some space or choose an output folder on another disk with -o.",
            ) from error
        except OperationError:
            work.remove()
            raise
        except BaseException:
            with interrupts.held():
                work.keep(progress)
            raise
        work.remove()
    return manifest


def _quantize(
    checkpoint: Checkpoint,
    plan: Plan,
    packs: Sequence[Pack],
    device: torch.device,
    work: Workplace,
    lock: OutputLock,
    force: bool,
    facts: dict[str, Any],
    progress: Progress,
    stage: Stage,
) -> dict[str, Any]:
    assert checkpoint.manifest is not None, "quantize() has checked this"
    started, resumed = time.perf_counter(), work.finished
    needs = _output_bytes(checkpoint, plan) + SPARE_BYTES
    _run_parts(checkpoint, plan, packs, device, work, progress, stage)
    progress.note("writing the checkpoint")
    with publish_folder(lock.target, force, needs_bytes=needs, marker=MANIFEST_FILE, lock=lock) as folder:
        _write(checkpoint, plan, work, folder)
        progress.note("auditing the result")
        result = Checkpoint.open(folder)
        found = audit(result, head=plan.head)
        if found.problems:
            raise OperationError("the quantized checkpoint failed its audit", details=some(found.problems))
        manifest = describe(result, folder)
        manifest["source"] = checkpoint.manifest["source"]
        manifest["quantization"] |= {
            **json.loads(json.dumps(facts)),
            "bits_per_weight": found.bits_per_weight,
            "run": {
                "device": device.type,
                "seconds": round(time.perf_counter() - started, 1),
                "peak_resident_bytes": peak_resident_bytes(),
                "resumed_at_layer": resumed or None,
            },
        }
        write_json(folder / MANIFEST_FILE, manifest)
    return manifest


def _run_parts(
    checkpoint: Checkpoint,
    plan: Plan,
    packs: Sequence[Pack],
    device: torch.device,
    work: Workplace,
    progress: Progress,
    stage: Stage,
) -> None:
    quantizer = LayerwiseQuantizer(checkpoint, plan, packs, device)
    start = work.finished
    hidden: list[torch.Tensor] = []
    if packs and start < quantizer.parts:
        stored = work.hidden()
        # Hidden states are written after a part's tensors. After an interruption between the two, the part is repeated.
        start, hidden = (stored[0], [to_torch(rows) for rows in stored[1]]) if stored else (0, quantizer.embed())
    if start:
        progress.note(f"resuming at layer {start} of {checkpoint.config.num_hidden_layers}")
        stage.advance(start, earlier=True)
    for part in range(start, quantizer.parts):
        tensors, hidden = quantizer.run(part, hidden, stage)
        work.store(part, tensors)
        del tensors
        # ModelOpt's modules have reference cycles, so a layer's memory is only freed by the garbage collector.
        gc.collect()
        if hidden:
            work.store_hidden(part + 1, [to_numpy(rows) for rows in hidden])


def _output_bytes(checkpoint: Checkpoint, plan: Plan) -> int:
    """Returns an upper bound on the size of the finished weights: scales of every kind are counted as float32."""
    total = checkpoint.weight_bytes
    for module, format in plan.formats.items():
        outputs, inputs = checkpoint.shape_of(f"{module}.weight")
        scales = inputs // format.group_size if format.group_size else 1
        if f"{module}.weight" in checkpoint.names:
            total -= checkpoint.nbytes_of(f"{module}.weight")
        total += outputs * inputs * format.algorithm.weight_bits // 8 + 4 * outputs * scales + 4 * inputs
    return total


def _write(checkpoint: Checkpoint, plan: Plan, work: Workplace, folder: Path) -> None:
    parts = [work.part(part) for part in range(checkpoint.config.num_hidden_layers + 1)]
    sources: list[tuple[str, SafetensorsFile]] = [(name, part) for part in parts for name in part.tensors]
    declared = {EMBEDDING: (checkpoint.dtype_of(EMBEDDING), checkpoint.shape_of(EMBEDDING))}
    declared |= {name: (part.tensors[name].dtype, part.tensors[name].shape) for name, part in sources}
    if not plan.head and not checkpoint.has_tied_head:
        declared[HEAD] = (checkpoint.dtype_of(HEAD), checkpoint.shape_of(HEAD))
    with SafetensorsWriter(folder / WEIGHTS_FILE, declared) as writer:
        for name, part in sources:
            writer.write_chunks(name, part.chunks(name))
        for name in declared.keys() - {name for name, _ in sources}:
            writer.write_chunks(name, checkpoint.chunks(name))
    if checkpoint.adapter is not None:
        copy_adapter(checkpoint.adapter, folder / adapters.ADAPTER_FOLDER)
    if checkpoint.draft_head is not None:
        copy_draft_head(checkpoint.draft_head, folder / DRAFT_FOLDER)
    from modelopt.torch.export.convert_hf_config import convert_hf_quant_config_format

    with quietly():
        block = convert_hf_quant_config_format(dict(plan.hf_quant_config))
    write_json(folder / CONFIG_FILE, {**checkpoint.raw_config, CONFIG_KEY: block})
    write_json(folder / QUANT_CONFIG_FILE, dict(plan.hf_quant_config))
    checkpoint.copy_companions(folder)
