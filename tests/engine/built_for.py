# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engine folders for GPUs that are not here: everything of an engine but a plan that a library would read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nld_trt.engine.backend import Artefact
from nld_trt.engine.folder import EngineFolder
from nld_trt.files import sha256_of
from nld_trt.machine.gpu import Gpu

PRO_6000 = Gpu("NVIDIA RTX PRO 6000", "12.0", 96 << 30)
SPARK = Gpu("NVIDIA GB10", "12.1", 128 << 30)
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 << 30)
L40S = Gpu("NVIDIA L40S", "8.9", 48 << 30)


def built_for(
    engine: EngineFolder,
    target: Path,
    capabilities: Mapping[str, Sequence[str]],
    *,
    keep: bool = False,
    **changes: Any,
) -> EngineFolder:
    """Write an engine folder with plans for other GPUs, and with the text files of ``engine``.

    Args:
        capabilities: compute capabilities of the plan of each backend.
        keep: also keep the backends of ``engine``.
        changes: other values of the manifest.
    """
    target.mkdir(parents=True)
    manifest = engine.manifest.to_dict()
    used = {path for artefact in engine.manifest.backends.values() for path in artefact.files.values()}
    files = {name: record for name, record in manifest["files"].items() if keep or name not in used}
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.link((engine.path / name).resolve(), target / name)
    backends = dict(manifest["backends"]) if keep else {}
    for backend, names in capabilities.items():
        plan = target / backend / "nld.plan"
        plan.parent.mkdir()
        plan.write_bytes(f"a plan for {', '.join(names)}".encode())
        path = plan.relative_to(target).as_posix()
        files[path] = {"sha256": sha256_of(plan), "size": plan.stat().st_size}
        backends[backend] = Artefact(backend, "bf16", {"plan": path}, tuple(names)).to_dict()
    text = json.dumps({**manifest, "backends": backends, "files": files, **changes})
    (target / "engine.json").write_text(text, encoding="utf-8")
    return EngineFolder.open(target)
