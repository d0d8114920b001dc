# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt doctor``: what this machine can do, and the command that adds what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import click

from nld_trt import names
from nld_trt.cli._output import json_option, output

if TYPE_CHECKING:
    from nld_trt.machine.environment import Environment

# From good to bad: a capability is as good as the worst thing it needs.
STATES = ("ok", "too old", "too new", "missing")
State = Literal["ok", "too old", "too new", "missing"]


@dataclass(frozen=True)
class Finding:
    """One need, looked up: ``text`` says what is there or is not, ``fix`` what to do about it."""

    state: State
    text: str
    fix: str | None = None


class Need(Protocol):
    def check(self, environment: Environment) -> Finding: ...


@dataclass(frozen=True)
class Package:
    """A distribution, from ``minimum`` on and before ``below``, that ``extra`` brings (None: nld-trt itself)."""

    name: str
    minimum: str
    extra: str | None = None
    below: str | None = None

    def check(self, environment: Environment) -> Finding:
        from nld_trt.machine.environment import release

        version = environment.packages.get(self.name)
        if version is None:
            return Finding("missing", f"{self.name} is not installed", self._fix(upgrade=self.extra is None))
        if release(version) < release(self.minimum):
            return Finding("too old", f"{self.name} {version} is older than {self.minimum}", self._fix(upgrade=True))
        if self.below and release(version) >= release(self.below):
            text = f"{self.name} {version} is not older than {self.below}"
            return Finding("too new", text, f'pip install "{self.name}<{self.below}"')
        return Finding("ok", f"{self.name} {version}")

    def _fix(self, *, upgrade: bool) -> str:
        from nld_trt.optional import install_command

        return install_command(self.extra, upgrade=upgrade) if self.extra else "pip install --upgrade nld-trt"


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime; only an onnxruntime that can be imported has any."""

    name: str

    def check(self, environment: Environment) -> Finding:
        if self.name in environment.ort_providers:
            return Finding("ok", self.name)
        found = ", ".join(environment.ort_providers) or "no provider: onnxruntime cannot be imported"
        return Finding("missing", f"{self.name} is not among: {found}", "pip install --force-reinstall onnxruntime")


@dataclass(frozen=True)
class GpuFor:
    """A GPU that engines of ``backend`` run on; None for any NVIDIA GPU."""

    backend: str | None = None

    def check(self, environment: Environment) -> Finding:
        from nld_trt.engine.platforms import PLATFORMS, titles_with
        from nld_trt.engine.trt.flavour import TRT_RTX

        # A plan for RTX runs on what the library compiles for; a TensorRT one on the platforms that are supported.
        known = {
            None: None,
            names.TRT_RTX: [*TRT_RTX.targets],
            names.TRT: [
                name for it in PLATFORMS.values() if names.TRT in it.backends for name in it.compute_capabilities
            ],
        }[self.backend]
        present = [f"{gpu.name} ({gpu.compute_capability or 'compute capability unknown'})" for gpu in environment.gpus]
        for gpu, text in zip(environment.gpus, present, strict=True):
            if known is None or gpu.compute_capability in known:
                return Finding("ok", text)
        wanted = f"an NVIDIA GPU{'' if known is None else ' of compute capability ' + _either(known, titles_with)}"
        text = f"no such GPU: {', '.join(present)}" if present else "no NVIDIA GPU, or no driver that answers"
        return Finding("missing", text, f"use a machine with {wanted}")


@dataclass(frozen=True)
class Tritonserver:
    """The server's binary."""

    def check(self, environment: Environment) -> Finding:
        from nld_trt.optional import install_command

        if environment.tritonserver:
            return Finding("ok", f"tritonserver at {environment.tritonserver}")
        return Finding("missing", "no tritonserver on PATH or in the package nvidia-pytriton", install_command("serve"))


@dataclass(frozen=True)
class Capability:
    """Something a user wants to do, by the name that ``--for`` takes."""

    name: str
    about: str
    needs: tuple[Need, ...]


@dataclass(frozen=True)
class Verdict:
    """A capability on this machine. ``findings`` are of the needs that fall short, or of all if none does."""

    name: str
    about: str
    state: State
    findings: tuple[str, ...]
    fixes: tuple[str, ...]


_TEXT = (Package("tokenizers", "0.21"), Package("jinja2", "3.1.6"))
_CHECKPOINT = (
    Package("numpy", "1.26"),
    Package("ml_dtypes", "0.5"),
    *_TEXT,
)
_GRAPH = (*_CHECKPOINT, Package("onnx", "1.23"))
_ORT = (Package("onnxruntime", "1.32"), Provider("CPUExecutionProvider"))
_RTX = Package("tensorrt-rtx", "1.7", "rtx")
_TRT = Package("tensorrt", "11.0", "tensorrt")

# In the order of the work. Minimum versions are pyproject.toml's (tests/cli/test_doctor.py compares them).
CAPABILITIES: tuple[Capability, ...] = (
    Capability("convert", "convert a released checkpoint", _CHECKPOINT),
    Capability(
        "quantize",
        "quantize a checkpoint",
        (
            *_CHECKPOINT,
            Package("torch", "2.6", "quantize"),
            Package("nvidia-modelopt", "0.47", "quantize"),
            Package("requests", "2.32", "quantize"),
            Package("datasets", "3.0", "quantize"),
        ),
    ),
    Capability("build-ort", "build an engine for ONNX Runtime", (*_GRAPH, *_ORT)),
    Capability("build-trt-rtx", "build a TensorRT for RTX engine, with or without a GPU", (*_GRAPH, _RTX)),
    Capability("build-trt", "build a TensorRT engine for this machine's GPU", (*_GRAPH, _TRT, GpuFor(names.TRT))),
    Capability(
        "build-kernels",
        "compile the decode kernels of a TensorRT engine, with or without a GPU",
        (Package("nvidia-cuda-nvrtc", "13.0", "plugins"),),
    ),
    Capability("run-ort", "run an engine on the CPU", (*_ORT, *_TEXT)),
    Capability(
        "run-trt-rtx",
        "run a TensorRT for RTX engine on this GPU",
        (_RTX, Package("cuda-python", "13.0", "rtx"), *_TEXT, GpuFor(names.TRT_RTX)),
    ),
    Capability(
        "run-trt",
        "run a TensorRT engine on this GPU",
        (_TRT, Package("cuda-python", "13.0", "tensorrt"), *_TEXT, GpuFor(names.TRT)),
    ),
    # The server's Python stub is built for NumPy 1.x.
    Capability(
        "serve",
        "start Triton Inference Server here",
        (Tritonserver(), Package("numpy", "1.26", "serve", below="2"), *_TEXT),
    ),
    Capability("client", "talk to a running server", (Package("tritonclient", "2.57", "serve"),)),
    Capability("sweep-plots", "draw the plots of a sweep", (Package("matplotlib", "3.9", "plot"),)),
    Capability(
        "gpu-telemetry",
        "record GPU clocks and power in a sweep",
        (Package("nvidia-ml-py", "12.560", "gpu"), GpuFor()),
    ),
)


def judge(capability: Capability, environment: Environment) -> Verdict:
    findings = [need.check(environment) for need in capability.needs]
    state = max((finding.state for finding in findings), key=STATES.index)
    shown = [finding for finding in findings if state == "ok" or finding.state != "ok"]
    fixes = dict.fromkeys(finding.fix for finding in shown if finding.fix)
    return Verdict(capability.name, capability.about, state, tuple(f.text for f in shown), tuple(fixes))


@click.command("doctor")
@click.option(
    "--for",
    "wanted",
    type=click.Choice([capability.name for capability in CAPABILITIES]),
    multiple=True,
    help="Look at this capability only, and exit with status 1 if it is not there. Can be repeated.",
)
@json_option
@click.pass_context
def command(context: click.Context, wanted: tuple[str, ...]) -> None:
    """Say what this machine can do, what is missing and the command that adds it.

    \b
    Examples:
      nld-trt doctor
      nld-trt doctor --for build-trt-rtx && nld-trt build checkpoint --platform dgx-spark -o engine
    """
    from nld_trt.machine import environment

    found = environment.collect()
    chosen = [capability for capability in CAPABILITIES if not wanted or capability.name in wanted]
    verdicts = [judge(capability, found) for capability in chosen]
    output.result(
        {"environment": asdict(found), "capabilities": [asdict(verdict) for verdict in verdicts]},
        "\n".join([*_machine(found), "", *_lines(verdicts)]),
    )
    if wanted and any(verdict.state != "ok" for verdict in verdicts):
        context.exit(1)


def _machine(found: Environment) -> Iterable[str]:
    memory = f"{found.memory_bytes / 2**30:.0f} GiB" if found.memory_bytes else "unknown size"
    yield f"nld-trt {found.nld_trt}, Python {found.python}, {found.os}"
    yield f"{found.cpu}, {found.cpu_cores} cores, memory of {memory}"
    for gpu in found.gpus:
        size = f", {gpu.memory_bytes / 2**30:.0f} GiB" if gpu.memory_bytes else ""
        yield f"{gpu.name}, compute capability {gpu.compute_capability or 'unknown'}{size}, driver {found.gpu_driver}"
    if not found.gpus:
        yield "no NVIDIA GPU"


def _lines(verdicts: Iterable[Verdict]) -> Iterable[str]:
    for verdict in verdicts:
        yield f"{verdict.state:8} {verdict.name:14} {verdict.about}"
        if verdict.state == "ok":
            yield from ([f"{'':24}{', '.join(verdict.findings)}"] if output.level > 0 else [])
            continue
        yield from (f"{'':24}{finding}" for finding in verdict.findings)
        yield from (f"{'':24}-> {fix}" for fix in verdict.fixes)


def _either(capabilities: Iterable[str], titles_with: Callable[[str], str]) -> str:
    titled = [f"{name}{titles_with(name)}" for name in dict.fromkeys(capabilities)]
    return f"{', '.join(titled[:-1])} or {titled[-1]}"
