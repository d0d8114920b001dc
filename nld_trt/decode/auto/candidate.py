# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A way of decoding that a controller may choose: a mode and its block length."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from nld_trt import names
from nld_trt.names import ModeName

# Block lengths of linear self-speculation that are compared, as far as the engine has them.
BLOCK_LENGTHS: Final = (4, 8, 16, 32)


@dataclass(frozen=True)
class Candidate:
    """A mode with a block length, which is 1 in a mode without blocks."""

    mode: ModeName
    block_length: int = 1

    @property
    def forwards(self) -> int:
        """Forwards of a round: draft and verify, or one."""
        return 2 if self.mode == names.LINEAR else 1

    def __str__(self) -> str:
        return self.mode if self.block_length == 1 else f"{self.mode} {self.block_length}"


AUTOREGRESSIVE: Final = Candidate(names.AR)


def candidates(widths: Collection[int], *, diffusion_block: int | None = None) -> tuple[Candidate, ...]:
    """The candidates of an engine whose forwards of ``widths`` tokens per row have known costs.

    Args:
        diffusion_block: block length of diffusion; None means that it is never chosen.
    """
    linear = [Candidate(names.LINEAR, length) for length in BLOCK_LENGTHS if length in widths]
    denoised = [] if diffusion_block is None else [Candidate(names.DIFFUSION, diffusion_block)]
    return (AUTOREGRESSIVE, *linear, *denoised)
