# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of an evaluation: column titles and rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nld_trt import names
from nld_trt.decode.figures import FIGURES, Figure

if TYPE_CHECKING:
    from nld_trt.measure.compare.comparison import Comparison
    from nld_trt.measure.score import Score

Table = tuple[list[str], list[list[str]]]
# Accuracy is a figure of scores alone; the others are those of any generations.
_COLUMNS = (
    Figure("accuracy", "accuracy", "fraction of right answers", lambda counts: None, cell="{:.3f}"),
    *FIGURES,
)
_TITLES = ["mode", "block", *(figure.header for figure in _COLUMNS)]


def scores_table(scores: Sequence[Score]) -> Table:
    """One row per score, in their order."""
    return _TITLES, [[score.mode, *_figures(score)] for score in scores]


def side_by_side_table(scores: Sequence[Score], against: Sequence[Score]) -> Table:
    """For every mode the engine's row, the reference's, and the step between them where both have the mode."""
    references = {score.mode: score for score in against}
    rows = []
    for score in scores:
        rows.append([score.mode, *_figures(score)])
        if score.mode in references:
            reference = references[score.mode]
            rows.append([f"{score.mode} (against)", *_figures(reference)])
            rows.append([f"{score.mode} (change)", "-", *_changes(reference, score)])
    return _TITLES, rows


def comparison_table(comparison: Comparison) -> Table:
    """One row per kind of pass, and per noise level."""
    passes = {"causal": comparison.causal}
    if comparison.by_noise_level:
        passes["bidirectional"] = comparison.bidirectional
    passes |= {f"  {level:.0%} masked": figures for level, figures in comparison.by_noise_level.items()}
    if comparison.draft is not None:
        passes[names.DRAFT] = comparison.draft
    rows = [
        [
            name,
            "-" if figures.kl is None else f"{figures.kl:.3g}",
            "-" if figures.top1_agreement is None else f"{figures.top1_agreement:.4f}",
            str(figures.positions),
        ]
        for name, figures in passes.items()
    ]
    return ["pass", "KL (nats)", "top-1 agreement", "positions"], rows


def _figures(score: Score) -> list[str]:
    block = "-" if score.block_length is None else str(score.block_length)
    return [block, *(figure.text(getattr(score, figure.name)) for figure in _COLUMNS)]


def _changes(reference: Score, score: Score) -> list[str]:
    return [figure.change(getattr(reference, figure.name), getattr(score, figure.name)) for figure in _COLUMNS]
