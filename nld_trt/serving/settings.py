# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``model.json``: the engine that a model of a repository serves, and the defaults of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nld_trt import names
from nld_trt.decode.fields import FIELDS
from nld_trt.errors import InputError, shortened
from nld_trt.names import DEFAULT_SERVED_MODE, DEFAULT_THRESHOLDS, SERVED_MODES, ModeName

FILE_NAME = "model.json"
# Version 2 renamed ignore_sampling to ignore_penalties.
SCHEMA_VERSION = 2
DEFAULT_MAX_WAITING = 256
# Types that the settings have in JSON, and in words.
_NONE = type(None)
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "engine": ((str,), "a text"),
    "alternatives": ((list,), "a list of texts"),
    "backend": ((str, _NONE), "a text or null"),
    "defaults": ((dict,), "an object"),
    "max_waiting": ((int,), "a whole number"),
    "max_num_batched_tokens": ((int, _NONE), "a whole number or null"),
    "prefix_caching": ((bool,), "true or false"),
    "generation_config": ((str,), "a text"),
    "ignore_penalties": ((bool,), "true or false"),
    "mode": ((str,), "a text"),
    "block_length": ((int, _NONE), "a whole number or null"),
    "thresholds": ((dict,), "an object of numbers by mode"),
    "max_tokens": ((int, _NONE), "a whole number or null"),
    "lora": ((bool, _NONE), "true, false or null"),
    "raw": ((bool,), "true or false"),
}


@dataclass(frozen=True)
class Defaults:
    """Values of fields that a request leaves out.

    Attributes:
        block_length: None means the checkpoint's.
        thresholds: confidence thresholds by mode; None means one token per pass.
        max_tokens: None means as many as fit after the prompt.
        lora: None means whenever the engine has an adapter.
        raw: use the prompt without the chat template.
    """

    mode: ModeName = DEFAULT_SERVED_MODE
    block_length: int | None = None
    thresholds: Mapping[ModeName, float | None] = field(default_factory=lambda: dict(DEFAULT_THRESHOLDS))
    max_tokens: int | None = None
    lora: bool | None = None
    raw: bool = False


@dataclass(frozen=True)
class ServingSettings:
    """One served model.

    Attributes:
        engine: engine folder, relative to the file's own.
        alternatives: engines of the same checkpoint for other GPUs. The one for the server's GPU is chosen at load.
        backend: a backend of the engine; None means the first that the machine can run.
        max_waiting: requests that may wait for a free row; more are refused at once.
        max_num_batched_tokens: tokens that a round of forwards may compute while prompts are read; None lets a chunk
            of a prompt take as long as a forward of the requests that wait for it.
        prefix_caching: keep the keys and values of ended requests for those whose prompts begin alike.
        generation_config: source of request defaults: ``checkpoint``, or ``none`` for greedy answers of any length that
            fits. The checkpoint's EOS ids are used with both.
        ignore_penalties: ignore frequency and presence penalties, which no mode supports, instead of refusing
            them, for clients that cannot leave them out.
    """

    engine: str = "engine"
    alternatives: tuple[str, ...] = ()
    backend: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    max_waiting: int = names.DEFAULT_MAX_WAITING
    max_num_batched_tokens: int | None = None
    prefix_caching: bool = True
    generation_config: str = names.DEFAULT_GENERATION_CONFIG
    ignore_penalties: bool = False

    @property
    def engines(self) -> tuple[str, ...]:
        """All engine folders, the preferred one first."""
        return (self.engine, *self.alternatives)

    def check(self) -> None:
        """Check the settings. Raises InputError, which names an invalid one."""
        if not all(isinstance(name, str) for name in self.alternatives):
            raise InputError(f"alternatives is {shortened(repr(self.alternatives))}; it must be a list of texts")
        mode, maximum, block = self.defaults.mode, self.defaults.max_tokens, self.defaults.block_length
        if mode not in SERVED_MODES:
            raise InputError(f"the default mode is {mode!r}; supported: {', '.join(SERVED_MODES)}")
        FIELDS["max_new_tokens"].check(maximum, "the default max_tokens")
        FIELDS["block_length"].check(block, "the default block_length")
        for name, value in self.defaults.thresholds.items():
            FIELDS["threshold"].check(value, f"the default threshold of {name}")
        if self.generation_config not in names.GENERATION_CONFIGS:
            raise InputError(
                f"generation_config is {self.generation_config!r}; it must be {' or '.join(names.GENERATION_CONFIGS)}"
            )
        if self.max_waiting < 0:
            raise InputError(f"max_waiting is {self.max_waiting}; it must be 0 or more")
        if self.max_num_batched_tokens is not None and self.max_num_batched_tokens < 1:
            raise InputError(f"max_num_batched_tokens is {self.max_num_batched_tokens}; it must be 1 or more")

    def to_dict(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "alternatives": [*self.alternatives]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ServingSettings:
        """Read settings that :meth:`to_dict` wrote, and that may have been edited.

        Raises:
            InputError: the schema version is another one, a name is unknown, or a value cannot be used.
        """
        found = values.get("schema_version")
        if found != SCHEMA_VERSION:
            raise InputError(
                f"{FILE_NAME} has schema version {found!r}; this nld-trt reads version {SCHEMA_VERSION}",
                fix="Write the repository again: nld-trt repo ENGINE_DIR -o REPO_DIR --force",
            )
        rest = {name: value for name, value in values.items() if name != "schema_version"}
        _check_types(rest)
        _check_types(rest.get("defaults", {}))
        try:
            lists = {"alternatives": tuple(rest.get("alternatives", ()))}
            settings = cls(**{**rest, **lists, "defaults": Defaults(**rest.get("defaults", {}))})
        except TypeError as error:
            raise InputError(f"{FILE_NAME} has a name that is not a setting: {error}") from error
        settings.check()
        return settings


def _check_types(values: Mapping[str, Any]) -> None:
    """Raises InputError naming a value of another type than the setting has: files are edited by hand."""
    for name, value in values.items():
        kinds, words = _TYPES.get(name, ((type(value),), ""))
        if type(value) not in kinds:
            raise InputError(f"{name} in {FILE_NAME} is {shortened(repr(value))}; it must be {words}")
