# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a backend is: a compiler of the graph, and a way to open what it compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nld_trt.engine.session import EngineInfo, Session
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint

# Reports a long step: entered when it starts, left when it ends.
Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class BuildPlan:
    """What one backend is asked to build.

    Attributes:
        precision: a key of ``graph.precision.PRECISIONS``.
        adapter: include the draft adapter's branch.
        compute_capabilities: GPU targets such as ``12.0``; empty for backends that have none.
        debug: add the contract's debug outputs.
        plugins: run the decode operators as the project's own CUDA kernels, not as standard operators.
        kv_cache: one of ``build_config.KV_CACHES``.
    """

    backend: str
    precision: str
    limits: Limits
    adapter: bool
    compute_capabilities: tuple[str, ...] = ()
    debug: bool = False
    plugins: bool = False
    kv_cache: str = "auto"


@dataclass(frozen=True)
class Artefact:
    """What a backend built, as the engine manifest keeps it.

    Attributes:
        files: role to path, relative to the engine folder.
        tools: library name to version.
        proof: facts read back from the result that show it is what was asked for.
    """

    backend: str
    precision: str
    files: Mapping[str, str]
    compute_capabilities: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Artefact:
        return cls(**{**values, "compute_capabilities": tuple(values["compute_capabilities"])})


class Backend(Protocol):
    """One engine library. Modules import their library only inside these calls."""

    name: str
    precisions: tuple[str, ...]
    default_precision: str

    def check(self, plan: BuildPlan) -> None:
        """Refuse what cannot be built, before any work.

        Raises:
            InputError: naming the setting and what is possible, or the missing library and its install command.
        """

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, stage: Stage) -> Artefact:
        """Build into ``folder``/``name`` and prove the result.

        Raises:
            OperationError: the compiler failed, or what it built is not what was asked for.
        """

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo) -> Session:
        """A session on a built engine.

        Raises:
            InputError: this machine cannot run it; the message says which machine can.
        """
