# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A quantization in words: what it is about to do, and what it made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nld_trt.files import human_bytes
from nld_trt.quantization.calibration_set import CalibrationSet
from nld_trt.quantization.plan import Plan


def intended(plan: Plan, calibration: CalibrationSet | None, device: str) -> list[str]:
    """Sentences on what a quantization is about to do on ``device``."""
    kept = "embedding and norms" if plan.head else "embedding, norms and diffusion_head"
    lines = [
        f"{plan.recipe.name}: {plan.recipe.description.strip()}",
        f"{len(plan.formats)} linear layers on {device}; {kept} stay as they are",
    ]
    if plan.regrouped:
        sizes = sorted(set(plan.regrouped.values()))
        lines.append(
            f"{len(plan.regrouped)} layers take groups of {', '.join(map(str, sizes))}: their input features are no "
            "multiple of the recipe's"
        )
    return [*lines, *_calibration(calibration)]


def _calibration(calibration: CalibrationSet | None) -> list[str]:
    if calibration is None:
        return ["no calibration data is needed"]
    summary, asked = calibration.summary, calibration.settings.size
    lines = [
        f"calibrating on {summary.documents} documents, {summary.tokens} tokens: {summary.causal_tokens} causal, "
        f"{summary.bidirectional_tokens} in masked blocks, {summary.draft_tokens} in drafts"
    ]
    if summary.documents < asked:
        lines.append(f"the data set has {summary.documents} usable documents; {asked} were asked for")
    return lines


def made(manifest: Mapping[str, Any], folder: Path) -> str:
    """One sentence on the quantized checkpoint in ``folder``, from its manifest."""
    facts = manifest["quantization"]
    run, size = facts["run"], sum(entry["bytes"] for entry in manifest["files"].values())
    peak = run["peak_resident_bytes"]
    return (
        f"{facts['algorithm']} checkpoint in {folder}: {human_bytes(size)}, {facts['bits_per_weight']:.2f} bits per "
        f"weight, {run['seconds']} s" + (f", peak memory {human_bytes(peak)}" if peak else "")
    )
