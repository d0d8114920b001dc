# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What every part is told, and how a part says that it cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Lacks(Exception):
    """A part cannot run on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        on_gpu: measure on the GPU; otherwise the parts that have a form for CPUs run that.
        quick: fewer cases and repeats, to see that a part works. The results say so.
        scratch: a folder for engines and outputs of other programs.
    """

    on_gpu: bool
    quick: bool
    scratch: Path

    @property
    def platform(self) -> str:
        return "this GPU" if self.on_gpu else "cpu"

    def need_gpu(self) -> None:
        """Raises Lacks without a GPU."""
        if not self.on_gpu:
            raise Lacks("an NVIDIA GPU with PyTorch for CUDA")
