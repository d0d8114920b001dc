# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A build configuration: the YAML file that names the engines to build, their target machines and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nld_trt import names
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.platforms import PLATFORMS, platform
from nld_trt.errors import InputError
from nld_trt.graph.precision import PRECISIONS

_SWITCHES = ("lora", "plugins")
# The keys whose values are integers, with the smallest value of each.
_COUNTS = {"max_batch_size": 1, "max_seq_len": 1, "block_length": 1, "prompt_chunk": 1, "quadratic_length": 0}
# The largest limit, because engines count in int32.
_MOST = 2**31 - 1


@dataclass(frozen=True)
class BuildConfig:
    """The build settings that a user gave. The fields are the file's keys; None leaves the choice to nld-trt.

    Attributes:
        backends: names in ``BACKENDS``; empty for the preferred backend of each platform.
        platforms: names in ``PLATFORMS``; one engine folder serves all of them.
        max_batch_size: rows decoded together.
        max_seq_len: prompt and answer of one row, in tokens.
        block_length: the longest block that a request may ask for.
        prompt_chunk: prompt tokens per forward and row.
        quadratic_length: drafts per quadratic pass, which has the same number of masks after each draft; 0 leaves
            out quadratic mode.
        lora: include the draft adapter.
        plugins: run the decode operators as CUDA kernels, where the backend takes plugins.
        kv_cache: precision of cached keys and values, in ``names.KV_CACHES``.
        head: precision of the head, in ``names.HEADS``.
    """

    backends: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    precision: str | None = None
    max_batch_size: int | None = None
    max_seq_len: int | None = None
    block_length: int | None = None
    prompt_chunk: int | None = None
    quadratic_length: int | None = None
    lora: bool | None = None
    plugins: bool | None = None
    kv_cache: str | None = None
    head: str | None = None

    def __post_init__(self) -> None:
        """Check the values. Raises InputError, which lists every invalid one."""
        problems = self._value_problems()
        if problems:
            raise InputError("the build configuration has invalid values", details=problems)

    @classmethod
    def from_yaml(cls, path: Path) -> BuildConfig:
        """Read a file, which must be valid without the flags that may be added to it.

        Raises:
            InputError: the file is not readable or not YAML, has unknown keys or invalid values, or none of its
                backends runs on one of its platforms.
        """
        values = _read(path)
        known = [field.name for field in fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            raise InputError(f"{path} has unknown keys: {', '.join(unknown)}", fix=f"Known keys: {', '.join(known)}")
        lists = {key: tuple(values[key]) for key in ("backends", "platforms") if isinstance(values.get(key), list)}
        try:
            made = cls(**{**values, **lists})
        except InputError as error:
            raise InputError(f"{path} has invalid values", details=error.details) from error
        if problems := made._mismatches():
            raise InputError(f"{path} names backends and platforms that do not go together", details=problems)
        return made

    def _value_problems(self) -> list[str]:
        # Values from a file can be of any type: the annotations of the fields are not enforced.
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        problems = []
        for key, known in (("platforms", PLATFORMS), ("backends", BACKENDS)):
            listed = values[key]
            if not isinstance(listed, tuple):
                problems.append(f"{key} is {listed!r}; it must be a list, such as [{next(iter(known))}]")
                continue
            problems += [
                f"{key} has {name!r}; available: {', '.join(known)}" for name in listed if name not in list(known)
            ]
        if values["precision"] is not None and values["precision"] not in list(PRECISIONS):
            problems.append(f"precision is {values['precision']!r}; available: {', '.join(PRECISIONS)}")
        for key, words in (("kv_cache", names.KV_CACHES), ("head", names.HEADS)):
            if values[key] is not None and values[key] not in list(words):
                problems.append(f"{key} is {values[key]!r}; available: {', '.join(words)}")
        for key, least in _COUNTS.items():
            value = values[key]
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                problems.append(f"{key} is {value!r}; it must be a whole number of at least {least}")
            elif value is not None and value > _MOST:
                problems.append(f"{key} is {value}; it must be at most {_MOST}")
        problems += [
            f"{key} is {values[key]!r}; it must be true or false"
            for key in _SWITCHES
            if not isinstance(values[key], bool | None)
        ]
        return problems

    def _mismatches(self) -> list[str]:
        if not self.backends or not self.platforms:
            return []
        machines = [platform(name) for name in self.platforms]
        problems = [
            f"platform {known.name} runs {', '.join(known.backends)}, not {', '.join(self.backends)}"
            for known in machines
            if not set(known.backends) & set(self.backends)
        ]
        problems += [
            f"backend {name} runs on none of the platforms {', '.join(self.platforms)}"
            for name in self.backends
            if not any(name in known.backends for known in machines)
        ]
        return problems


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    except ValueError as error:  # of the types that YAML makes of plain words
        raise InputError(f"{path} has a number or date that cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings", details=["it must be a list of lines such as: max_batch_size: 8"])
    return values
