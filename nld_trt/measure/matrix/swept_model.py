# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The models of a sweep file: names, or names with settings of their own, because families differ in their modes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.engine.build_config import BuildConfig
from nld_trt.errors import InputError
from nld_trt.measure.matrix.settings_file import Keys

_KEYS: Final = Keys(
    texts=("model",), words={"modes": names.SWEPT_VARIANTS}, numbers=("block_lengths",), free=("build",)
)
# Settings of a build that a sweep file decides by itself: by its platform, precision and users.
_DECIDED: Final = ("platforms", "precision")


@dataclass(frozen=True)
class ModelSettings:
    """What a model has in place of its file's settings. What is empty is the file's.

    Attributes:
        build: keys of a build configuration, which win over the file's one by one.
    """

    modes: tuple[str, ...] = ()
    block_lengths: tuple[int, ...] = ()
    build: Mapping[str, Any] = field(default_factory=dict)


def models_of(given: Any, folder: Path, path: Path, synthetic: Collection[str]) -> Mapping[str, ModelSettings]:
    """Read the entries of ``models``, each a text or a mapping with ``model``; of a file without any, there are none.

    Args:
        folder: which folders of models are relative to.
        path: of the file, for messages.
        synthetic: names that are no folders.

    Returns:
        The settings of each model, by what the commands take for it.

    Raises:
        InputError: an entry is of another kind, or its settings cannot be used.
    """
    if given is None:
        return {}
    if not isinstance(given, list) or not given:
        raise InputError(f"{path} has models {given!r}; it must be a list of names, or of keys with model")
    found: dict[str, ModelSettings] = {}
    for each in given:
        entry = each if isinstance(each, dict) else {"model": each}
        where = f"{path}, in models,"
        _KEYS.check(entry, where)
        if "model" not in entry:
            raise InputError(f"{where} has {each!r} without model")
        lists = {key: tuple(dict.fromkeys(entry[key])) for key in ("modes", "block_lengths") if key in entry}
        build = check_build(entry.get("build", {}), f"{where} {entry['model']} has")
        found[_model(entry["model"], folder, synthetic)] = ModelSettings(**lists, build=build)
    return found


def check_build(given: Any, where: str) -> Mapping[str, Any]:
    """Return build settings whose keys and values are those of a build configuration.

    Raises:
        InputError: they are not; ``where`` begins the message.
    """
    if not isinstance(given, dict):
        raise InputError(f"{where} build {given!r}; it must be keys of a build configuration")
    known = [each for each in BuildConfig.__dataclass_fields__ if each not in _DECIDED]
    unknown = [str(each) for each in given if each not in known]
    if unknown:
        raise InputError(f"{where} unknown keys in build: {', '.join(unknown)}", fix=f"Known: {', '.join(known)}")
    lists = {each: tuple(value) for each, value in given.items() if isinstance(value, list)}
    try:
        BuildConfig(**{**given, **lists})
    except InputError as error:
        raise InputError(f"{where} invalid values in build", details=error.details) from error
    return given


def _model(given: str, folder: Path, synthetic: Collection[str]) -> str:
    """A model as the commands take it: a folder that exists is relative to the sweep file."""
    path = folder / given
    return given if given in synthetic or not path.exists() else str(path)
