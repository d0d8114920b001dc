# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration data for the three kinds of pass that the same weights are used in.

Activations of a causal pass, of a partly denoised block and of a wholly masked draft differ, so a quantizer must see
all three. A pack holds all of them, and one forward of the torch network shows them to every quantizer: documents as
clean causal tokens, followed by blocks that see themselves and the clean tokens before them, which is what a
bidirectional pass over a causal cache sees.

Shapes: S tokens of a pack, B slots of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.model.config import ModelConfig
from nld_trt.quantization.dataset import Document

KINDS = ("causal", "bidirectional", "draft")
CAUSAL, BIDIRECTIONAL, DRAFT = range(len(KINDS))

# The least fraction of causal tokens. With fewer, the blocks would repeat the same few contexts.
MIN_CAUSAL = 0.1

# Fractions of a block's slots, without the first, that are masked: from nearly decoded to wholly masked.
NOISE_LEVELS = tuple(eighths / 8 for eighths in range(1, 9))

_SUM_TOLERANCE = 1e-6
_MIX_FORMS = "Pass three shares that add up to 1, such as 0.5,0.25,0.25 or causal=0.5,bidirectional=0.3,draft=0.2."


@dataclass(frozen=True)
class Mix:
    """The fractions of the calibration tokens that belong to each kind of pass. They add up to 1.

    Raises:
        InputError: a fraction is outside 0 to 1, the sum is not 1, or there are too few causal tokens for the blocks.
    """

    causal: float
    bidirectional: float
    draft: float

    def __post_init__(self) -> None:
        shares = asdict(self)
        outside = [f"{name} is {share}" for name, share in shares.items() if not 0 <= share <= 1]
        if outside:
            raise InputError("a share of the calibration mix is outside 0 to 1", details=outside, fix=_MIX_FORMS)
        total = math.fsum(shares.values())
        if abs(total - 1) > _SUM_TOLERANCE:
            raise InputError(f"the shares {self} of the calibration mix add up to {total:.6g}, not 1", fix=_MIX_FORMS)
        if self.causal < MIN_CAUSAL and self.bidirectional != 1:
            raise InputError(
                f"the calibration mix has {self.causal} causal tokens; at least {MIN_CAUSAL} are needed",
                details=["blocks see the causal text before them, which is part of the same pass"],
                fix=_MIX_FORMS,
            )

    @classmethod
    def parse(cls, text: str) -> Mix:
        """Read a mix: ``0.5,0.25,0.25`` in the order of KINDS, or ``causal=0.5,draft=0.5``, 0 for kinds left out.

        Raises:
            InputError: the text has neither form, or its fractions are not a mix.
        """
        parts = [part.strip() for part in text.split(",")]
        named = [part.partition("=")[::2] for part in parts if "=" in part]
        pairs = [(name.strip(), value) for name, value in named] or list(zip(KINDS, parts, strict=False))
        names = [name for name, _ in pairs]
        unknown = [name for name in names if name not in KINDS]
        if unknown:
            raise InputError(f"the calibration mix names {unknown[0]!r}; kinds: {', '.join(KINDS)}", fix=_MIX_FORMS)
        if len(pairs) != len(parts) or len(set(names)) != len(names) or not (named or len(parts) == len(KINDS)):
            raise InputError(f"{text!r} is not a calibration mix", fix=_MIX_FORMS)
        try:
            return cls(**{**dict.fromkeys(KINDS, 0.0), **{name: float(value) for name, value in pairs}})
        except ValueError as error:
            raise InputError(f"{text!r} is not a calibration mix: {error}", fix=_MIX_FORMS) from error

    def __str__(self) -> str:
        """Returns the mix in a form that :meth:`parse` reads."""
        return ",".join(f"{name}={share}" for name, share in asdict(self).items())


DEFAULT_MIX = Mix(*names.DEFAULT_CALIBRATION_MIX)
TEXT_ONLY = Mix(1.0, 0.0, 0.0)
# Of families that see the whole canvas, which have no other passes (:func:`make_canvases`).
CANVAS_ONLY = Mix(0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Pack:
    """One row for the torch network: whole documents and their blocks, without padding.

    Attributes:
        tokens: int64 [S], token ids.
        positions: int64 [S], absolute positions within the document; a block has those of its slots in the answer.
        kind: int64 [S], index into KINDS.
        doc: int64 [S], index of the document among those that were packed.
        block: int64 [S], number of the block within the pack, -1 for clean tokens.
        limit: int64 [S]; a token sees the clean tokens of its document at positions below this.
        gate: float32 [S], 1 where the draft adapter is on.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    kind: NDArray[np.int64]
    doc: NDArray[np.int64]
    block: NDArray[np.int64]
    limit: NDArray[np.int64]
    gate: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def mask(self) -> NDArray[np.bool_]:
        """Make the attention mask, bool [S, S], True where a query (row) sees a key (column)."""
        clean = (self.block < 0) & (self.doc[:, None] == self.doc) & (self.positions < self.limit[:, None])
        own_block = (self.block[:, None] == self.block) & (self.block >= 0)
        mask: NDArray[np.bool_] = clean | own_block
        return mask


@dataclass(frozen=True)
class Summary:
    """Counts of the calibration data, for printing and the manifest."""

    documents: int
    packs: int
    blocks: int
    causal_tokens: int
    bidirectional_tokens: int
    draft_tokens: int
    adapter_tokens: int
    longest_pack: int

    @classmethod
    def of(cls, packs: Sequence[Pack]) -> Summary:
        counts = sum((np.bincount(pack.kind, minlength=len(KINDS)) for pack in packs), np.zeros(len(KINDS), int))
        return cls(
            documents=sum(len(np.unique(pack.doc)) for pack in packs),
            packs=len(packs),
            blocks=sum(int(pack.block.max()) + 1 for pack in packs),
            causal_tokens=int(counts[CAUSAL]),
            bidirectional_tokens=int(counts[BIDIRECTIONAL]),
            draft_tokens=int(counts[DRAFT]),
            adapter_tokens=sum(int(np.count_nonzero(pack.gate)) for pack in packs),
            longest_pack=max((len(pack) for pack in packs), default=0),
        )

    @property
    def tokens(self) -> int:
        return self.causal_tokens + self.bidirectional_tokens + self.draft_tokens

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_packs(
    documents: Sequence[Document],
    config: ModelConfig,
    mix: Mix,
    *,
    block_length: int,
    adapter: bool,
    pack_tokens: int,
    seed: int,
) -> list[Pack]:
    """Make packs of every document once as causal tokens, with as many blocks as the mix asks for.

    The number of blocks follows the running total of causal tokens, rounded up. At the end each kind of block has its
    fraction of the tokens, to within one block, and at least one block if its fraction is not 0.

    A block begins anywhere in an answer. Slot 0 holds the document's token, because decoding starts every block with a
    decided token. Other slots hold the document's token or MASK: all are masked in a draft, and a random choice at one
    of NOISE_LEVELS in a bidirectional block. Slots after the end of an answer hold EOS.

    Families that see their prompts in blocks have clean tokens that see the rest of their block, where causal ones
    would see nothing after them. Their masked blocks stand at multiples of the block length, and slot 0 may be masked.

    Args:
        documents: the documents, which must all have a place for a block (:attr:`Document.holds_block`).
        block_length: tokens of a block, B.
        adapter: whether the checkpoint has a draft adapter. Without one the gate is 0 in drafts, too.
        pack_tokens: longest pack. A document is not separated from its blocks; if they exceed this together, they
            form a longer pack by themselves.
        seed: seed of the block positions, levels and slots. The same arguments give the same packs.

    Raises:
        InputError: the mix has blocks, and ``block_length`` leaves no slot to mask.
    """
    if block_length < 2 and mix != TEXT_ONLY:
        raise InputError(
            f"calibration blocks of {block_length} tokens have no slot to mask",
            fix="Pass a block length of at least 2, or a mix of causal tokens only: 1,0,0.",
        )
    rng = np.random.default_rng(seed)
    quotas = {BIDIRECTIONAL: mix.bidirectional / mix.causal, DRAFT: mix.draft / mix.causal}
    made = dict.fromkeys(quotas, 0)
    causal_tokens, waiting, packs = 0, _Rows(), []
    for index, document in enumerate(documents):
        causal_tokens += len(document.ids)
        kinds: list[int] = []
        for kind, quota in quotas.items():
            # A rounding error of the product must not add a whole block.
            due = math.ceil(causal_tokens * quota / block_length - 1e-9)
            kinds += [kind] * (due - made[kind])
            made[kind] = due
        if len(waiting) and len(waiting) + len(document.ids) + block_length * len(kinds) > pack_tokens:
            packs.append(waiting.pack())
            waiting = _Rows()
        waiting.add_document(index, document, block_length if config.family.aligns_blocks else 1)
        starts = _block_starts(document, config, block_length, len(kinds), rng)
        for kind, start in zip(kinds, starts, strict=True):
            waiting.add_block(index, kind, start, _block(document, config, kind, start, block_length, rng), adapter)
    return [*packs, waiting.pack()] if len(waiting) else packs


def make_canvases(documents: Sequence[Document], config: ModelConfig, *, pack_tokens: int, seed: int) -> list[Pack]:
    """Make packs of every document once as a canvas: its prompt, and its answer partly masked.

    Every token of a canvas sees every other. The slots of an answer are masked at random at one of NOISE_LEVELS.

    Args:
        pack_tokens: longest pack. A longer document is a pack by itself.
        seed: seed of levels and slots. The same arguments give the same packs.
    """
    rng = np.random.default_rng(seed)
    waiting, packs = _Rows(), []
    for index, document in enumerate(documents):
        if len(waiting) and len(waiting) + len(document.ids) > pack_tokens:
            packs.append(waiting.pack())
            waiting = _Rows()
        tokens = np.array(document.ids, np.int64)
        slots = np.arange(min(document.answer_start, len(tokens) - 1), len(tokens))
        count = max(1, round(rng.choice(NOISE_LEVELS) * len(slots)))
        tokens[rng.choice(slots, size=count, replace=False)] = config.mask_id
        waiting.add_block(index, BIDIRECTIONAL, 0, tokens, adapter=False)
    return [*packs, waiting.pack()] if len(waiting) else packs


def _block_starts(
    document: Document, config: ModelConfig, length: int, count: int, rng: np.random.Generator
) -> Iterator[int]:
    """Choose ``count`` block positions in the answer, different ones as long as there are enough.

    Decoding never starts a block from EOS. A document that was cut is followed by unknown text and not by EOS, so
    blocks end before the cut where the answer is long enough.
    """
    ended = document.ids[-1] in config.eos_token_ids
    first, stop = document.answer_start, len(document.ids) - (1 if ended else length - 1)
    if config.family.aligns_blocks:
        first -= first % length
        choices = np.arange(first, max(stop, first + 1), length)
    else:
        choices = np.arange(first, max(stop, first + 1))
    chosen = rng.choice(choices, size=count, replace=count > len(choices))
    return (int(start) for start in chosen)


def _block(
    document: Document, config: ModelConfig, kind: int, start: int, length: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Make the tokens of one block, int64 [B]."""
    tokens = np.full(length, config.eos_token_id, np.int64)
    known = document.ids[start : start + length]
    tokens[: len(known)] = known
    # Where nothing decides a block's first token beforehand, it is a mask like the others.
    decided = not config.family.aligns_blocks
    slots = length - decided
    level = 1.0 if kind == DRAFT else rng.choice(NOISE_LEVELS)
    masked = rng.choice(slots, size=max(1, round(level * slots)), replace=False) + decided
    tokens[masked] = config.mask_token_id
    return tokens


_Column = Sequence[int] | NDArray[np.int64]


class _Rows:
    """The columns of a pack that is being filled."""

    def __init__(self) -> None:
        self._columns: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(Pack)}
        self._length = 0
        self._blocks = 0

    def __len__(self) -> int:
        return self._length

    def add_document(self, index: int, document: Document, seen_together: int) -> None:
        """Add clean tokens, of which ``seen_together`` see each other; 1 of causal ones."""
        positions = np.arange(len(document.ids))
        limit = (positions // seen_together + 1) * seen_together
        self._add(document.ids, positions, limit=limit, kind=CAUSAL, doc=index, block=-1, gate=0)

    def add_block(self, index: int, kind: int, start: int, tokens: NDArray[np.int64], adapter: bool) -> None:
        positions = np.arange(start, start + len(tokens))
        gate = int(adapter and kind == DRAFT)
        self._add(tokens, positions, limit=start, kind=kind, doc=index, block=self._blocks, gate=gate)
        self._blocks += 1

    def _add(self, tokens: _Column, positions: _Column, **columns: _Column | int) -> None:
        for name, values in {"tokens": tokens, "positions": positions, **columns}.items():
            kind = np.float32 if name == "gate" else np.int64
            self._columns[name].append(np.broadcast_to(np.asarray(values, kind), len(tokens)))
        self._length += len(tokens)

    def pack(self) -> Pack:
        return Pack(**{name: np.concatenate(parts) for name, parts in self._columns.items()})
