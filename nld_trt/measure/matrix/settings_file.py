# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A YAML file of settings, and the check of its keys and values against a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nld_trt.errors import InputError


@dataclass(frozen=True)
class Keys:
    """The keys that a file may have, by the kind of their values.

    Attributes:
        counts: whole numbers, with the smallest of each.
        words: lists of words, with the known words of each.
        numbers: lists of whole numbers of at least 1.
        rates: lists of numbers above 0.
        free: keys whose values are checked elsewhere.
    """

    texts: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    switches: Sequence[str] = ()
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numbers: Sequence[str] = ()
    rates: Sequence[str] = ()
    free: Sequence[str] = ()

    @property
    def known(self) -> list[str]:
        return [
            *self.texts, *self.words, *self.numbers, *self.rates, *self.counts, *self.switches, *self.free,
        ]  # fmt: skip

    def check(self, values: Mapping[str, Any], source: str) -> None:
        """Refuse unknown keys and values of another kind.

        Raises:
            InputError: naming each of them.
        """
        unknown = [str(key) for key in values if key not in self.known]
        if unknown:
            raise InputError(f"{source} has unknown keys: {', '.join(unknown)}", fix=f"Known: {', '.join(self.known)}")
        problems = list(self._problems(values))
        if problems:
            raise InputError(f"{source} has invalid values", details=problems)

    def _problems(self, values: Mapping[str, Any]) -> Iterator[str]:
        checks: list[tuple[Sequence[str], Callable[[Any], bool], str]] = [
            (self.texts, lambda value: isinstance(value, str) and bool(value), "a text"),
            (self.switches, lambda value: isinstance(value, bool), "true or false"),
            (self.numbers, lambda value: _listed(value, lambda each: _whole(each, 1)), "a list of whole numbers"),
            (self.rates, lambda value: _listed(value, _positive), "a list of numbers above 0"),
        ]
        for keys, usable, kind in checks:
            yield from (
                f"{key} is {values[key]!r}; it must be {kind}"
                for key in keys
                if key in values and not usable(values[key])
            )
        for key, least in self.counts.items():
            if key in values and not _whole(values[key], least):
                yield f"{key} is {values[key]!r}; it must be a whole number of at least {least}"
        for key, words in self.words.items():
            if key not in values:
                continue
            if not _listed(values[key], lambda each: isinstance(each, str)):
                yield f"{key} is {values[key]!r}; it must be a list of names"
                continue
            wrong = [each for each in values[key] if words and each not in words]
            if wrong:
                yield f"{key} has {', '.join(wrong)}; available: {', '.join(words)}"


def read_settings(path: Path, kind: str) -> dict[str, Any]:
    """Read the YAML file of a ``kind`` of settings.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds no keys.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read the {kind} {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:  # ValueError: of the types that YAML makes of plain words
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is no {kind}: it holds no keys")
    return values


def _listed(value: Any, usable: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(usable(each) for each in value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
