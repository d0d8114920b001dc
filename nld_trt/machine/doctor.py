# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine can do: capabilities, what each needs, and what to do about a need that is not met.

The capabilities of this module need no engine. Those of the backends are in :mod:`nld_trt.engine.capabilities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nld_trt.machine.environment import Environment
from nld_trt.machine.installed import release
from nld_trt.optional import install_command

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
    """Something that a capability cannot do without."""

    def check(self, environment: Environment) -> Finding:
        """Look it up in the record of a machine."""


@dataclass(frozen=True)
class Package:
    """A distribution, from ``minimum`` on and before ``below``, that ``extra`` brings (None: nld-trt itself)."""

    name: str
    minimum: str
    extra: str | None = None
    below: str | None = None

    def check(self, environment: Environment) -> Finding:
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
class AnyGpu:
    """An NVIDIA GPU.

    Attributes:
        capabilities: the compute capabilities that will do, each as a message writes it: ``10.0 (GB200)`` for 10.0.
            Empty if all will do.
    """

    capabilities: Mapping[str, str]

    def check(self, environment: Environment) -> Finding:
        present = [f"{gpu.name} ({gpu.compute_capability or 'compute capability unknown'})" for gpu in environment.gpus]
        for gpu, text in zip(environment.gpus, present, strict=True):
            if not self.capabilities or gpu.compute_capability in self.capabilities:
                return Finding("ok", text)
        text = f"no such GPU: {', '.join(present)}" if present else "no NVIDIA GPU, or no driver that answers"
        return Finding("missing", text, f"use a machine with an NVIDIA GPU{self._wanted()}")

    def _wanted(self) -> str:
        if not self.capabilities:
            return ""
        *others, last = self.capabilities.values()
        return f" of compute capability {' or '.join(filter(None, [', '.join(others), last]))}"


@dataclass(frozen=True)
class GpuBuild:
    """A build of a distribution that can use the machine's GPU, if it has one: wheels for CPUs alone say so in their
    version, as in ``2.13.0+cpu``.

    Attributes:
        fix: what to do about a build for CPUs.
    """

    name: str
    fix: str

    def check(self, environment: Environment) -> Finding:
        version = environment.packages.get(self.name, "")
        if environment.gpus and version.endswith("+cpu"):
            text = f"{self.name} {version} is a build for CPUs, and this machine has {environment.gpus[0].name}"
            return Finding("missing", text, self.fix)
        return Finding("ok", f"{self.name} is a build for this machine")


@dataclass(frozen=True)
class Tritonserver:
    """The server's binary."""

    def check(self, environment: Environment) -> Finding:
        if environment.tritonserver:
            return Finding("ok", f"tritonserver at {environment.tritonserver}")
        return Finding("missing", "no tritonserver on PATH or in the package nvidia-pytriton", install_command("serve"))


@dataclass(frozen=True)
class Capability:
    """Something a user wants to do.

    Attributes:
        name: what ``nld-trt doctor --for`` takes.
        about: the same in words, to be read after "can".
    """

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


def judge(capability: Capability, environment: Environment) -> Verdict:
    """Whether the machine of ``environment`` has everything that a capability needs."""
    findings = [need.check(environment) for need in capability.needs]
    state = max((finding.state for finding in findings), key=STATES.index)
    shown = [finding for finding in findings if state == "ok" or finding.state != "ok"]
    fixes = dict.fromkeys(finding.fix for finding in shown if finding.fix)
    return Verdict(capability.name, capability.about, state, tuple(f.text for f in shown), tuple(fixes))


# What several capabilities need. Minimum versions are pyproject.toml's; a test compares them.
TEXT: tuple[Need, ...] = (Package("tokenizers", "0.21"), Package("jinja2", "3.1.6"))
CHECKPOINT: tuple[Need, ...] = (Package("numpy", "1.26"), Package("ml_dtypes", "0.5"), *TEXT)
GRAPH: tuple[Need, ...] = (*CHECKPOINT, Package("onnx", "1.23"))

BEFORE_ENGINES: tuple[Capability, ...] = (
    Capability("convert", "convert a released checkpoint", CHECKPOINT),
    Capability(
        "hub",
        "convert a model by its id on the Hugging Face hub",
        (*CHECKPOINT, Package("huggingface_hub", "2.4", "hub")),
    ),
    Capability(
        "quantize",
        "quantize a checkpoint",
        (
            *CHECKPOINT,
            Package("torch", "2.6", "quantize"),
            Package("nvidia-modelopt", "0.47", "quantize"),
            Package("requests", "2.32", "quantize"),
            Package("datasets", "3.0", "quantize"),
        ),
    ),
)

AROUND_ENGINES: tuple[Capability, ...] = (
    # The server's Python stub is built for NumPy 1.x.
    Capability(
        "serve",
        "start Triton Inference Server here",
        (Tritonserver(), Package("numpy", "1.26", "serve", below="2"), *TEXT),
    ),
    Capability(
        "openai-front",
        "serve OpenAI's clients in front of a server",
        (
            Package("fastapi", "0.165", "openai"),
            Package("uvicorn", "0.54", "openai"),
            Package("tritonclient", "2.57", "openai"),
            *TEXT,
        ),
    ),
    Capability("client", "talk to a running server", (Package("tritonclient", "2.57", "serve"),)),
    Capability("sweep-plots", "draw the plots of a sweep", (Package("matplotlib", "3.9", "plot"),)),
    Capability(
        "gpu-telemetry",
        "record GPU clocks and power in a sweep",
        (Package("nvidia-ml-py", "12.560", "gpu"), AnyGpu({})),
    ),
)
