# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Colours and shapes of series: Okabe and Ito's palette, for any kind of colour vision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nld_trt import names
from nld_trt.measure.report.chart import SHAPES, Style

BLUE, SKY, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#B8A800"
ORANGE, VERMILLION, PURPLE, BLACK, GREY = "#E69F00", "#D55E00", "#CC79A7", "#000000", "#8A8A8A"
BROWN = "#7A4B16"

_OF_MODE: Final = {
    names.AR: BLUE,
    names.LINEAR: VERMILLION,
    names.LINEAR_NO_LORA: ORANGE,
    names.DIFFUSION: GREEN,
    names.QUADRATIC: PURPLE,
    names.EAGLE3: BROWN,
    names.AUTO: BLACK,
}
# A server that does not say how it decodes is measured as a mode of its own.
_OTHER: Final = SKY


def styles(modes: Sequence[str]) -> list[Style]:
    """A look for each series, given its mode: the mode's colour, and another shape and dashes for each further one."""
    seen: dict[str, int] = {}
    found = []
    for mode in modes:
        number = seen.get(mode, 0)
        seen[mode] = number + 1
        # The shapes of two modes differ as well, so that a chart in grey can be read.
        first = list(_OF_MODE).index(mode) if mode in _OF_MODE else 1
        shape = SHAPES[(first + number) % len(SHAPES)]
        found.append(Style(_OF_MODE.get(mode, _OTHER), shape, dashed=number > 0, wide=mode == names.AUTO))
    return found


def colour_of(mode: str) -> str:
    return _OF_MODE.get(mode, _OTHER)
