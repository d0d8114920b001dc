# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An engine folder, which is verified when it is opened and starts sessions on its backends."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.engine import manifest as manifests
from nld_trt.engine.backend import BACKENDS, backend
from nld_trt.engine.manifest import Manifest
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError
from nld_trt.files import inside, sha256_of
from nld_trt.model.checkpoint import CONFIG_FILE, companions_in
from nld_trt.model.generation import GenerationDefaults
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.progress import SILENT, Progress

# The advice for a folder that is not an engine. Checkpoint folders are recognised by a file in them.
_CHECKPOINTS = {
    MANIFEST_FILE: "It is a checkpoint. Build an engine from it: nld-trt build {path} -o ENGINE_DIR",
    CONFIG_FILE: "It is a released checkpoint: nld-trt convert {path} -o DIR, then nld-trt build DIR -o ENGINE_DIR",
}
_NO_ENGINE = "Build one with: nld-trt build CHECKPOINT -o {path}"


@dataclass(frozen=True)
class EngineFolder:
    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> EngineFolder:
        """Read an engine folder and verify its schema version and the SHA-256 of every file.

        Raises:
            InputError: this is not an engine folder, it has another schema version, or files changed; all of them are
                listed.
        """
        if not (path / manifests.FILE_NAME).is_file():
            fix = next((text for name, text in _CHECKPOINTS.items() if (path / name).is_file()), _NO_ENGINE)
            raise InputError(
                f"{path} is not an engine folder: it has no {manifests.FILE_NAME}",
                fix=fix.format(path=shlex.quote(str(path))),
            )
        manifest = Manifest.of_folder(path)
        problems = []
        for name, record in manifest.files.items():
            file = inside(path, name)
            if not file.is_file():
                problems.append(f"{name} is missing")
            elif file.stat().st_size != record.size:
                problems.append(f"{name} has {file.stat().st_size} bytes instead of {record.size}")
            elif sha256_of(file) != record.sha256:
                problems.append(f"{name} has changed since the build (SHA-256 differs)")
        # Tokenizer, template and generation files are read by their names, so one that the manifest does not list would
        # change the answers.
        problems += [
            f"{name} was not built with this engine"
            for name in (file.relative_to(path).as_posix() for file in companions_in(path))
            if name not in manifest.files
        ]
        if problems:
            raise InputError(
                f"the engine in {path} is damaged",
                details=problems,
                fix=f"Copy it again, or rebuild: nld-trt build CHECKPOINT -o {shlex.quote(str(path))} --force",
            )
        return cls(path, manifest)

    def with_defaults(self, source: str) -> EngineFolder:
        """Returns this engine with the request defaults of ``source``, one of ``names.GENERATION_CONFIGS``."""
        if source == names.DEFAULT_GENERATION_CONFIG:
            return self
        return replace(self, manifest=replace(self.manifest, generation=GenerationDefaults()))

    def describe(self) -> dict[str, Any]:
        """What the engine is, for the user; its files were verified when it was opened."""
        manifest = self.manifest
        return {
            "kind": "engine",
            "model": dict(manifest.model),
            "built": f"{manifest.created} by nld-trt {manifest.tool_version}",
            "limits": manifest.limits.to_dict(),
            "eos_token_id": list(manifest.config.eos_token_ids),
            "generation": manifest.generation.to_dict(),
            "draft_adapter": manifest.has_adapter,
            "draft_head": manifest.config.draft is not None,
            "debug_outputs": manifest.debug,
            "backends": {
                name: {
                    "precision": artefact.precision,
                    "compute_capabilities": list(artefact.compute_capabilities),
                    "tools": dict(artefact.tools),
                    "proof": dict(artefact.proof),
                }
                for name, artefact in manifest.backends.items()
            },
            "bytes": sum(record.size for record in manifest.files.values()),
            "intact": True,
        }

    def info(self, name: str, *, debug: bool = False) -> EngineInfo:
        """Describe what backend ``name`` of this engine offers.

        Args:
            debug: whether the contract's debug outputs are needed.

        Raises:
            InputError: debug outputs are needed, the engine was built without them, and this backend cannot add them.
        """
        manifest = self.manifest
        if debug and not manifest.debug and not BACKENDS[name].debug_on_demand:
            raise InputError(
                f"the {name} engine in {self.path} was built without debug outputs, and its logits were asked for",
                fix="Rebuild it with them: "
                f"nld-trt build CHECKPOINT -o {shlex.quote(str(self.path))} --backend {name} --debug-outputs --force",
            )
        return EngineInfo(
            config=manifest.config,
            limits=manifest.limits,
            backend=name,
            precision=manifest.backends[name].precision,
            has_adapter=manifest.has_adapter,
            debug=manifest.debug or debug,
            # Ensemble verification mixes two distributions. The CUDA kernels cannot do that; the ONNX functions can.
            has_ensemble=manifest.limits.max_quadratic_length > 0
            and manifest.backends[name].proof.get("decode_operators") != "plugins",
            generation=manifest.generation,
        )

    def open_session(self, name: str | None = None, *, debug: bool = False, progress: Progress = SILENT) -> Session:
        """Start a session on backend ``name``, or on the first backend that this machine can run.

        Args:
            debug: the session has the contract's debug outputs, even where the engine was built without them.
            progress: is told how far the loading is.

        Raises:
            InputError: the engine has no such backend, none of its backends runs on this machine, or none has the
                debug outputs that were asked for; the reason for each backend is given, and what helps if it has one.
        """
        built = self.manifest.backends
        if name is not None:
            if name not in built:
                raise InputError(
                    f"the engine in {self.path} has no {name} backend; it has {', '.join(built)}",
                    fix=f"Build it with: nld-trt build CHECKPOINT -o {shlex.quote(str(self.path))} --backend {name}",
                )
            return backend(name).open(self.path, built[name], self.info(name, debug=debug), progress)
        refusals: dict[str, InputError] = {}
        for candidate in BACKENDS:
            if candidate not in built:
                continue
            try:
                info = self.info(candidate, debug=debug)
                return backend(candidate).open(self.path, built[candidate], info, progress)
            except InputError as error:
                refusals[candidate] = error
        if len(refusals) == 1:
            raise next(iter(refusals.values()))
        raise InputError(
            f"no backend of the engine in {self.path} runs on this machine",
            details=[f"{candidate}: {error.what}" for candidate, error in refusals.items()],
            fix=f"Build one that does: nld-trt build CHECKPOINT -o ENGINE_DIR --backend {names.ORT}",
        )
