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
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError, OperationError
from nld_trt.files import opened_path, path_of_library
from nld_trt.graph import contract
from nld_trt.graph.export import MODEL_FILE, WEIGHTS_FILE, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.interrupts import interruptible
from nld_trt.machine.threads import default_threads
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.progress import SILENT, Progress

# The operator whose kernels read packed weights. ONNX Runtime fuses dequantization and matrix product into it.
_QUANTIZED_KERNEL = "MatMulNBits"
_KERNEL_SUFFIX = "_kernel_time"


class OrtBackend:
    traits = BACKENDS[names.ORT]

    def check(self, plan: BuildPlan) -> None:
        # A build ends by loading the engine, which reads the number of threads from the environment: a wrong number is
        # refused here, before anything is written.
        default_threads()
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
        """Load the graph as a session does, run one token, and compare bindings and kernels with the plan."""
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
            session.run(None, _one_token(checkpoint, plan))
            kernels = _kernels(path_of_library(session.end_profiling()))
        found, wanted = Counter(kernels.values())["Attention"], checkpoint.config.num_hidden_layers
        problems = [f"{found} attention nodes for {wanted} layers"] if found != wanted else []
        readers = {name: LayerKernel(kind, kind == _QUANTIZED_KERNEL) for name, kind in kernels.items()}
        layers = LayerProof.compare(self.traits.name, checkpoint.formats, readers)
        _refuse([*problems, *layers.problems])
        return {"attention_nodes": found, "activation": element, **layers.to_dict()}


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


def _one_token(checkpoint: Checkpoint, plan: BuildPlan) -> dict[str, Any]:
    """Make the inputs of the smallest forward, in which every run-time size is 1."""
    run_time = dict.fromkeys(("batch", "width", "window", "slots", "attended", "capacity"), 1)
    sizes = {**contract.fixed_axes(checkpoint.config), **run_time}
    activation = PRECISIONS[plan.precision].numpy_type
    feeds: dict[str, Any] = {}
    for binding in contract.bindings("input"):
        dtype = activation if binding.dtype == "activation" else np.dtype(binding.dtype)
        for name in binding.names(checkpoint.config):
            feeds[name] = np.zeros([sizes[axis] for axis in binding.axes], dtype)
    return {**feeds, "valid_count": np.ones(1, np.int32)}


def _kernels(profile: Path) -> Mapping[str, str]:
    """Read which operator every kernel ran, by the name of its node. A fused kernel keeps the name of one node."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    return {
        event["name"].removesuffix(_KERNEL_SUFFIX): event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_SUFFIX)
    }
