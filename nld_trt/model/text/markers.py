# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Markers in a model's answers, around its thinking and around the tools that it calls.

Tokenizers have them as tokens of their own, some as special ones, which are left out of decoded text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Markers:
    """What is written before a part of an answer, and after it."""

    opening: str
    closing: str


THINKING: Final = Markers("<think>", "</think>")
# Checkpoints of this family have the first; NVIDIA's earlier ones the second.
TOOL_CALLS: Final = (Markers("<tool_call>", "</tool_call>"), Markers("<TOOLCALL>", "</TOOLCALL>"))

TEXTS: Final = tuple(text for pair in (THINKING, *TOOL_CALLS) for text in (pair.opening, pair.closing))
