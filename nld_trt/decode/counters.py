# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Forward counts of one request, under the reference's counting rules (docs/model.md, Counting)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nld_trt import names
from nld_trt.names import ModeName, PassKind


@dataclass
class Counters:
    """Filled while decoding.

    Attributes:
        forwards: forwards this request took part in, by kind; a chunked prefill counts every chunk.
        accepted: linear and quadratic: tokens of each verify pass, matching draft tokens + 1, before any cut.
        denoise_passes: diffusion: denoise passes of each block.
    """

    forwards: Counter[PassKind] = field(default_factory=Counter)
    accepted: list[int] = field(default_factory=list)
    denoise_passes: list[int] = field(default_factory=list)

    def nfe(self, mode: ModeName, emitted: int) -> int:
        """Number of forward evaluations as the reference counts them.

        ar: emitted tokens, prefill excluded. diffusion: denoise passes + one commit per block, prefill
        excluded. linear and quadratic: 1 for the prefill + draft, verify and quadratic passes.
        """
        rules = {
            names.AR: emitted,
            names.DIFFUSION: self.forwards[names.DENOISE] + self.forwards[names.COMMIT],
            names.LINEAR: 1 + self.forwards[names.DRAFT] + self.forwards[names.VERIFY],
            names.QUADRATIC: 1 + self.forwards[names.DRAFT] + self.forwards[names.QUADRATIC],
        }
        return rules[mode]
