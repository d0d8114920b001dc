# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The choice among engines of one checkpoint that were built for different GPUs.

Manifests decide, so that only the files of the chosen engine are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nld_trt.engine.backend import BACKENDS, Artefact
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.manifest import Manifest
from nld_trt.engine.platforms import capabilities_for, titles_with
from nld_trt.errors import InputError
from nld_trt.machine.gpu import Gpu, present_gpus

# In the place of a compute capability, for an engine that needs no GPU.
ANY_MACHINE = "any"


def targets(artefact: Artefact) -> tuple[str, ...]:
    """Returns the compute capabilities on which a built engine runs; ``ANY_MACHINE`` alone if it needs no GPU."""
    traits = BACKENDS[artefact.backend]
    if traits.device == "cpu" or (not artefact.compute_capabilities and artefact.precision == traits.cpu_precision):
        return (ANY_MACHINE,)
    return artefact.compute_capabilities or capabilities_for(artefact.backend)


def open_fitting(paths: Sequence[Path], backend: str | None = None) -> EngineFolder:
    """Open the engine for this machine's GPU; a single engine is opened whatever it is for.

    Backends are tried in the order of ``BACKENDS``, and for each backend the engines in the order of ``paths``: an
    engine for this GPU comes before one that also runs on CPUs.

    Args:
        backend: the only one that may be used; None for all.

    Raises:
        InputError: none of the engines is for this machine, or the chosen folder is damaged.
    """
    if len(paths) == 1:
        return EngineFolder.open(paths[0])
    manifests = {path: Manifest.of_folder(path) for path in paths}
    gpus = present_gpus()
    capability = gpus[0].known_capability() if gpus else None
    for candidate in BACKENDS if backend is None else (backend,):
        for path, manifest in manifests.items():
            artefact = manifest.backends.get(candidate)
            if artefact is not None and {ANY_MACHINE, capability} & set(targets(artefact)):
                return EngineFolder.open(path)
    raise InputError(
        f"none of the {len(paths)} engines is for this machine, which has {_described(gpus)}",
        details=[line for path, manifest in manifests.items() for line in _lines(path, manifest, backend)],
        fix="Build one for it, and write the repository with it: nld-trt build CHECKPOINT -o ENGINE_DIR, then "
        "nld-trt repo ENGINE_DIR --also OTHER_ENGINE_DIR -o REPO_DIR --force",
    )


def check_each_is_chosen_somewhere(engines: Sequence[EngineFolder]) -> None:
    """Refuse an engine that no machine would choose, because those before it are for all of its GPUs.

    Raises:
        InputError: naming it.
    """
    seen: set[tuple[str, str]] = set()
    for engine in engines:
        own = {(name, target) for name, artefact in engine.manifest.backends.items() for target in targets(artefact)}
        if own <= seen:
            raise InputError(
                f"the engine in {engine.path} would never be chosen: others are for all that it is for",
                details=[*_lines(engine.path, engine.manifest, None)],
                fix="Leave it out, or build it for another --platform.",
            )
        seen |= own


def _lines(path: Path, manifest: Manifest, backend: str | None) -> Iterator[str]:
    for name, artefact in manifest.backends.items():
        if backend in (None, name):
            able = (f"{target}{titles_with(target)}" for target in targets(artefact))
            where = "any machine" if ANY_MACHINE in targets(artefact) else f"compute capability {', '.join(able)}"
            yield f"{path.name}: {name} for {where}"
    if backend is not None and backend not in manifest.backends:
        yield f"{path.name}: no {backend} backend; it has {', '.join(manifest.backends)}"


def _described(gpus: Sequence[Gpu]) -> str:
    return f"{gpus[0].name} ({gpus[0].known_capability()})" if gpus else "no NVIDIA GPU whose driver answers"
