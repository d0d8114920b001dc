# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engines of other families against the models of transformers: logits at short and long positions, and greedy text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES
from tests.stock_models import BIASED, STOCK, make_stock

CHUNK = 512
LIMITS = Limits(max_batch_size=3, max_seq_len=4096, max_block_length=1, prompt_chunk=CHUNK)
BACKENDS = ("ort", "torch")
LONG = 3000


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """The model of transformers and an engine of it for both backends, by name of the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, BIASED.name, BIASED)
        yield _maker(tmp_path_factory)


def _maker(tmp_path_factory):
    made = {}

    def family(name: str):
        if name not in made:
            folder: Path = tmp_path_factory.mktemp(name)
            model = make_stock(name, folder / "release")
            convert(folder / "release", folder / "converted")
            plans = [BuildPlan(backend, "fp32", LIMITS, adapter=False, debug=True) for backend in BACKENDS]
            build_engine(Checkpoint.open_converted(folder / "converted"), plans, folder / "engine")
            made[name] = model, EngineFolder.open(folder / "engine")
        return made[name]

    return family


def tokens(count: int) -> torch.Tensor:
    return torch.randint(3, 384, (1, count), generator=torch.Generator().manual_seed(count))


def last_logits(session, ids: list[int], cached: int) -> np.ndarray:
    """Logits of the last of ``ids``, which follow ``cached`` tokens."""
    step = fill(session, [Pass(ids, cached, wanted=[len(ids) - 1])])
    execute(session, step)
    return step.outputs["logits"][0, 0].copy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STOCK)
@torch.no_grad()
def test_logits_are_those_of_transformers(families, name: str, backend: str) -> None:
    """After a prompt chunk, after chunks far into the context, and after a single token there."""
    model, folder = families(name)
    ids = tokens(LONG + 1)
    expected = model(ids).logits[0].numpy()
    session = folder.open_session(backend)
    session.reserve(1, LIMITS.capacity)
    short = last_logits(session, ids[0, :7].tolist(), 0)
    np.testing.assert_allclose(short, expected[6], atol=1e-4)
    for start in range(0, LONG, CHUNK):
        stop = min(start + CHUNK, LONG)
        found = last_logits(session, ids[0, start:stop].tolist(), start)
        np.testing.assert_allclose(found, expected[stop - 1], atol=1e-4)
    np.testing.assert_allclose(last_logits(session, ids[0, LONG:].tolist(), LONG), expected[LONG], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STOCK)
@torch.no_grad()
def test_greedy_text_is_that_of_transformers(families, name: str, backend: str) -> None:
    """Prompts of three lengths share a batch; a request that names no mode decodes in ar."""
    model, folder = families(name)
    prompts = [tokens(length) for length in (5, 23, 60)]
    expected = [model.generate(ids, max_new_tokens=20)[0, ids.shape[1] :].tolist() for ids in prompts]
    requests = [Request(tuple(ids[0].tolist()), max_new_tokens=20) for ids in prompts]
    results = dict(generate(Batch(folder.open_session(backend)), requests))
    assert [results[index].tokens for index in range(3)] == expected
    assert {result.mode for result in results.values()} == {"ar"}
