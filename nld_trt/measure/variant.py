# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A way of decoding that is worth a row of its own in a comparison: a mode, with or without the adapter."""

from __future__ import annotations

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
        """A greedy request of this variant; ``threshold`` None means the mode's default."""
        return Request(
            prompt_ids=prompt_ids,
            mode=self.mode,
            lora=self.lora,
            max_new_tokens=max_new_tokens,
            block_length=block_length,
            threshold=DEFAULT_THRESHOLDS[self.mode] if threshold is None else threshold,
            eos_token_id=None if stop_on_eos else NEVER,
            # Whatever the checkpoint's default is: what is compared must be the same in every run.
            temperature=0.0,
        )

    def block_length(self, info: EngineInfo, asked: int | None = None) -> int | None:
        """Tokens per block of its requests that ask for ``asked``; None in AR, which has no blocks.

        Raises:
            InputError: the engine does not have this variant, or not with such blocks.
        """
        if self.mode == names.QUADRATIC:
            _check_quadratic(asked, info.limits)
        length = self.request((0,), max_new_tokens=1, block_length=asked).resolved(info).block_length
        return None if self.mode == names.AR else length


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(names.AR, names.AR, lora=False),
        Variant(names.DIFFUSION, names.DIFFUSION, lora=False),
        Variant(names.LINEAR, names.LINEAR, lora=True),
        Variant(names.LINEAR_NO_LORA, names.LINEAR, lora=False),
        Variant(names.QUADRATIC, names.QUADRATIC, lora=True),
    )
}


def parse_variants(text: str | None, info: EngineInfo) -> list[Variant]:
    """Variants from a comma list, or every one that the engine has.

    ``linear`` means with the adapter where the engine has one. Without one, ``linear-no-lora`` means the same, and
    of both only the first is kept.

    Raises:
        InputError: an unknown name.
    """
    if text is None:
        missing = {names.LINEAR_NO_LORA: not info.has_adapter, names.QUADRATIC: not info.limits.max_quadratic_length}
        asked = [name for name in VARIANTS if not missing.get(name)]
    else:
        asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in VARIANTS]
    if unknown or not asked:
        raise InputError(f"--modes has {', '.join(unknown) or 'no mode'}; available: {', '.join(VARIANTS)}")
    chosen = [replace(VARIANTS[name], lora=VARIANTS[name].lora and info.has_adapter) for name in asked]
    measured: dict[tuple[ModeName, bool], Variant] = {}
    for variant in chosen:
        measured.setdefault((variant.mode, variant.lora), variant)
    return list(measured.values())


def greedy_note(info: EngineInfo) -> str | None:
    """The sampling defaults of the checkpoint that requests of a variant leave out, in a sentence; None without any."""
    sampling = info.generation.sampling
    if not sampling:
        return None
    return f"measured greedily: {in_words(sampling)} of {GENERATION_FILE} has no part in this"


def _check_quadratic(asked: int | None, limits: Limits) -> None:
    """What a request would be refused for as well, said to those who choose modes with --modes."""
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
