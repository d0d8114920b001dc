# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A build configuration: the YAML file that says which engines to build, for which machines, how large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.backends import BACKENDS, backend
from nld_trt.engine.platforms import PLATFORMS, Platform, platform
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.graph.precision import PRECISIONS

_COUNTS = ("max_batch_size", "max_seq_len", "block_length", "prompt_chunk")


@dataclass(frozen=True)
class BuildConfig:
    """What to build. The fields are the file's keys, their defaults are the command line's too.

    Attributes:
        platforms: names in ``PLATFORMS``; one engine folder serves all of them.
        backends: names in ``BACKENDS``; empty for the one that each platform prefers.
        precision: of every backend; None for each backend's default.
        max_batch_size: rows decoded together. Caches are allocated for all of them at start.
        max_seq_len: prompt and answer of one row, in tokens.
        block_length: the longest block that a request may ask for.
        prompt_chunk: prompt tokens per forward.
        lora: include the draft adapter.
    """

    platforms: tuple[str, ...]
    backends: tuple[str, ...] = ()
    precision: str | None = None
    max_batch_size: int = 8
    max_seq_len: int = 4096
    block_length: int = 32
    prompt_chunk: int = 512
    lora: bool = True

    def __post_init__(self) -> None:
        """Raises InputError listing every value that cannot be, and combinations that fit no machine."""
        problems = [*self._value_problems()] or [*self._combination_problems()]
        if problems:
            raise InputError("the build configuration cannot be used", details=problems)

    @classmethod
    def from_yaml(cls, path: Path) -> BuildConfig:
        """Read a file.

        Raises:
            InputError: not readable, not YAML, unknown keys, or values that cannot be.
        """
        values = _read(path)
        known = [field.name for field in fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            raise InputError(
                f"{path} has unknown keys: {', '.join(unknown)}", details=[f"known keys: {', '.join(known)}"]
            )
        if "platforms" not in values:
            raise InputError(f"{path} does not say for which platforms", details=[f"available: {', '.join(PLATFORMS)}"])
        lists = {key: tuple(values[key]) for key in ("platforms", "backends") if isinstance(values.get(key), list)}
        try:
            return cls(**{**values, **lists})
        except InputError as error:
            raise InputError(f"{path} cannot be used", details=error.details, fix=error.fix) from error

    @property
    def limits(self) -> Limits:
        return Limits(self.max_batch_size, self.max_seq_len, self.block_length, self.prompt_chunk)

    def plans(self, *, debug: bool = False) -> tuple[BuildPlan, ...]:
        """One plan per backend, for the compute capabilities of all platforms that it serves here."""
        served: dict[str, list[Platform]] = {}
        for known in (platform(name) for name in self.platforms):
            for name in self._backends_on(known):
                served.setdefault(name, []).append(known)
        return tuple(
            BuildPlan(
                backend=name,
                precision=self.precision or backend(name).default_precision,
                limits=self.limits,
                adapter=self.lora,
                compute_capabilities=tuple(
                    dict.fromkeys(capability for known in machines for capability in known.compute_capabilities)
                ),
                debug=debug,
            )
            for name, machines in served.items()
        )

    def _backends_on(self, known: Platform) -> tuple[str, ...]:
        if not self.backends:
            return known.backends[:1]
        return tuple(name for name in self.backends if name in known.backends)

    def _value_problems(self) -> list[str]:
        # Values from a file can be of any type, whatever the fields say.
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        problems = []
        for key, known in (("platforms", PLATFORMS), ("backends", BACKENDS)):
            names = values[key]
            if not isinstance(names, tuple) or (key == "platforms" and not names):
                problems.append(f"{key} is {names!r}; it must be a list, such as [{next(iter(known))}]")
                continue
            problems += [
                f"{key} has {name!r}; available: {', '.join(known)}" for name in names if name not in list(known)
            ]
        if values["precision"] is not None and values["precision"] not in list(PRECISIONS):
            problems.append(f"precision is {values['precision']!r}; available: {', '.join(PRECISIONS)}")
        for key in _COUNTS:
            value = values[key]
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                problems.append(f"{key} is {value!r}; it must be a whole number of at least 1")
        if not isinstance(values["lora"], bool):
            problems.append(f"lora is {values['lora']!r}; it must be true or false")
        return problems

    def _combination_problems(self) -> list[str]:
        machines = [platform(name) for name in self.platforms]
        problems = [
            f"platform {known.name} runs none of the backends {', '.join(self.backends)}; "
            f"it runs {', '.join(known.backends)}"
            for known in machines
            if not self._backends_on(known)
        ]
        problems += [
            f"backend {name} runs on none of the platforms {', '.join(self.platforms)}"
            for name in self.backends
            if not any(name in known.backends for known in machines)
        ]
        if self.block_length > self.max_seq_len:
            problems.append(f"block_length {self.block_length} is more than max_seq_len {self.max_seq_len}")
        return problems


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings", details=["it must be a list of lines such as: max_batch_size: 8"])
    return values
