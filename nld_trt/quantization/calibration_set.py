# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The calibration set of a quantization: the chosen data as packs, with a description for the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.text.codec import Codec
from nld_trt.quantization.calibration import (
    CANVAS_ONLY,
    DEFAULT_MIX,
    TEXT_ONLY,
    Mix,
    Pack,
    Summary,
    make_canvases,
    make_packs,
)
from nld_trt.quantization.dataset import DEFAULT_SET, read_documents

# The longest pack. Attention materialises the scores of a whole pack, so memory and time grow with its square.
PACK_TOKENS = 1024

# The largest seed. NumPy's generators take any seed from 0 to this.
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class CalibrationSettings:
    """The calibration settings that a user gave.

    Attributes:
        dataset: a file, or the name of a shipped set.
        size: number of documents.
        seq_len: longest document, in tokens.
        block_length: tokens of a masked block; None for the checkpoint's.
        chat_template: name of one of the checkpoint's, or path of a Jinja file; None for the checkpoint's default.
    """

    dataset: str = DEFAULT_SET
    size: int = names.DEFAULT_CALIBRATION_SIZE
    seq_len: int = names.DEFAULT_CALIBRATION_SEQ_LEN
    mix: Mix = DEFAULT_MIX
    seed: int = 0
    block_length: int | None = None
    chat_template: str | None = None

    def __post_init__(self) -> None:
        """Check the values. Raises InputError for an invalid one."""
        for name, least in (("size", 1), ("seq_len", 2), ("seed", 0)):
            value = getattr(self, name)
            if not least <= value <= MAX_SEED:
                flag = "--seed" if name == "seed" else f"--calib-{name.replace('_', '-')}"
                raise InputError(f"{flag} is {value}; it must be at least {least} and below 2^63")

    def prepare(self, checkpoint: Checkpoint) -> CalibrationSet:
        """Read the data and make packs of it.

        A family without MASK is calibrated on causal text alone, and one that sees the whole canvas on canvases: this
        is what the default mix means for them.

        Raises:
            InputError: no data can be used, or the mix has passes that the family has not.
        """
        config = checkpoint.config
        only, why = _only_mix(config)
        if only is not None and self.mix != only:
            if self.mix == DEFAULT_MIX:
                return replace(self, mix=only).prepare(checkpoint)
            shares = ",".join(f"{share:g}" for share in (only.causal, only.bidirectional, only.draft))
            raise InputError(
                f"--calib-mix is {self.mix}; {config.family.title} {why}",
                fix=f"Leave --calib-mix out, or pass {shares}.",
            )
        if only is None and self.mix == CANVAS_ONLY:
            raise InputError(
                f"--calib-mix is {self.mix}; blocks of {config.family.title} see causal text before them",
                fix="Leave --calib-mix out, or give causal text a share.",
            )
        documents = read_documents(
            self.dataset,
            Codec.open(checkpoint.folder, self.chat_template),
            eos_token_id=config.eos_token_id,
            size=self.size,
            seq_len=self.seq_len,
            seed=self.seed,
        )
        if only == CANVAS_ONLY:
            canvases = make_canvases(documents, config, pack_tokens=PACK_TOKENS, seed=self.seed)
            return CalibrationSet(canvases, self)
        packs = make_packs(
            documents,
            config,
            self.mix,
            block_length=config.block_size if self.block_length is None else self.block_length,
            adapter=checkpoint.adapter is not None,
            pack_tokens=PACK_TOKENS,
            seed=self.seed,
        )
        return CalibrationSet(packs, self)


def _only_mix(config: ModelConfig) -> tuple[Mix | None, str]:
    """The mix of a family whose passes are all of one kind, and what it lacks; None for families of several kinds."""
    if config.family.reads_canvas:
        return CANVAS_ONLY, "has no passes but those over its whole canvas"
    if config.mask_token_id is None:
        return TEXT_ONLY, "has no MASK, and so no blocks to calibrate on"
    return None, ""


@dataclass(frozen=True)
class CalibrationSet:
    packs: Sequence[Pack]
    settings: CalibrationSettings

    @property
    def sha256(self) -> str:
        """A hash of every column of every pack, which is equal for runs that calibrate with the same tokens."""
        digest = hashlib.sha256()
        for pack in self.packs:
            for field in fields(pack):
                column = getattr(pack, field.name)
                digest.update(f"{field.name} {column.dtype} {column.shape} ".encode())
                digest.update(column.tobytes())
        return digest.hexdigest()

    @property
    def summary(self) -> Summary:
        return Summary.of(self.packs)

    def to_dict(self) -> dict[str, Any]:
        """Describe the set for the manifest. A file is named without its folder, which says nothing about the data."""
        settings = self.settings
        return {
            "dataset": Path(settings.dataset).name,
            "size": settings.size,
            "seq_len": settings.seq_len,
            "mix": str(settings.mix),
            "seed": settings.seed,
            **self.summary.to_dict(),
            "sha256": self.sha256,
        }
