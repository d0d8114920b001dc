# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``engine.json``, the manifest that describes an engine folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nld_trt.engine.backend import Artefact
from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.model.config import ModelConfig
from nld_trt.model.generation import GenerationDefaults

FILE_NAME = "engine.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FileRecord:
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The identity, contract and contents of one engine folder.

    Attributes:
        model: name, weights hash and rotary hash of the checkpoint.
        quantization: algorithms, layers and bits per weight; None for an engine in high precision.
        generation: the checkpoint's defaults for requests.
        files: every other file of the folder, by relative path.
    """

    tool_version: str
    created: str
    model: Mapping[str, Any]
    config: ModelConfig
    limits: Limits
    has_adapter: bool
    debug: bool
    backends: Mapping[str, Artefact]
    files: Mapping[str, FileRecord]
    quantization: Mapping[str, Any] | None = None
    generation: GenerationDefaults = field(default_factory=GenerationDefaults)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "tool_version": self.tool_version,
            "created": self.created,
            "model": dict(self.model),
            "quantization": None if self.quantization is None else dict(self.quantization),
            "config": self.config.to_dict(),
            "generation": self.generation.to_dict(),
            "limits": self.limits.to_dict(),
            "has_adapter": self.has_adapter,
            "debug": self.debug,
            "backends": {name: artefact.to_dict() for name, artefact in self.backends.items()},
            "contract": {"version": contract.CONTRACT_VERSION, "bindings": contract.table()},
            "files": {name: asdict(record) for name, record in self.files.items()},
        }

    @classmethod
    def of_folder(cls, path: Path) -> Manifest:
        """Read the manifest of an engine folder, and none of its other files.

        Raises:
            InputError: there is none, or it cannot be used.
        """
        return cls.from_dict(read_json(path / FILE_NAME))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """Read a manifest.

        Raises:
            InputError: the schema or contract version is another one, or an entry is missing or invalid.
        """
        rebuild = "Build the engine again with this version: nld-trt build CHECKPOINT -o ENGINE_DIR"
        found = values.get("schema_version")
        if found != SCHEMA_VERSION:
            raise InputError(
                f"the engine has schema version {found!r}; this nld-trt reads version {SCHEMA_VERSION}", fix=rebuild
            )
        try:
            step = values["contract"]["version"]
            if step != contract.CONTRACT_VERSION:
                raise InputError(
                    f"the engine has step contract {step!r}; this nld-trt drives version {contract.CONTRACT_VERSION}",
                    fix=rebuild,
                )
            limits = Limits(**values["limits"])
            if any(type(value) is not int for value in limits.to_dict().values()):
                raise TypeError("limits are whole numbers")
            listed = set(values["files"])
            return cls(
                tool_version=values["tool_version"],
                created=values["created"],
                model=values["model"],
                config=ModelConfig.from_dict(values["config"]),
                limits=limits,
                has_adapter=values["has_adapter"],
                debug=values["debug"],
                backends={name: _artefact(entry, listed) for name, entry in values["backends"].items()},
                files={name: FileRecord(**entry) for name, entry in values["files"].items()},
                quantization=values.get("quantization"),
                generation=GenerationDefaults.from_dict(values["generation"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{FILE_NAME} is not a manifest of this schema: {error!r}", fix=rebuild) from error


def _artefact(entry: Mapping[str, Any], listed: set[str]) -> Artefact:
    artefact = Artefact.from_dict(entry)
    strangers = set(artefact.files.values()) - listed
    if strangers:
        raise KeyError(f"{', '.join(sorted(strangers))} is not among the engine's files")
    return artefact
