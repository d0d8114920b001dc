# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Cost tables beside their engine: a file in the engine folder for each device that the engine was timed on.

The manifest does not list these files, and verification lets them be. The name carries the hash of the engine's files,
its backend and the device with its highest clock, so that a table of another engine or device is never read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.decode.auto.costs import CostTable
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError, NldError
from nld_trt.files import publish_file, write_json
from nld_trt.machine import environment

log = logging.getLogger(__name__)

_HASH_DIGITS = 12
_PREFIX = "costs-"


@dataclass(frozen=True)
class TablePlace:
    """Where the table of one engine, on one backend and device, is stored.

    Attributes:
        engine: hash of the files that the backend runs.
        device: name of the GPU or CPU, as reports have it.
        highest_clocks: what of the device's clocks is the same at every start; empty for a CPU.
    """

    folder: Path
    backend: str
    engine: str
    device: str
    highest_clocks: tuple[Any, ...] = ()

    @classmethod
    def of(cls, folder: EngineFolder, backend: str, *, gpu: bool, facts: Mapping[str, Any] | None = None) -> TablePlace:
        """The place for ``backend`` of an engine, on this machine.

        Args:
            gpu: whether the backend computes on the GPU here (``session.device``).
            facts: of :func:`nld_trt.machine.environment.facts`, where the caller has them.
        """
        facts = environment.facts() if facts is None else facts
        device, _ = environment.device_of(facts, gpu=gpu)
        first = next(iter(facts["gpus"]), None) if gpu else None
        clocks = () if first is None else (first["max_sm_clock_mhz"], first["power_limit_w"])
        return cls(folder.path, backend, engine_identity(folder, backend), device, clocks)

    @property
    def path(self) -> Path:
        key = json.dumps([self.engine, self.backend, self.device, self.highest_clocks])
        return self.folder / f"{_PREFIX}{self.backend}-{hashlib.sha256(key.encode()).hexdigest()[:_HASH_DIGITS]}.json"

    def load(self) -> CostTable | None:
        """The stored table; None where there is none, or none that can be read, of which a warning is logged."""
        if not self.path.is_file():
            return None
        try:
            return CostTable.read(self.path)
        except InputError as error:
            log.warning("the cost table %s is not used: %s", self.path, error.what)
            return None

    def store(self, table: CostTable) -> Path | None:
        """Write the table, and return its path; None where it cannot be written, of which a warning is logged."""
        try:
            with publish_file(self.path) as work:
                write_json(work, table.to_dict())
        except (NldError, OSError) as error:
            reason = error.what if isinstance(error, NldError) else error.strerror
            log.warning("the cost table stays in memory and is measured again at the next start: %s", reason)
            return None
        return self.path


def tables_in(folder: Path) -> list[Path]:
    """The cost tables that are stored in an engine folder."""
    return sorted(path for path in folder.iterdir() if is_table(path))


def is_table(path: Path) -> bool:
    """Whether a file of an engine folder is a cost table, by its name."""
    return path.name.startswith(_PREFIX) and path.suffix == ".json"


def engine_identity(folder: EngineFolder, backend: str) -> str:
    """SHA-256 of the hashes of all files that ``backend`` runs; templates and tokenizers do not change the time."""
    manifest = folder.manifest
    hashes = sorted(manifest.files[path].sha256 for path in manifest.backends[backend].files.values())
    return hashlib.sha256(json.dumps([manifest.limits.to_dict(), hashes], sort_keys=True).encode()).hexdigest()
