# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``ort`` backend, which runs the graph with ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, Artefact, BuildPlan
from nld_trt.engine.layer_proof import LayerKernel, LayerProof
from nld_trt.engine.ort.threads import Threads
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError, OperationError
from nld_trt.files import opened_path, path_of_library
from nld_trt.graph import contract
from nld_trt.graph.export import MODEL_FILE, WEIGHTS_FILE, write_graph
from nld_trt.graph.network.head import rounded_head_format
from nld_trt.graph.network.products import by_layer
from nld_trt.graph.precision import PRECISIONS
from nld_trt.interrupts import interruptible
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import HEAD_MODULE
from nld_trt.model.quantized.formats import LinearFormat
from nld_trt.progress import SILENT, Progress

# The operator whose kernels read packed weights. ONNX Runtime fuses dequantization and matrix product into it.
_QUANTIZED_KERNEL = "MatMulNBits"
# The operators that attend: one where every row has one new token, and one in all other forwards.
_ONE_TOKEN_ATTENTION, _ATTENTION = "GroupQueryAttention", "Attention"
_KERNEL_SUFFIX = "_kernel_time"


class OrtBackend:
    traits = BACKENDS[names.ORT]

    def check(self, plan: BuildPlan) -> None:
        # A build ends by loading the engine, whose threads are set by the environment: wrong values are refused here,
        # before anything is written.
        Threads.from_environment()
        if plan.precision not in self.traits.precisions:
            raise InputError(
                f"the ort backend cannot compute in {plan.precision}: ONNX Runtime has no such kernels for the CPU; "
                f"it has {', '.join(self.traits.precisions)}",
                fix=f"Build with --precision {self.traits.default_precision} or leave --precision out.",
            )

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, progress: Progress) -> Artefact:
        import onnxruntime

        target = folder / self.traits.name
        target.mkdir()
        with progress.stage("ort: writing graph and weights"):
            model = write_graph(
                checkpoint,
                target,
                precision=PRECISIONS[plan.precision],
                limits=plan.limits,
                adapter=plan.adapter,
                static_capacity=False,
                debug=plan.debug,
                head=_head_format(checkpoint, plan),
            )
        with progress.stage("ort: loading and checking"):
            proof = self._prove(model, checkpoint, plan)
        files = {"model": f"{self.traits.name}/{MODEL_FILE}", "weights": f"{self.traits.name}/{WEIGHTS_FILE}"}
        return Artefact(
            self.traits.name, plan.precision, files, tools={"onnxruntime": onnxruntime.__version__}, proof=proof
        )

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo, progress: Progress = SILENT) -> Session:
        from nld_trt.engine.ort.session import OrtSession

        return OrtSession(folder / artefact.files["model"], info)

    def _prove(self, model: Path, checkpoint: Checkpoint, plan: BuildPlan) -> dict[str, Any]:
        """Load the graph as a session does, run both of its forms, and compare bindings and kernels with the plan."""
        import onnxruntime

        from nld_trt.engine.ort.session import session_options

        element = {names.FP32: "tensor(float)", names.FP16: "tensor(float16)"}[plan.precision]
        options = session_options()
        options.enable_profiling = True
        with tempfile.TemporaryDirectory(prefix="profile-", dir=model.parent, ignore_cleanup_errors=True) as scratch:
            options.profile_file_prefix = opened_path(Path(scratch, names.ORT))
            session = interruptible(
                lambda: onnxruntime.InferenceSession(opened_path(model), options, providers=["CPUExecutionProvider"])
            )
            types = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
            _refuse(_binding_problems(types, element, checkpoint, plan))
            for width in (1, 2):
                session.run(None, _forward(checkpoint, plan, width))
            kernels = _kernels(path_of_library(session.end_profiling()))
        config, counts = checkpoint.config, Counter(kernels.values())
        wanted = {
            _ONE_TOKEN_ATTENTION: config.num_hidden_layers,
            _ATTENTION: contract.attention_count(config, plan.limits),
        }
        found = {kind: counts[kind] for kind in wanted}
        problems = [
            f"{found[kind]} {kind} nodes, not {count}" for kind, count in wanted.items() if found[kind] != count
        ]
        readers = {name: LayerKernel(kind, kind == _QUANTIZED_KERNEL) for name, kind in by_layer(kernels).items()}
        head = _head_format(checkpoint, plan)
        formats = {**checkpoint.formats, **({HEAD_MODULE: head} if head else {})}
        proof = LayerProof.compare(self.traits.name, formats, readers)
        _refuse([*problems, *proof.problems])
        rounded = {"head_rounded_to": head.to_dict()} if head else {}
        return {"attention_nodes": found[_ATTENTION], "activation": element, **rounded, **proof.to_dict()}


def _head_format(checkpoint: Checkpoint, plan: BuildPlan) -> LinearFormat | None:
    """The format that the build rounds the head to; None where it stays as the checkpoint has it."""
    return rounded_head_format(checkpoint) if plan.head == names.DEFAULT_HEAD else None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise OperationError("the ort engine is not what was asked for", details=problems)


def _binding_problems(types: Mapping[str, str], activation: str, checkpoint: Checkpoint, plan: BuildPlan) -> list[str]:
    """Find bindings of the contract that are missing, or that have another precision. ``types`` is by binding name."""
    problems = []
    for binding in contract.BINDINGS:
        if binding.debug and not plan.debug:
            continue
        for name in binding.names(checkpoint.config):
            if name not in types:
                problems.append(f"binding {name} is missing")
            elif binding.dtype == "activation" and types[name] != activation:
                problems.append(f"binding {name} is {types[name]}, not {activation}")
    return problems


def _forward(checkpoint: Checkpoint, plan: BuildPlan, width: int) -> dict[str, Any]:
    """Make the inputs of a forward of one row with ``width`` new tokens, in which every other run-time size is 1."""
    lengths = dict.fromkeys(("width", "attended", "capacity"), width)
    run_time = {**dict.fromkeys(("batch", "window", "slots"), 1), **lengths}
    sizes = {**contract.fixed_axes(checkpoint.config), **run_time}
    activation = PRECISIONS[plan.precision].numpy_type
    feeds: dict[str, Any] = {}
    for binding in contract.bindings("input", config=checkpoint.config):
        dtype = activation if binding.dtype == "activation" else np.dtype(binding.dtype)
        for name in binding.names(checkpoint.config):
            feeds[name] = np.zeros([sizes[axis] for axis in binding.axes], dtype)
    if "next_token" in feeds:
        feeds["next_token"] += contract.DRAFTED
    return {**feeds, "valid_count": np.full(1, width, np.int32)}


def _kernels(profile: Path) -> Mapping[str, str]:
    """Read which operator every kernel ran, by the name of its node. A fused kernel keeps the name of one node."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    return {
        event["name"].removesuffix(_KERNEL_SUFFIX): event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_SUFFIX)
    }
