# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``ort`` backend: the graph itself, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from nld_trt.engine.backend import Artefact, BuildPlan, Stage
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError, OperationError
from nld_trt.graph import contract
from nld_trt.graph.export import MODEL_FILE, WEIGHTS_FILE, load_graph, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.checkpoint import Checkpoint


class OrtBackend:
    name = "ort"
    precisions = ("fp32", "fp16")
    default_precision = "fp32"

    def check(self, plan: BuildPlan) -> None:
        if plan.precision not in self.precisions:
            raise InputError(
                f"the ort backend cannot compute in {plan.precision}: ONNX Runtime has no such kernels for the CPU; "
                f"it has {', '.join(self.precisions)}",
                fix=f"Build with --precision {self.default_precision} or leave --precision out.",
            )

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, stage: Stage) -> Artefact:
        import onnxruntime

        target = folder / self.name
        target.mkdir()
        with stage("ort: writing graph and weights"):
            model = write_graph(
                checkpoint,
                target,
                precision=PRECISIONS[plan.precision],
                limits=plan.limits,
                adapter=plan.adapter,
                static_capacity=False,
                debug=plan.debug,
            )
        with stage("ort: loading and checking"):
            proof = self._prove(model, checkpoint, plan)
        files = {"model": f"{self.name}/{MODEL_FILE}", "weights": f"{self.name}/{WEIGHTS_FILE}"}
        return Artefact(self.name, plan.precision, files, tools={"onnxruntime": onnxruntime.__version__}, proof=proof)

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo) -> Session:
        from nld_trt.engine.ort_session import OrtSession

        return OrtSession(folder / artefact.files["model"], info)

    def _prove(self, model: Path, checkpoint: Checkpoint, plan: BuildPlan) -> dict[str, Any]:
        """Load the graph as it will be used and compare it with what was asked for."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        element = {"fp32": "tensor(float)", "fp16": "tensor(float16)"}[plan.precision]
        types = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
        problems = []
        for binding in contract.BINDINGS:
            if binding.debug and not plan.debug:
                continue
            for name in binding.names(checkpoint.config):
                if name not in types:
                    problems.append(f"binding {name} is missing")
                elif binding.dtype == "activation" and types[name] != element:
                    problems.append(f"binding {name} is {types[name]}, not {element}")
        operators = Counter(node.op_type for node in load_graph(model).graph.node)
        if operators["Attention"] != checkpoint.config.num_hidden_layers:
            problems.append(
                f"{operators['Attention']} attention nodes for {checkpoint.config.num_hidden_layers} layers"
            )
        if problems:
            raise OperationError("the ort engine is not what was asked for", details=problems)
        return {"attention_nodes": operators["Attention"], "activation": element}
