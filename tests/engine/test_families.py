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
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import execute
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES
from nld_trt.model.network import Network
from tests.quantized_checkpoint import Export, write_effective, write_quantized
from tests.stock_models import BIASED, SIZES, STOCK, make_stock

CHUNK = 512
LIMITS = Limits(max_batch_size=3, max_seq_len=4096, max_block_length=1, prompt_chunk=CHUNK)
BACKENDS = ("ort", "torch")
LONG = 2000


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


def prescale(module: str, inputs: int) -> np.ndarray | None:
    """A scale for every input that linear layers share; those of o_proj agree where heads read the same values."""
    part = module.rpartition(".")[2]
    shared = {"o_proj": 1, "down_proj": 2, "gate_proj": 3, "up_proj": 3}.get(part, 4)
    scale = np.random.default_rng([shared, inputs]).uniform(0.5, 2, inputs).astype(np.float32)
    if part == "o_proj":
        kept = scale.reshape(SIZES["num_key_value_heads"], -1, SIZES["head_dim"])
        return np.broadcast_to(kept[:, :1], kept.shape).reshape(-1)
    return scale


@pytest.mark.parametrize("name", ["qwen3", "qwen3-tied", "mistral", "qwen2"])
@torch.no_grad()
def test_four_bits_compute_what_their_values_stand_for(families, tmp_path, name: str) -> None:
    """Norms, biases and a tied head beside the quantized layers, whose input scales move into what makes the input."""
    families(name)
    make_stock(name, tmp_path / "release")
    convert(write_quantized(tmp_path / "release", tmp_path / "export", Export(prescale=prescale)), tmp_path / "made")
    effective = Checkpoint.open(write_effective(tmp_path / "made", tmp_path / "effective"))
    network = Network(effective.config)
    network.load_state_dict({each: torch.from_numpy(effective.read(each)) for each in effective.names}, strict=False)
    ids = tokens(40)
    expected = network.run(ids, causal=True)[0][0, -1].numpy()
    checkpoint = Checkpoint.open_converted(tmp_path / "made")
    plans = [BuildPlan(backend, "fp32", LIMITS, adapter=False, debug=True, head="checkpoint") for backend in BACKENDS]
    build_engine(checkpoint, plans, tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    model = folder.path / folder.manifest.backends["ort"].files["model"]
    sessions = [OrtSession(model, folder.info("ort", debug=True), exact=True), folder.open_session("torch")]
    for session in sessions:
        session.reserve(1, LIMITS.capacity)
        np.testing.assert_allclose(last_logits(session, ids[0].tolist(), 0), expected, atol=2e-3)
        # One token at a time takes another way through the network of ort.
        last_logits(session, ids[0, :-1].tolist(), 0)
        np.testing.assert_allclose(last_logits(session, ids[0, -1:].tolist(), 39), expected, atol=2e-3)
