# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy that ``nld-trt evaluate`` has found, for the points of a sweep of the same engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.measure.report.measured import Measurement

# Checkpoint, backend, precision in words, mode and block length.
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Scores:
    """Accuracies of engines, each in modes.

    Attributes:
        accuracies: fraction of right answers, by engine, mode and block length.
        files: which of them say something of the points that are reported.
    """

    accuracies: Mapping[Key, float] = field(default_factory=dict)
    files: Sequence[str] = ()

    @classmethod
    def read(cls, paths: Sequence[Path], measurements: Sequence[Measurement]) -> Scores:
        """Read files of ``nld-trt evaluate -o``.

        Raises:
            InputError: a file is none, or is of an engine, or of modes and blocks, that no folder has measured.
        """
        measured = {_of_row(each.row) for each in measurements}
        found: dict[Key, float] = {}
        for path in paths:
            scored = _scored(path)
            if not measured & set(scored):
                raise InputError(
                    f"the scores in {path} are of no point of these folders: other engines, modes or blocks",
                    details=[f"they are of {_words(key)}" for key in scored],
                    fix="Evaluate the engine that was swept: nld-trt evaluate ENGINE_DIR --prompts FILE -o SCORES.",
                )
            found |= scored
        return cls(found, tuple(path.name for path in paths))

    def of(self, measurement: Measurement) -> float | None:
        """The accuracy of the engine in the mode of a point; None where it was not evaluated."""
        return self.accuracies.get(_of_row(measurement.row))


def _scored(path: Path) -> dict[Key, float]:
    values = read_json(path)
    try:
        how = " ".join(part for part in (values["quantization"], values["precision"]) if part)
        engine = values["model_sha256"], values["backend"], how
        return {
            (*engine, score["mode"], score["block_length"]): float(score["accuracy"])
            for score in values["scores"]
            if score["accuracy"] is not None
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} has no scores of nld-trt evaluate: {error!r}", fix="Give a file of nld-trt evaluate -o."
        ) from error


def _of_row(row: Mapping[str, Any]) -> Key:
    return tuple(row.get(name) for name in ("model_sha256", "backend", "precision", "mode", "block_length"))


def _words(key: Key) -> str:
    sha, backend, precision, mode, block = key
    blocks = "" if block is None else f", block {block}"
    return f"checkpoint {str(sha)[:12]}, {backend} {precision}, {mode}{blocks}"
