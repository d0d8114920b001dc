# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``trt-rtx`` and ``trt`` backends: compiled, proven plans for NVIDIA GPUs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from nld_trt.engine.backend import BACKENDS, Artefact, BuildPlan
from nld_trt.engine.gpu.kernels.image import Image, check_compiler, check_driver, compile_kernels
from nld_trt.engine.gpu.kernels.launch import check_sizes
from nld_trt.engine.layer_proof import QuantizedWeights
from nld_trt.engine.platforms import titles_with
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.trt import compile as trt_build
from nld_trt.engine.trt import proof as trt_proof
from nld_trt.engine.trt.executor import open_session
from nld_trt.engine.trt.flavour import PLAN_FILE, TRT, TRT_RTX, Flavour
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.plugin import register_plugins
from nld_trt.errors import InputError
from nld_trt.files import human_bytes
from nld_trt.graph.contract import Limits, quadratic_width
from nld_trt.graph.export import WEIGHTS_FILE, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.machine.gpu import Gpu, driver_cuda_version, present_gpus
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.progress import SILENT, Progress


class TensorRtBackend:
    """A backend on one of the TensorRT libraries."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.name = flavour.name
        self.traits = BACKENDS[flavour.name]

    def check(self, plan: BuildPlan) -> None:
        flavour = self.flavour
        if plan.precision not in self.traits.precisions:
            raise InputError(
                f"the {self.name} backend cannot compute in {plan.precision}: {flavour.title} has fused attention "
                f"kernels for {' and '.join(self.traits.precisions)} only",
                fix=f"Build with --precision {self.traits.default_precision} or leave --precision out.",
            )
        self._check_targets(plan)
        flavour.load()
        if flavour.builds_on_target:
            self._check_build_gpu(plan)
        if plan.plugins:
            self._check_plugins(plan)

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, progress: Progress) -> Artefact:
        flavour, config = self.flavour, checkpoint.config
        trt = flavour.load()
        plan = replace(plan, compute_capabilities=self._capabilities(plan))
        image = self._register_plugins(checkpoint, plan) if plan.plugins else None
        target = folder / self.name
        target.mkdir()
        path = target / PLAN_FILE
        # An interrupted compiler may still have its files open, which network file systems then keep for it.
        with tempfile.TemporaryDirectory(prefix="graph-", dir=target, ignore_cleanup_errors=True) as scratch:
            with progress.stage(f"{self.name}: writing graph and weights"):
                model = write_graph(
                    checkpoint,
                    Path(scratch),
                    precision=PRECISIONS[plan.precision],
                    limits=plan.limits,
                    adapter=plan.adapter,
                    static_capacity=True,
                    dialect="tensorrt",
                    debug=plan.debug,
                    operators="plugins" if plan.plugins else "functions",
                )
            quantized = QuantizedWeights(checkpoint.formats, Path(scratch, WEIGHTS_FILE).stat().st_size)
            with progress.stage(f"{self.name}: parsing and checking the network"):
                parsed = trt_build.parse_network(trt, model)
                facts = NetworkFacts.read(trt, parsed.network)
                proof = trt_proof.prove_network(facts, config, plan, quantized)
            with progress.stage(f"{self.name}: compiling for {', '.join(plan.compute_capabilities)}"):
                trt_build.compile_plan(parsed, flavour, plan, config, path)
            log = parsed.log
            del parsed  # with the compiler's memory and the mapped weights
        with progress.stage(f"{self.name}: checking the plan"):
            listing = trt_build.inspect_plan(trt, path) if flavour.builds_on_target else log.listing
            proof |= trt_proof.prove_plan(path, log, listing, facts, config, plan, quantized)
        return Artefact(
            self.name,
            plan.precision,
            {"plan": f"{self.name}/{PLAN_FILE}"},
            compute_capabilities=plan.compute_capabilities,
            tools={flavour.module: trt.__version__, **({"nvrtc": image.compiler_version} if image else {})},
            proof=proof,
        )

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo, progress: Progress = SILENT) -> Session:
        trt = self.flavour.load()
        self._check_version(trt.__version__, artefact)
        plan = folder / artefact.files["plan"]
        self._check_run_gpu(artefact, info, plan.stat().st_size)
        return open_session(self.flavour, plan, info)

    def _check_plugins(self, plan: BuildPlan) -> None:
        if not self.traits.takes_plugins:
            raise InputError(
                f"the {self.name} backend was asked for plugins, and {self.flavour.title} has none: it runs the decode "
                "operators in their ONNX form",
                fix="Build with --no-plugins, or with --backend trt on a machine with its GPU.",
            )
        limits = plan.limits
        check_sizes({"batch": limits.max_batch_size, "width": _widest_window(limits)})
        supported = driver_cuda_version()
        for capability in self._capabilities(plan):
            nvrtc = check_compiler(capability)
            if supported:
                check_driver(nvrtc, supported)

    def _register_plugins(self, checkpoint: Checkpoint, plan: BuildPlan) -> Image:
        """Compile the kernels and make them known to the library, which keeps them in the plan."""
        limits = plan.limits
        image = compile_kernels(self._capabilities(plan)[0])
        register_plugins(
            image, batch=limits.max_batch_size, width=_widest_window(limits), vocab=checkpoint.config.vocab_size
        )
        return image

    def _capabilities(self, plan: BuildPlan) -> tuple[str, ...]:
        return plan.compute_capabilities or (present_gpus()[0].known_capability(),)

    def _check_targets(self, plan: BuildPlan) -> None:
        flavour = self.flavour
        if not flavour.targets:
            return
        exists = f"{flavour.title} compiles for {', '.join(flavour.targets)}"
        if not plan.compute_capabilities:
            raise InputError(
                f"the {self.name} backend was given no compute capability to compile for; {exists}",
                fix="Name a platform: --platform rtx-pro-6000",
            )
        unknown = [name for name in plan.compute_capabilities if name not in flavour.targets]
        if unknown:
            raise InputError(
                f"the {self.name} backend cannot compile for compute capability "
                f"{', '.join(f'{name}{titles_with(name)}' for name in unknown)}; {exists}",
                fix="For that GPU use TensorRT, on a machine that has it: --backend trt",
            )

    def _check_build_gpu(self, plan: BuildPlan) -> None:
        gpu = self._gpu(f"{self.flavour.title} compiles on the GPU that it compiles for")
        if plan.compute_capabilities and plan.compute_capabilities != (gpu.known_capability(),):
            asked = ", ".join(f"{name}{titles_with(name)}" for name in plan.compute_capabilities)
            raise InputError(
                f"the {self.name} backend was asked for compute capability {asked}, and this machine has "
                f"{_described(gpu)}: {self.flavour.title} compiles on the GPU that it compiles for",
                fix="Build on a machine with that GPU, or with --backend trt-rtx where TensorRT for RTX has it.",
            )

    def _check_version(self, present: str, artefact: Artefact) -> None:
        built = artefact.tools.get(self.flavour.module)
        if present != built:
            raise InputError(
                f"the {self.name} engine was built with {self.flavour.title} {built}, and this machine has "
                f"{present}: a plan runs on the version that compiled it",
                fix=f'Install that version: pip install "{self.flavour.module}=={built}". {self._rebuild()}',
            )

    def _check_run_gpu(self, artefact: Artefact, info: EngineInfo, plan_bytes: int) -> None:
        built = ", ".join(artefact.compute_capabilities)
        gpu = self._gpu(f"the {self.name} engine was built for compute capability {built}")
        if gpu.known_capability() not in artefact.compute_capabilities:
            raise InputError(
                f"the {self.name} engine was built for compute capability {built}, and this machine has "
                f"{_described(gpu)}",
                fix=self._rebuild(),
            )
        cache_bytes = (
            info.config.kv_elements_per_token
            * PRECISIONS[info.precision].bytes
            * info.limits.capacity
            * info.limits.max_batch_size
        )
        needed = plan_bytes + cache_bytes + (artefact.proof.get("activation_bytes") or 0)
        if gpu.memory_bytes is not None and needed > gpu.memory_bytes:
            raise InputError(
                f"the {self.name} engine needs {human_bytes(needed)} of GPU memory, {human_bytes(cache_bytes)} of it "
                f"for caches, and {_described(gpu)} has {human_bytes(gpu.memory_bytes)}",
                fix="Build with a smaller --max-batch-size or --max-seq-len.",
            )

    def _gpu(self, why: str) -> Gpu:
        gpus = present_gpus()
        if not gpus:
            raise InputError(
                f"the {self.name} backend needs an NVIDIA GPU with its driver, and this machine has none: {why}",
                fix="Check with nvidia-smi; engines for this machine's CPU are built with --backend ort.",
            )
        return gpus[0]

    def _rebuild(self) -> str:
        return f"To rebuild for this machine: nld-trt build CHECKPOINT -o ENGINE_DIR --backend {self.name}"


def _widest_window(limits: Limits) -> int:
    """The most tokens of a row whose logits a pass may want."""
    return max(limits.max_block_length, quadratic_width(limits.max_quadratic_length))


def _described(gpu: Gpu) -> str:
    return f"{gpu.name} ({gpu.compute_capability})"


class TrtRtxBackend(TensorRtBackend):
    def __init__(self) -> None:
        super().__init__(TRT_RTX)


class TrtBackend(TensorRtBackend):
    def __init__(self) -> None:
        super().__init__(TRT)
