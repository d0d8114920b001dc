# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a measurement measures: a decoding mode, with the draft adapter or without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nld_trt import names
from nld_trt.decode.request import Request
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.generation import GENERATION_FILE, in_words
from nld_trt.names import DEFAULT_THRESHOLDS, NEVER, ModeName


@dataclass(frozen=True)
class Variant:
    name: str
    mode: ModeName
    lora: bool

    def request(
        self,
        prompt_ids: tuple[int, ...],
        *,
        max_new_tokens: int | None,
        block_length: int | None = None,
        threshold: float | None = None,
        stop_on_eos: bool = True,
    ) -> Request:
        """Return a greedy request of this variant. ``threshold`` None means the mode's default."""
        return Request(
            prompt_ids=prompt_ids,
            mode=self.mode,
            lora=self.lora,
            max_new_tokens=max_new_tokens,
            block_length=block_length,
            threshold=DEFAULT_THRESHOLDS[self.mode] if threshold is None else threshold,
            eos_token_id=None if stop_on_eos else NEVER,
            # Greedy, even if the checkpoint's default is to sample: results must be the same in every run.
            temperature=0.0,
        )

    def block_length(self, info: EngineInfo, asked: int | None = None) -> int | None:
        """Return the tokens per block of a request that asks for ``asked``; None in AR, which has no blocks.

        Raises:
            InputError: the engine does not have this variant, or not with such blocks.
        """
        if self.mode == names.QUADRATIC:
            _check_quadratic(asked, info.limits)
        length = self.request((0,), max_new_tokens=1, block_length=asked).resolved(info).block_length
        return None if self.mode in (names.AR, names.AUTO) else length


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(names.AR, names.AR, lora=False),
        Variant(names.DIFFUSION, names.DIFFUSION, lora=False),
        Variant(names.LINEAR, names.LINEAR, lora=True),
        Variant(names.LINEAR_NO_LORA, names.LINEAR, lora=False),
        Variant(names.QUADRATIC, names.QUADRATIC, lora=True),
        Variant(names.EAGLE3, names.EAGLE3, lora=False),
    )
}


# What can be measured under a load, which mode auto follows.
SWEPT: dict[str, Variant] = {**VARIANTS, names.AUTO: Variant(names.AUTO, names.AUTO, lora=True)}


def parse_variants(text: str | None, info: EngineInfo, *, known: Mapping[str, Variant] = VARIANTS) -> list[Variant]:
    """Return the variants of a comma list, or every one of ``known`` that the engine has.

    ``linear`` drafts with the adapter if the engine has one. Without one, ``linear-no-lora`` decodes in the same way,
    and only the first of the two is kept.

    Raises:
        InputError: an unknown name, or a mode that the engine's model was not trained for.
    """
    if text is None:
        missing = {names.LINEAR_NO_LORA: not info.has_adapter, names.QUADRATIC: not info.limits.max_quadratic_length}
        offered = info.config.family.modes
        asked = [name for name, variant in known.items() if variant.mode in offered and not missing.get(name)]
    else:
        asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        raise InputError(f"--modes has {', '.join(unknown) or 'no mode'}; available: {', '.join(known)}")
    found = [_offered(known[name], info) for name in asked]
    chosen = [replace(variant, lora=variant.lora and info.has_adapter) for variant in found]
    measured: dict[tuple[ModeName, bool], Variant] = {}
    for variant in chosen:
        measured.setdefault((variant.mode, variant.lora), variant)
    return list(measured.values())


def _offered(variant: Variant, info: EngineInfo) -> Variant:
    """The variant; that of the only mode instead of auto, where there is nothing to choose."""
    mode = info.config.family.offered(variant.mode)
    return variant if mode == variant.mode else VARIANTS[mode]


def greedy_note(info: EngineInfo) -> str | None:
    """Return a sentence on the checkpoint's sampling defaults, which measurements do not use; None without any."""
    sampling = info.generation.sampling
    if not sampling:
        return None
    return f"measured greedily: {in_words(sampling)} of {GENERATION_FILE} has no part in this"


def _check_quadratic(asked: int | None, limits: Limits) -> None:
    """Refuse what a request of this mode would be refused for, with a message that names --modes."""
    longest = limits.max_quadratic_length
    if not longest:
        raise InputError(
            "mode quadratic was asked for, and the engine was built without quadratic passes",
            fix="Leave quadratic out of --modes, or rebuild with nld-trt build --quadratic-length 8.",
        )
    if asked is not None and longest < asked <= limits.max_block_length:
        raise InputError(
            f"--block-length has {asked}; the engine was built for quadratic passes of up to {longest} drafts",
            fix=f"Use --block-length {longest} or less, or leave quadratic out with --modes (--modes ar,linear), "
            f"or rebuild with nld-trt build --quadratic-length {asked}.",
        )
