# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network's configuration, read from ``config.json`` and checked once.

The values that differ between releases (rope_theta, EOS, MASK, the rotary factor of base models)
are read from the file and never defaulted: the reference configuration class has defaults that
are wrong for every released checkpoint (eos 2, mask -1). What a family's files do not have is in ``model.family``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from nld_trt import names
from nld_trt.errors import InputError, shortened
from nld_trt.model.draft_config import DraftConfig
from nld_trt.model.family import FAMILIES, NLD, Family, Rotary
from nld_trt.model.spelling import PLAIN_ROPE, Spelling
from nld_trt.names import NEVER

ROPE_TYPES: Mapping[Rotary, str] = {"yarn": "yarn", "plain": PLAIN_ROPE}
# The most tokens that can end an answer: an engine's input has this many places per row.
MAX_EOS_IDS = 8

_INTEGERS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "block_size",
)
_TOKEN_IDS = ("bos_token_id", "mask_token_id")


@dataclass(frozen=True)
class RopeParameters:
    """The ``rope_parameters`` block: YaRN frequencies plus the per-position query scale.

    Plain rotary embedding has the type ``default`` and no scale: a factor of 1 and a ``llama_4_scaling_beta`` of 0.
    """

    rope_type: str
    rope_theta: float
    factor: float
    original_max_position_embeddings: int
    beta_fast: float
    beta_slow: float
    mscale: float
    mscale_all_dim: float
    llama_4_scaling_beta: float

    @classmethod
    def plain(cls, theta: float, longest: int) -> RopeParameters:
        """Plain rotary embedding of up to ``longest`` positions."""
        return cls(PLAIN_ROPE, theta, 1.0, longest, 32.0, 1.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True)
class ModelConfig:
    """Geometry, rotary parameters and token ids of one checkpoint. Sizes are in elements.

    Attributes:
        bos_token_id: None where the checkpoint has none.
        eos_token_id: the token that is written after an answer.
        mask_token_id: None for families without MASK.
        tie_word_embeddings: the head is the embedding.
        more_eos_token_ids: further tokens that end an answer when they are generated.
        family_name: a key of ``family.FAMILIES``.
        attention_window: tokens after which attention forgets; None where it never does. Engines have no such window,
            so none may be longer.
        draft: the Eagle3 head that drafts for the network; None without one.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    block_size: int
    rms_norm_eps: float
    bos_token_id: int | None
    eos_token_id: int
    mask_token_id: int | None
    tie_word_embeddings: bool
    rope: RopeParameters
    more_eos_token_ids: tuple[int, ...] = ()
    family_name: str = NLD
    attention_window: int | None = None
    draft: DraftConfig | None = None

    @property
    def family(self) -> Family:
        """The family, which decodes in one more mode where a head drafts for the network."""
        found = FAMILIES[self.family_name]
        return found if self.draft is None else found.with_head()

    @property
    def mask_id(self) -> int:
        """MASK, or -1, which is no token, where there is none."""
        return NEVER if self.mask_token_id is None else self.mask_token_id

    @property
    def query_size(self) -> int:
        """Width of the query projection, which differs from the hidden size on 3B and 14B."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        return self.num_key_value_heads * self.head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Number of K and V elements that one cached token takes in all layers."""
        return 2 * self.key_value_size * self.cached_layers

    @property
    def cached_layers(self) -> int:
        """Layers that have caches: those of the network, and that of the head that drafts for it as one more."""
        return self.num_hidden_layers + (self.draft is not None)

    @property
    def draft_rope(self) -> RopeParameters:
        """The rotary embedding of the head."""
        assert self.draft is not None
        return RopeParameters.plain(self.draft.rope_theta, self.max_position_embeddings)

    def with_draft(self, draft: DraftConfig) -> ModelConfig:
        """Returns this configuration with a head, whose blocks have a default length of their own."""
        return replace(self, draft=draft, block_size=names.DEFAULT_EAGLE3_BLOCK)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends an answer. The first is the one that is written after an answer."""
        return (self.eos_token_id, *self.more_eos_token_ids)

    def with_eos(self, ids: Sequence[int]) -> ModelConfig:
        """Returns this configuration with ``ids``, at least one, as the tokens that end an answer.

        The token that is written after an answer stays the same if it is among them; otherwise it is the first one.
        """
        first = self.eos_token_id if self.eos_token_id in ids else ids[0]
        others = tuple(token for token in dict.fromkeys(ids) if token != first)
        return replace(self, eos_token_id=first, more_eos_token_ids=others)

    def to_dict(self) -> dict[str, Any]:
        """Returns the configuration as plain data. ``eos_token_id`` is one id or a list, as in a release's files.

        What only other families than Nemotron-Labs-Diffusion have is left out where it says nothing.
        """
        values = asdict(self)
        more = values.pop("more_eos_token_ids")
        if self.family_name == NLD:
            del values["family_name"]
        for name in ("attention_window", "draft"):
            if values[name] is None:
                del values[name]
        return values | {"eos_token_id": [self.eos_token_id, *more]} if more else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read the data that :meth:`to_dict` returned, from a manifest. Raises KeyError or TypeError for other data."""
        rope = RopeParameters(**values["rope"])
        first, *more = as_ids(values["eos_token_id"])
        draft = DraftConfig.from_dict(values["draft"]) if "draft" in values else None
        read: dict[str, Any] = {"eos_token_id": first, "more_eos_token_ids": tuple(more), "draft": draft}
        return cls(**{**values, "rope": rope, **read})

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read the ``config.json`` of a release, or one whose rotary settings have another form.

        Raises:
            InputError: it is of no known family, or entries are missing, unsupported or contradictory. All of them are
                listed.
        """
        spelled = Spelling.of(raw)
        family, raw = spelled.family, spelled.raw
        rope = raw.get("rope_parameters")
        problems = [*_check_fixed(raw, family), *_check_numbers(raw, family), *spelled.problems]
        problems += [*_CHECK_ROPE[family.rotary](rope)]
        if problems:
            raise InputError(
                f"config.json does not describe a {family.title} text model",
                details=problems,
                fix="Use the config.json that was released with the weights, unedited.",
            )
        assert isinstance(rope, Mapping)
        eos_token_id, *more = dict.fromkeys(as_ids(raw["eos_token_id"]))
        integers: dict[str, Any] = {name: int(raw[name]) for name in _INTEGERS}
        return cls(
            **integers,
            bos_token_id=raw.get("bos_token_id"),
            mask_token_id=raw["mask_token_id"] if family.has_mask else None,
            eos_token_id=eos_token_id,
            more_eos_token_ids=tuple(more),
            rms_norm_eps=float(raw["rms_norm_eps"]),
            tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
            rope=_READ_ROPE[family.rotary](rope, int(raw["max_position_embeddings"])),
            family_name=family.name,
            attention_window=_attention_window(raw),
        )


def _yarn(rope: Mapping[str, Any], longest: int) -> RopeParameters:
    return RopeParameters(
        rope_type=str(rope["rope_type"]),
        rope_theta=float(rope["rope_theta"]),
        factor=float(rope["factor"]),
        original_max_position_embeddings=int(rope["original_max_position_embeddings"]),
        beta_fast=float(rope.get("beta_fast", 32.0)),
        beta_slow=float(rope.get("beta_slow", 1.0)),
        mscale=float(rope.get("mscale", 1.0)),
        mscale_all_dim=float(rope.get("mscale_all_dim", 1.0)),
        llama_4_scaling_beta=float(rope["llama_4_scaling_beta"]),
    )


def _plain(rope: Mapping[str, Any], longest: int) -> RopeParameters:
    return RopeParameters.plain(float(rope["rope_theta"]), longest)


_READ_ROPE: Mapping[Rotary, Callable[[Mapping[str, Any], int], RopeParameters]] = {"yarn": _yarn, "plain": _plain}


def _attention_window(raw: Mapping[str, Any]) -> int | None:
    """The window of the layers that have one. Configurations may state a window that no layer has."""
    kinds = raw.get("layer_types")
    unused = raw.get("use_sliding_window") is False or (kinds is not None and "sliding_attention" not in kinds)
    stated: int | None = raw.get("sliding_window")
    return None if unused else stated


_TOKEN_ID_WORDS = "a token id from 0 to vocab_size - 1"


def as_ids(stated: Any) -> list[Any]:
    """Returns ``eos_token_id`` as a list: files have one id or a list of them."""
    return [*stated] if isinstance(stated, list | tuple) else [stated]


def eos_problems(stated: Any, vocab: Any, mask: Any) -> list[str]:
    """Find the problems of an ``eos_token_id``, one id or a list of them, in a vocabulary of ``vocab`` tokens."""
    ids = as_ids(stated)
    if not ids:
        return ["eos_token_id is an empty list; it must be a token id or a list of them"]
    foreign = [token for token in ids if not (_is_int(token) and _is_int(vocab) and 0 <= token < vocab)]
    if foreign:
        has = "has" if isinstance(stated, list | tuple) else "is"
        return [f"eos_token_id {has} {shortened(repr(foreign[0]))}; it must be {_TOKEN_ID_WORDS} ({vocab!r} - 1)"]
    if mask in ids:
        return [f"eos_token_id and mask_token_id are both {mask}"]
    count = len(set(ids))
    if count > MAX_EOS_IDS:
        return [f"eos_token_id has {count} token ids; an engine can look for up to {MAX_EOS_IDS}"]
    return []


def _check_fixed(raw: Mapping[str, Any], family: Family) -> list[str]:
    return [
        f"{name} is {raw[name]!r}; supported: {expected!r}"
        for name, expected in family.fixed.items()
        if name in raw and raw[name] != expected
    ]


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a float, or a whole number that can be one: JSON's have any length."""
    return isinstance(value, float) or (_is_int(value) and abs(value) <= sys.float_info.max)


def _check_numbers(raw: Mapping[str, Any], family: Family) -> list[str]:
    token_ids = [name for name in _TOKEN_IDS if name != "mask_token_id" or family.has_mask]
    required = [*_INTEGERS, *token_ids, "eos_token_id", "rms_norm_eps"]
    problems = [f"{name} is missing" for name in required if raw.get(name) is None and name not in family.may_lack]
    for name in _INTEGERS:
        value = raw.get(name)
        if value is not None and not (_is_int(value) and value > 0):
            problems.append(f"{name} is {value!r}; it must be a positive whole number")
    vocab = raw.get("vocab_size")
    for name in token_ids:
        value = raw.get(name)
        if value is not None and not (_is_int(value) and _is_int(vocab) and 0 <= value < vocab):
            problems.append(f"{name} is {value!r}; it must be {_TOKEN_ID_WORDS} ({vocab!r} - 1)")
    if raw.get("eos_token_id") is not None:
        problems += eos_problems(raw["eos_token_id"], vocab, raw.get("mask_token_id") if family.has_mask else None)
    tied = raw.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        problems.append(f"tie_word_embeddings is {tied!r}; it must be true or false")
    window = raw.get("sliding_window")
    if window is not None and not (_is_int(window) and window > 0):
        problems.append(f"sliding_window is {window!r}; it must be a positive whole number, or null")
    eps = raw.get("rms_norm_eps")
    if eps is not None and not (_is_number(eps) and eps > 0):
        problems.append(f"rms_norm_eps is {eps!r}; it must be a positive number")
    heads, kv_heads, head_dim = (raw.get(name) for name in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    if _is_int(heads) and _is_int(kv_heads) and kv_heads > 0 and heads % kv_heads:
        problems.append(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    if _is_int(head_dim) and head_dim % 2:
        problems.append(f"head_dim {head_dim} is odd; rotary embedding needs pairs")
    return problems


# Keys that can change the frequencies, with the one value that does not.
_ROPE_FIXED: dict[str, Any] = {"truncate": True, "partial_rotary_factor": 1.0}
_ROPE_REQUIRED = ("rope_theta", "factor", "original_max_position_embeddings", "llama_4_scaling_beta")
_ROPE_DEFAULTED = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim")


def _check_plain_rope(rope: Any) -> list[str]:
    if not isinstance(rope, Mapping):
        return ["rope_parameters is missing"]
    return [*_check_rope_type(rope, "plain"), *_check_rope_numbers(rope, ("rope_theta",))]


def _check_yarn(rope: Any) -> list[str]:
    if not isinstance(rope, Mapping):
        return ["rope_parameters is missing"]
    numbers = (*_ROPE_REQUIRED, *(name for name in _ROPE_DEFAULTED if name in rope))
    problems = [*_check_rope_type(rope, "yarn"), *_check_rope_numbers(rope, numbers)]
    scales = {name: rope.get(name, 1.0) for name in ("mscale", "mscale_all_dim", "attention_factor")}
    if scales["mscale"] != scales["mscale_all_dim"] or scales["attention_factor"] not in (None, 1.0):
        stated = ", ".join(f"{name} {value!r}" for name, value in scales.items())
        problems.append(f"rope_parameters asks for a cos/sin magnitude other than 1 ({stated})")
    return problems


_CHECK_ROPE: Mapping[Rotary, Callable[[Any], list[str]]] = {"yarn": _check_yarn, "plain": _check_plain_rope}


def _check_rope_type(rope: Mapping[str, Any], rotary: Rotary) -> list[str]:
    expected = ROPE_TYPES[rotary]
    if rope.get("rope_type") == expected:
        return []
    return [f"rope_parameters.rope_type is {rope.get('rope_type')!r}; supported: {expected}"]


def _check_rope_numbers(rope: Mapping[str, Any], numbers: Sequence[str]) -> list[str]:
    problems = []
    for name in numbers:
        value = rope.get(name)
        if not _is_number(value) or not math.isfinite(value):
            problems.append(f"rope_parameters.{name} is {value!r}; it must be a number")
        elif name in ("factor", "beta_fast", "beta_slow") and value <= 0:
            problems.append(f"rope_parameters.{name} is {value!r}; it must be positive")
    theta, original = rope.get("rope_theta"), rope.get("original_max_position_embeddings")
    if _is_number(theta) and theta <= 1:
        problems.append(f"rope_parameters.rope_theta is {theta!r}; it must be greater than 1")
    if _is_number(original) and math.isfinite(original) and not (original > 0 and original == int(original)):
        problems.append(
            f"rope_parameters.original_max_position_embeddings is {original!r}; it must be a positive whole number"
        )
    for name, only in _ROPE_FIXED.items():
        if rope.get(name) not in (None, only):
            problems.append(f"rope_parameters.{name} is {rope[name]!r}; the released networks use {only!r}")
    return problems
