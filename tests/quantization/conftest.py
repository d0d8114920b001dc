# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints that many tests share, made by the real thing on a few documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("modelopt", reason="the extra quantize is not installed")

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.quantization.calibration import DEFAULT_MIX, Mix, make_packs
from nld_trt.quantization.calibration_set import CalibrationSet, CalibrationSettings
from nld_trt.quantization.dataset import Document
from nld_trt.quantization.modelopt import require_modelopt
from nld_trt.quantization.plan import Plan, make_plan
from nld_trt.quantization.quantize import quantize
from nld_trt.quantization.recipe import Recipe


@pytest.fixture(scope="session", autouse=True)
def modelopt():
    require_modelopt()


@pytest.fixture(scope="session")
def tiny(golden) -> Checkpoint:
    return golden("tiny-a")


@pytest.fixture(scope="session")
def few_documents(tiny):
    """A small calibration set of random text, by mix."""

    def shown(mix: Mix = DEFAULT_MIX, seed: int = 0) -> CalibrationSet:
        random, config = np.random.default_rng(seed), tiny.config
        documents = [
            Document(tuple(random.integers(0, config.mask_token_id, 40).tolist()), answer_start=9) for _ in range(5)
        ]
        packs = make_packs(documents, config, mix, block_length=8, adapter=True, pack_tokens=128, seed=seed)
        return CalibrationSet(packs, CalibrationSettings("random", size=5, seq_len=40, mix=mix, seed=seed))

    return shown


def planned(checkpoint: Checkpoint, name: str, *, head: bool = False) -> Plan:
    return make_plan(Recipe.shipped(name), checkpoint.config, head=head)


def run(checkpoint: Checkpoint, plan: Plan, target: Path, shown: CalibrationSet, **options) -> dict:
    return quantize(checkpoint, plan, target, calibration=shown, **options)


@pytest.fixture(scope="session")
def quantized(tiny, few_documents, tmp_path_factory):
    """Folder of tiny-a quantized by a shipped recipe; made once, not to be written to."""
    made: dict[tuple[str, bool], Path] = {}

    def folder(name: str, *, head: bool = False) -> Path:
        if (name, head) not in made:
            target = tmp_path_factory.mktemp("quantized") / name
            run(tiny, planned(tiny, name, head=head), target, few_documents())
            made[name, head] = target
        return made[name, head]

    return folder
