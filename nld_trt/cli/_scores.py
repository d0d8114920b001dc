# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of an evaluation: column titles and rows of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nld_trt.measure.compare.comparison import Comparison
    from nld_trt.measure.score import Score

Table = tuple[list[str], list[list[str]]]
Figure = float | None

# Column, its figure, how one figure is written, how the step from the reference's to the candidate's is.
_COLUMNS: tuple[tuple[str, Callable[[Score], Figure], str, Callable[[float, float], str]], ...] = (
    ("accuracy", lambda score: score.accuracy, "{:.3f}", lambda old, new: f"{new - old:+z.3f}"),
    ("tokens per forward", lambda score: score.tokens_per_forward, "{:.2f}", lambda old, new: f"{new - old:+z.2f}"),
    ("acceptance length", lambda score: score.acceptance_length, "{:.2f}", lambda old, new: f"{new - old:+z.2f}"),
    ("passes per block", lambda score: score.denoise_passes_per_block, "{:.2f}", lambda old, new: f"{new - old:+z.2f}"),
    ("tokens/s", lambda score: score.tokens_per_second, "{:.0f}", lambda old, new: f"×{new / old:.2f}"),
    ("time outside the engine", lambda score: score.host_share, "{:.1%}", lambda old, new: f"{new - old:+z.1%}"),
)
_TITLES = ["mode", "block", *(title for title, *_ in _COLUMNS)]


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
    passes = {"causal": comparison.causal, "bidirectional": comparison.bidirectional}
    passes |= {f"  {level:.0%} masked": figures for level, figures in comparison.by_noise_level.items()}
    if comparison.draft is not None:
        passes["draft"] = comparison.draft
    rows = [
        [name, _text(figures.kl, "{:.3g}"), _text(figures.top1_agreement, "{:.4f}"), str(figures.positions)]
        for name, figures in passes.items()
    ]
    return ["pass", "KL (nats)", "top-1 agreement", "positions"], rows


def _figures(score: Score) -> list[str]:
    return [_text(score.block_length, "{}"), *(_text(figure(score), form) for _, figure, form, _ in _COLUMNS)]


def _changes(reference: Score, score: Score) -> list[str]:
    cells = []
    for _, figure, _, change in _COLUMNS:
        old, new = figure(reference), figure(score)
        cells.append("-" if old is None or new is None else change(old, new))
    return cells


def _text(value: Figure, form: str) -> str:
    return "-" if value is None else form.format(value)
