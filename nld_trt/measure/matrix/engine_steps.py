# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The engine of a model on a platform in a precision, and the commands that make what is missing of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.engine.manifest import FILE_NAME as ENGINE_FILE
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.errors import InputError
from nld_trt.machine.gpu import present_gpus
from nld_trt.measure.matrix.sweep_file import SYNTHETIC, SweepFile
from nld_trt.model.checkpoint import CONFIG_FILE
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.resources import data_folder

_HASH_DIGITS: Final = 8
_MARKERS: Final = {
    "synthetic": CONFIG_FILE,
    "convert": MANIFEST_FILE,
    "quantize": MANIFEST_FILE,
    "build": ENGINE_FILE,
}


@dataclass(frozen=True)
class Step:
    """A command of nld-trt that makes a folder.

    Attributes:
        arguments: of ``nld-trt``.
        makes: the folder.
        marker: the file by which a folder of that kind is known.
    """

    arguments: tuple[str, ...]
    makes: Path
    marker: str

    @property
    def is_done(self) -> bool:
        return (self.makes / self.marker).is_file()


@dataclass(frozen=True)
class EngineTarget:
    """An engine of a sweep file.

    Attributes:
        work: the folder of everything that is built for the sweep.
    """

    file: SweepFile
    model: str
    platform: str
    precision: str
    work: Path

    @property
    def name(self) -> str:
        return f"{_slug(self.model)}-{self.platform}-{self.precision}"

    @property
    def folder(self) -> Path:
        """The engine folder. Other build settings are another engine."""
        settings = json.dumps([str(self.file.build_config), self._build_flags], sort_keys=True)
        return self.work / "engines" / f"{self.name}-{hashlib.sha256(settings.encode()).hexdigest()[:_HASH_DIGITS]}"

    @property
    def is_built(self) -> bool:
        return (self.folder / ENGINE_FILE).is_file()

    @property
    def steps(self) -> list[Step]:
        """Every command from the model to the engine, in their order; several engines share the first ones."""
        if self.model in SYNTHETIC:
            release = self.work / "models" / self.model
            steps = [_step(release, "synthetic", SYNTHETIC[self.model])]
            source = str(release)
        else:
            steps, source = [], self.model
        if (Path(source) / MANIFEST_FILE).is_file():
            checkpoint = Path(source)
        else:
            checkpoint = self.work / "checkpoints" / _slug(self.model)
            steps.append(_step(checkpoint, "convert", source))
        if self.precision in names.QFORMATS:
            quantized = self.work / "checkpoints" / f"{_slug(self.model)}-{self.precision}"
            steps.append(_step(quantized, "quantize", str(checkpoint), "--qformat", self.precision))
            checkpoint = quantized
        return [*steps, _step(self.folder, "build", str(checkpoint), *self._build_flags)]

    @property
    def unfit(self) -> str | None:
        """Why this machine cannot run the engine; None if it can."""
        wanted = PLATFORMS[self.platform].compute_capabilities
        if not wanted:
            return None
        gpus = present_gpus()
        found = gpus[0].known_capability() if gpus else None
        if found in wanted:
            return None
        return (
            f"{self.platform} has a GPU of compute capability {' or '.join(wanted)}; this machine has "
            f"{found or 'no NVIDIA GPU whose driver answers'}"
        )

    @property
    def _build_flags(self) -> list[str]:
        config = self.file.build_config or _shipped_config(self.platform)
        flags = ["--platform", self.platform]
        flags += [] if config is None else ["--config", str(config)]
        flags += ["--precision", self.precision] if self.precision in names.PRECISIONS else []
        settings = {"max_batch_size": max(self.file.users), **self.file.build_of(self.model)}
        return [*flags, *_flags(settings)]


def engine_targets(file: SweepFile, work: Path) -> list[EngineTarget]:
    """Return the engines of a sweep file, platform by platform.

    Raises:
        InputError: two models would have one name.
    """
    slugs = [_slug(model) for model in file.models]
    twice = [slug for slug in dict.fromkeys(slugs) if slugs.count(slug) > 1]
    if twice:
        raise InputError(f"{file.path} has two models whose folder would be {', '.join(twice)}")
    return [
        EngineTarget(file, model, platform, precision, work)
        for platform in file.platforms
        for model in file.models
        for precision in file.precisions
    ]


def _slug(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", Path(model).resolve().name if Path(model).exists() else model.split("/")[-1])


def _step(makes: Path, command: str, *arguments: str) -> Step:
    return Step((command, *arguments, "-o", str(makes)), makes, _MARKERS[command])


def _shipped_config(platform: str) -> Path | None:
    path = data_folder("build_configs") / f"{platform}.yaml"
    return path if path.is_file() else None


def _flags(settings: Mapping[str, Any]) -> Iterator[str]:
    """The flags of ``nld-trt build`` for keys of a build configuration."""
    for key, value in settings.items():
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif isinstance(value, list):
            for each in value:
                yield from (flag.removesuffix("s"), str(each))
        else:
            yield from (flag, str(value))
