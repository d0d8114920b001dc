# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints that many tests share, made by the real thing on a few documents."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("modelopt", reason="the extra quantize is not installed")

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.quantization.calibration import DEFAULT_MIX, Mix
from nld_trt.quantization.calibration_set import CalibrationSet, CalibrationSettings
from nld_trt.quantization.modelopt import require_modelopt
from nld_trt.quantization.plan import Plan, make_plan
from nld_trt.quantization.quantize import quantize
from nld_trt.quantization.recipe import Recipe


@pytest.fixture(scope="session", autouse=True)
def modelopt():
    require_modelopt()


@pytest.fixture(scope="session")
def tiny(converted) -> Checkpoint:
    return Checkpoint.open_converted(converted("nld-tiny"))


@pytest.fixture(scope="session")
def few_documents(tiny):
    """A small calibration set of nld-tiny, by mix."""

    def shown(mix: Mix = DEFAULT_MIX, seed: int = 0) -> CalibrationSet:
        return CalibrationSettings("nld-tiny", size=6, seq_len=128, mix=mix, seed=seed).prepare(tiny)

    return shown


def planned(checkpoint: Checkpoint, name: str, *, head: bool = False) -> Plan:
    return make_plan(Recipe.shipped(name), checkpoint.config, head=head)


def run(checkpoint: Checkpoint, plan: Plan, target: Path, shown: CalibrationSet, **options) -> dict:
    return quantize(checkpoint, plan, target, calibration=shown, report=lambda text: None, **options)


@pytest.fixture(scope="session")
def quantized(tiny, few_documents, tmp_path_factory):
    """Folder of nld-tiny quantized by a shipped recipe; made once, not to be written to."""
    made: dict[tuple[str, bool], Path] = {}

    def folder(name: str, *, head: bool = False) -> Path:
        if (name, head) not in made:
            target = tmp_path_factory.mktemp("quantized") / name
            run(tiny, planned(tiny, name, head=head), target, few_documents())
            made[name, head] = target
        return made[name, head]

    return folder
