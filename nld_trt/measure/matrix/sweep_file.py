# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file: models x platforms x precisions x modes x block lengths x users x workloads, or those of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.measure.matrix.settings_file import Keys, read_settings
from nld_trt.measure.matrix.swept_model import ModelSettings, check_build, models_of
from nld_trt.measure.matrix.workload import Workload
from nld_trt.measure.sweep.script import read_script
from nld_trt.measure.variant import SWEPT

# What a precision may be: the engine's, or the recipe that its checkpoint is quantized by.
PRECISIONS: Final = (*names.PRECISIONS, *names.QFORMATS)

# A model of random weights: no checkpoint is needed.
SYNTHETIC: Final = {f"synthetic-{size}": size for size in names.MODEL_SIZES}

# Keys that say which engines are built, and those of a server that is running.
_OF_ENGINES: Final = ("models", "platforms", "precisions", "build", "build_config", "scripted_acceptance")
_OF_SERVERS: Final = ("server", "model_name", "num_gpus")
_NEEDED: Final = ("models", "platforms", "precisions")

_KEYS: Final = Keys(
    texts=("server", "model_name", "build_config", "scripted_acceptance"),
    words={
        "platforms": names.PLATFORMS,
        "precisions": PRECISIONS,
        "modes": names.SWEPT_VARIANTS,
    },
    numbers=("block_lengths", "users"),
    counts={"repeats": 1, "warmup": 0, "num_gpus": 0},
    free=("models", "workloads", "build"),
)


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file asks for. The fields are its keys.

    Attributes:
        path: of the file; relative paths in it are relative to its folder.
        models: folders of released or converted checkpoints, ids of the hub, or names in ``SYNTHETIC``.
        own: settings that a model has in place of the file's, by the model.
        precisions: names in ``PRECISIONS``.
        users: requests in flight.
        build: keys of a build configuration, which win over those of ``build_config``.
        build_config: file; None for the shipped one of each platform, if there is one.
        scripted_acceptance: as the flag of ``nld-trt sweep``; None for what the engine accepts.
        server: address; None if engines are built.
    """

    path: Path
    workloads: tuple[Workload, ...]
    modes: tuple[str, ...]
    users: tuple[int, ...]
    block_lengths: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    own: Mapping[str, ModelSettings] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    repeats: int = 3
    warmup: int = 2
    build: Mapping[str, Any] = field(default_factory=dict)
    build_config: Path | None = None
    scripted_acceptance: str | None = None
    server: str | None = None
    model_name: str | None = None
    num_gpus: int | None = None

    @classmethod
    def read(cls, path: Path) -> SweepFile:
        """Read a file.

        Raises:
            InputError: it cannot be read, has unknown keys, platforms or workloads, or misses what it needs.
        """
        values = read_settings(path, "sweep file")
        _KEYS.check(values, str(path))
        _check_target(values, path)
        listed = {key: tuple(dict.fromkeys(values[key])) for key in (*_KEYS.words, *_KEYS.numbers) if key in values}
        folder = path.parent
        models = models_of(values.get("models"), folder, path, SYNTHETIC)
        made = cls(
            **{
                **values,
                **listed,
                "path": path,
                "workloads": _workloads(values, folder, path),
                "models": tuple(models),
                "own": models,
                "build": check_build(values.get("build", {}), f"{path} has"),
                "build_config": _file(values, "build_config", folder, path),
            }
        )
        made._check_script()
        made._check_limits()
        return made

    def _check_limits(self) -> None:
        """Refuse points that the engines would not be built for."""
        for model in self.models:
            build = self.build_of(model)
            rows, drafts = build.get("max_batch_size"), build.get("quadratic_length")
            if rows is not None and rows < max(self.users):
                raise InputError(f"{self.path} has users {max(self.users)}, and engines of max_batch_size {rows}")
            if names.QUADRATIC in self.modes_of(model) and not drafts:
                raise InputError(
                    f"{self.path} has mode {names.QUADRATIC}, and engines without its passes",
                    fix="Add quadratic_length to build, 8 for example.",
                )

    def modes_of(self, model: str | None) -> tuple[str, ...]:
        """The modes that a model is measured in; of a server, None, the file's."""
        return self._settings(model).modes or self.modes

    def block_lengths_of(self, model: str | None) -> tuple[int, ...]:
        """The block lengths that a model is measured at; empty for its own."""
        return self._settings(model).block_lengths or self.block_lengths

    def build_of(self, model: str | None) -> Mapping[str, Any]:
        """The settings of a model's engines: its own win over the file's."""
        return {**self.build, **self._settings(model).build}

    def _settings(self, model: str | None) -> ModelSettings:
        return self.own.get(model, ModelSettings()) if model is not None else ModelSettings()

    def _check_script(self) -> None:
        """Refuse an acceptance that is none, or that is scripted where it must not be."""
        drawn = [each.name for each in self.workloads if each.prompt_tokens is not None]
        if self.scripted_acceptance is None:
            if drawn:
                raise InputError(
                    f"{self.path} measures drawn prompts ({', '.join(drawn)}) without scripted_acceptance",
                    fix="Random tokens are the worst case of drafts: give prompts, or script the acceptance.",
                )
            return
        script = read_script(self.acceptance_argument)
        for model in self.models or (None,):
            for mode in self.modes_of(model):
                for length in self.block_lengths_of(model) or (1,):
                    script.check(SWEPT[mode].mode, length)
        short = [each.name for each in self.workloads if not each.ignore_eos]
        if short:
            raise InputError(f"{self.path} has scripted_acceptance, and {', '.join(short)} has not ignore_eos: true")

    @property
    def acceptance_argument(self) -> str:
        """The scripted acceptance as the flag takes it: a file is relative to the sweep file."""
        assert self.scripted_acceptance is not None
        path = self.path.parent / self.scripted_acceptance
        return str(path) if path.is_file() else self.scripted_acceptance


def _check_target(values: Mapping[str, Any], path: Path) -> None:
    """Refuse a file that measures nothing, or both engines and a server."""
    engines = [key for key in _OF_ENGINES if key in values]
    if "server" in values and engines:
        raise InputError(f"{path} has a server, and {', '.join(engines)}, which are for engines")
    of_server = [key for key in _OF_SERVERS if key in values]
    if "server" not in values and of_server:
        raise InputError(f"{path} has {', '.join(of_server)}, and no server")
    needed = ("modes", "users", "workloads", *(() if "server" in values else _NEEDED))
    missing = [key for key in needed if key not in values]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}", fix=f"Known keys: {', '.join(_KEYS.known)}")


def _workloads(values: Mapping[str, Any], folder: Path, path: Path) -> tuple[Workload, ...]:
    given = values["workloads"]
    if not isinstance(given, list) or not given:
        raise InputError(f"{path} has workloads {given!r}; it must be a list")
    found = [Workload.of(each, folder) for each in given]
    called = [each.name for each in found]
    twice = [name for name in dict.fromkeys(called) if called.count(name) > 1]
    if twice:
        raise InputError(f"{path} has two workloads that are called {', '.join(twice)}")
    return tuple(found)


def _file(values: Mapping[str, Any], key: str, folder: Path, path: Path) -> Path | None:
    if key not in values:
        return None
    found: Path = folder / values[key]
    if not found.is_file():
        raise InputError(f"{path} has {key} {values[key]}, and {found} is not a file")
    return found
