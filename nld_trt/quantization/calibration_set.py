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
from nld_trt.model.text.codec import Codec
from nld_trt.quantization.calibration import DEFAULT_MIX, TEXT_ONLY, Mix, Pack, Summary, make_packs
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

        A family without MASK is calibrated on causal text alone, which is what its default mix means.

        Raises:
            InputError: no data can be used, or the mix has masked blocks and the family has no MASK.
        """
        config = checkpoint.config
        if config.mask_token_id is None and self.mix != TEXT_ONLY:
            if self.mix == DEFAULT_MIX:
                return replace(self, mix=TEXT_ONLY).prepare(checkpoint)
            raise InputError(
                f"--calib-mix is {self.mix}; {config.family.title} has no MASK, and so no blocks to calibrate on",
                fix="Leave --calib-mix out, or pass 1,0,0: causal text alone.",
            )
        documents = read_documents(
            self.dataset,
            Codec.open(checkpoint.folder, self.chat_template),
            eos_token_id=config.eos_token_id,
            size=self.size,
            seq_len=self.seq_len,
            seed=self.seed,
        )
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
