# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``generation_config.json``: the tokens that end an answer, and the checkpoint's defaults for requests.

Its ``eos_token_id`` takes precedence over that of ``config.json``, as in transformers. Other values become defaults if
requests have a field for them; the rest is reported as having no effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError, shortened
from nld_trt.files import inside, read_json
from nld_trt.model.config import ModelConfig, as_ids, eos_problems

GENERATION_FILE = "generation_config.json"
SAMPLING: Final = ("temperature", "top_k", "top_p", "min_p")
# The temperature for do_sample where the file gives none, which is transformers' default.
_SAMPLED_TEMPERATURE = 1.0
# Engines compute in float32.
_MAX_FLOAT32 = 3.4028234663852886e38


@dataclass(frozen=True)
class _Kind:
    """The values that a default can have, as a predicate and in words."""

    allows: Callable[[Any], bool]
    words: str


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


_KINDS: Final[Mapping[str, _Kind]] = {
    "max_new_tokens": _Kind(lambda value: _is_int(value) and value >= 1, "a whole number of at least 1"),
    "do_sample": _Kind(lambda value: isinstance(value, bool), "true or false"),
    "temperature": _Kind(
        lambda value: _is_number(value) and 0 <= value <= _MAX_FLOAT32, f"a number from 0 to {_MAX_FLOAT32:.2g}"
    ),
    "top_k": _Kind(
        lambda value: _is_int(value) and value >= 0, "a whole number of at least 0, which keeps every token"
    ),
    "top_p": _Kind(lambda value: _is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    "min_p": _Kind(lambda value: _is_number(value) and 0 <= value < 1, "a number of at least 0 and below 1"),
}

# Entries without a meaning for nld-trt: they describe the file's origin, or how transformers computes and replies.
_SILENT: Final = frozenset((
    "eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version",
    "_from_model_config", "use_cache", "cache_implementation", "cache_config", "return_legacy_cache",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "disable_compile", "compile_config",
))  # fmt: skip
# Values with which an unsupported entry changes nothing. For entries that are not listed these are null, false, 0 and
# empty values.
_NEUTRAL: Final[Mapping[str, float]] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "typical_p": 1.0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    # The value that transformers wrote where no length had been chosen.
    "max_length": 20,
}


@dataclass(frozen=True)
class GenerationDefaults:
    """Defaults for the fields of requests. None where the file has no value.

    Attributes:
        temperature, top_k, top_p, min_p: set only if the file has ``do_sample``.
        ignored: entries without effect, each with its value and, where it is not obvious, the reason.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    ignored: tuple[str, ...] = ()

    @property
    def sampling(self) -> dict[str, float]:
        """The sampling settings of the file, by the name of the request's field."""
        values = {name: getattr(self, name) for name in SAMPLING}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def honoured(self) -> dict[str, float]:
        """All values that are defaults of requests, by the name of the request's field."""
        length = {} if self.max_new_tokens is None else {"max_new_tokens": self.max_new_tokens}
        return length | self.sampling

    @property
    def notes(self) -> list[str]:
        """Lines for the user about request defaults and about entries without effect; empty where there are none."""
        taken = in_words(self.honoured)
        lines = [f"defaults of requests, from {GENERATION_FILE}: {taken}"] if taken else []
        without = ", ".join(self.ignored)
        return lines + ([f"without effect in {GENERATION_FILE}: {without}"] if without else [])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ignored": list(self.ignored)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationDefaults:
        """Read the data that :meth:`to_dict` returned, from a manifest. Raises TypeError for other data."""
        return cls(**{**values, "ignored": tuple(values.get("ignored", ()))})


@dataclass(frozen=True)
class GenerationConfig:
    """The checked content of a ``generation_config.json``; empty without such a file.

    Attributes:
        path: path of the file, for messages.
        stated: the file's entries, without those that are null.
    """

    path: Path
    stated: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> GenerationConfig:
        """Read the file of a checkpoint folder, if there is one.

        Raises:
            InputError: the file is not JSON, or has values that cannot be used; all of them are listed.
        """
        path = inside(folder, GENERATION_FILE)
        values = read_json(path) if path.is_file() else {}
        found = cls(path, {name: value for name, value in values.items() if value is not None})
        found._refuse(
            f"{name} is {shortened(repr(found.stated[name]))}; it must be {kind.words}"
            for name, kind in _KINDS.items()
            if name in found.stated and not kind.allows(found.stated[name])
        )
        return found

    def completed(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the entries of ``config.json``, with the ``eos_token_id`` of this file where they have none."""
        stated = self.stated.get("eos_token_id")
        return raw if stated is None or raw.get("eos_token_id") is not None else {**raw, "eos_token_id": stated}

    def with_eos(self, config: ModelConfig) -> ModelConfig:
        """Returns ``config`` with the tokens that end an answer according to this file, where it names any.

        Raises:
            InputError: one of them is not a token id or is the mask, or there are too many.
        """
        stated = self.stated.get("eos_token_id")
        if stated is None:
            return config
        self._refuse(eos_problems(stated, config.vocab_size, config.mask_token_id))
        return config.with_eos(as_ids(stated))

    @property
    def defaults(self) -> GenerationDefaults:
        samples = self.stated.get("do_sample", False)
        values = {name: self.stated[name] for name in SAMPLING if name in self.stated}
        ignored = (
            [] if samples else [f"{name} {_text(value)} (do_sample is not true)" for name, value in values.items()]
        )
        ignored += [f"{name} {_text(value)}" for name, value in self.stated.items() if _asks(name, value)]
        return GenerationDefaults(
            max_new_tokens=self.stated.get("max_new_tokens"),
            **{"temperature": _SAMPLED_TEMPERATURE, **values} if samples else {},
            ignored=tuple(ignored),
        )

    def _refuse(self, problems: Any) -> None:
        found = [*problems]
        if found:
            raise InputError(
                f"{self.path} cannot be used",
                details=found,
                fix="Correct these entries, or restore the file that was released with the weights.",
            )


def in_words(values: Mapping[str, float]) -> str:
    """Write values for a message.

    >>> in_words({"temperature": 0.6, "top_k": 20})
    'temperature 0.6, top_k 20'
    """
    return ", ".join(f"{name} {shortened(value)}" for name, value in values.items())


def _asks(name: str, value: Any) -> bool:
    """Whether an unsupported entry would have an effect in transformers."""
    if name in _KINDS or name in _SILENT:
        return False
    return bool(value != _NEUTRAL[name]) if name in _NEUTRAL else bool(value)


def _text(value: Any) -> str:
    return shortened(value if isinstance(value, str) else repr(value))
