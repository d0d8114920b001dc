# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engines of families that see the whole canvas, against layers of transformers and a plainly written procedure."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import execute
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES
from nld_trt.model.network import Network
from tests.canvas_models import CANVAS, EOS, MASK, CachedLogits, canvas_logits, denoise_canvas, make_canvas_model
from tests.quantized_checkpoint import Export, write_effective, write_quantized

LONGEST = 160
LIMITS = Limits(
    max_batch_size=4, max_seq_len=LONGEST, max_block_length=24, prompt_chunk=LONGEST, max_canvas_length=LONGEST
)
BACKENDS = ("ort", "torch")
CASES, QUICK_CASES = 48, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The model of transformers and an engine for both backends, by family."""
    found = {}

    def make(name: str):
        if name not in found:
            folder: Path = tmp_path_factory.mktemp(name)
            model = make_canvas_model(name, folder / "release")
            convert(folder / "release", folder / "converted")
            plans = [BuildPlan(backend, "fp32", LIMITS, adapter=False, debug=True) for backend in BACKENDS]
            build_engine(Checkpoint.open_converted(folder / "converted"), plans, folder / "engine")
            found[name] = model, EngineFolder.open(folder / "engine")
        return found[name]

    return make


@pytest.fixture(scope="module")
def session(made):
    opened = {}

    def find(name: str, backend: str):
        if (name, backend) not in opened:
            opened[name, backend] = made(name)[1].open_session(backend)
        return opened[name, backend]

    return find


def requests(count: int, seed: int = 3) -> list[Request]:
    """Over lengths, block lengths, thresholds, numbers of steps and ends."""
    rng = random.Random(seed)
    return [
        Request(
            tuple(rng.randrange(EOS) for _ in range(rng.randint(1, 60))),
            max_new_tokens=rng.randint(1, 70),
            block_length=rng.choice([1, 3, 8, 16, 24]),
            threshold=rng.choice([None, 0.02, 0.05, 0.3]),
            steps=rng.choice([None, None, 1, 3, 5, 8, 30]),
            eos_token_id=rng.choice([None, -1, tuple(rng.randrange(EOS) for _ in range(6))]),
            mode="diffusion",
        )
        for _ in range(count)
    ]


def decode(session, asked: list[Request], rows: int | None = None) -> list[Result]:
    results = dict(generate(Batch(session, max_rows=rows, prefix_caching=True), asked))
    return [results[index] for index in range(len(asked))]


def ends(request: Request) -> tuple[int, ...]:
    return {None: (EOS,), -1: ()}.get(request.eos_token_id, request.eos_token_id)


def expected(logits_of, request: Request):
    return denoise_canvas(
        logits_of, request.prompt_ids, tokens=request.max_new_tokens, block_length=request.block_length,
        threshold=request.threshold, steps=request.steps, eos=ends(request),
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CANVAS)
def test_logits_of_a_block_are_those_of_transformers(made, session, name: str, backend: str) -> None:
    """Two canvases of different lengths, the block of each somewhere in it: neither sees the other's padding."""
    model, engine = made(name)[0], session(name, backend)
    engine.reserve(2, LIMITS.capacity)
    rng = np.random.default_rng(0)
    passes = []
    for length, first in ((LONGEST, 130), (41, 7)):
        canvas = rng.integers(0, EOS, length)
        canvas[first:] = MASK
        passes.append(Pass(canvas.tolist(), causal=False, wanted=range(first, first + 20)))
    step = fill(engine, passes)
    execute(engine, step)
    for row, part in enumerate(passes):
        logits = canvas_logits(model, part.tokens, shifted=FAMILIES[name].shifted)[list(part.wanted)]
        np.testing.assert_allclose(step.outputs["logits"][row, :20], logits, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CANVAS)
@pytest.mark.parametrize("cases", [QUICK_CASES, pytest.param(CASES, marks=pytest.mark.slow)])
def test_tokens_are_those_of_the_procedure(made, session, name: str, backend: str, cases: int) -> None:
    """Requests share the batch, and come and go."""
    model = made(name)[0]

    def logits_of(canvas, *_):
        return canvas_logits(model, canvas, shifted=FAMILIES[name].shifted)

    asked = requests(cases)
    for request, result in zip(asked, decode(session(name, backend), asked), strict=True):
        answer = expected(logits_of, request)
        assert result.tokens == answer.tokens
        assert result.denoise_passes == answer.passes
        assert result.nfe == sum(answer.passes)
        assert result.finish_reason == ("stop" if answer.tokens[-1] in ends(request) else "length")
        assert result.mode == "diffusion"
        assert MASK not in result.tokens


@pytest.fixture(scope="module")
def cached_logits(made):
    """The network in PyTorch, with a prefix cache, by family."""

    def make(name: str) -> CachedLogits:
        folder = made(name)[1].path.parent / "converted"
        checkpoint = Checkpoint.open_converted(folder)
        network = Network(checkpoint.config)
        network.load_state_dict({each: torch.from_numpy(checkpoint.read(each)) for each in checkpoint.names})
        return CachedLogits(network, shifted=FAMILIES[name].shifted)

    return make


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CANVAS)
@pytest.mark.parametrize("cases", [QUICK_CASES, pytest.param(CASES, marks=pytest.mark.slow)])
def test_tokens_with_a_block_cache_are_those_of_its_procedure(
    session, cached_logits, name: str, backend: str, cases: int
) -> None:
    """Beside requests without one, whose passes are wider."""
    logits_of = cached_logits(name)
    plain = requests(cases, seed=4)
    asked = [dataclasses.replace(request, block_cache=True) for request in plain]
    results = decode(session(name, backend), [each for pair in zip(asked, plain, strict=True) for each in pair])
    for request, result in zip(asked, results[::2], strict=True):
        answer = expected(logits_of, request)
        assert (result.tokens, result.denoise_passes) == (answer.tokens, answer.passes)
    assert [result.tokens for result in results[1::2]] == [
        result.tokens for result in decode(session(name, backend), plain, rows=1)
    ]


@pytest.mark.parametrize("name", CANVAS)
def test_a_block_cache_changes_texts_and_no_block_of_one_pass(session, name: str) -> None:
    """The tokens that stay the same in random models say nothing about trained ones."""
    plain = [dataclasses.replace(request, eos_token_id=-1, temperature=0.0) for request in requests(CASES, seed=6)]
    cached = [dataclasses.replace(request, block_cache=True) for request in plain]
    engine = session(name, "ort")
    pairs = [
        (one.tokens, other.tokens, one.denoise_passes)
        for one, other in zip(decode(engine, plain), decode(engine, cached), strict=True)
    ]
    assert all(one == other for one, other, passes in pairs if max(passes) == 1)
    same = [token == other for one, two, _ in pairs for token, other in zip(one, two, strict=True)]
    assert 0.5 < sum(same) / len(same) < 1


@pytest.mark.parametrize("name", CANVAS)
def test_the_cases_end_in_every_way(session, name: str) -> None:
    """Or the comparison would say little."""
    results = decode(session(name, "ort"), requests(CASES))
    assert {result.finish_reason for result in results} == {"stop", "length"}
    passes = [count for result in results for count in result.denoise_passes]
    assert min(passes) == 1
    assert max(passes) > 8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CANVAS)
def test_rows_together_are_rows_alone(session, name: str, backend: str) -> None:
    """Greedy and sampled, with canvases of very different lengths in the batch."""
    asked = [
        dataclasses.replace(request, temperature=0.7 * (index % 2), seed=index, block_cache=index % 3 == 0)
        for index, request in enumerate(requests(10, seed=8))
    ]
    together = decode(session(name, backend), asked)
    alone = [decode(session(name, backend), [request], rows=1)[0] for request in asked]
    assert [result.tokens for result in together] == [result.tokens for result in alone]
    assert len({tuple(result.tokens) for result in together}) == len(asked)


def test_samples_differ_from_pass_to_pass_and_repeat_with_their_seed(session) -> None:
    request = Request((1, 2, 3), max_new_tokens=24, temperature=2.0, seed=1, eos_token_id=-1, threshold=None)
    first, again, other = decode(
        session("llada", "ort"), [request, request, dataclasses.replace(request, seed=2)], rows=1
    )
    assert first.tokens == again.tokens != other.tokens


def test_a_request_that_states_nothing_is_decoded_by_diffusion(session) -> None:
    for mode in (None, "auto"):
        resolved = Request((1, 2, 3), mode=mode).resolved(session("llada", "ort").info)
        assert (resolved.mode, resolved.threshold, resolved.steps) == ("diffusion", 0.9, None)
        assert (resolved.block_length, resolved.max_new_tokens) == (24, LONGEST - 3)


def test_one_long_canvas_does_not_widen_the_forwards_of_short_ones(session) -> None:
    engine = session("llada", "ort")
    short = Request((1, 2), max_new_tokens=8, eos_token_id=-1, threshold=0.0)
    long = Request(tuple(range(100)), max_new_tokens=48, eos_token_id=-1, threshold=None)
    batch = Batch(engine)
    for request in (long, short, short):
        batch.submit(request)
    forwards = []
    while batch.busy:
        forwards.append([emission.row.widest for emission in batch.step()])
    assert forwards[:3] == [[148], [10, 10], [148]]
    assert len(forwards) == 49


@pytest.mark.parametrize("name", CANVAS)
@torch.no_grad()
def test_four_bits_compute_what_their_values_stand_for(tmp_path, name: str) -> None:
    make_canvas_model(name, tmp_path / "release")
    convert(write_quantized(tmp_path / "release", tmp_path / "export", Export()), tmp_path / "made")
    effective = Checkpoint.open(write_effective(tmp_path / "made", tmp_path / "effective"))
    network = Network(effective.config)
    network.load_state_dict({each: torch.from_numpy(effective.read(each)) for each in effective.names})
    canvas = [*range(40, 70), *[MASK] * 20]
    shift = int(FAMILIES[name].shifted)
    logits, _ = network.run(torch.tensor([canvas]), causal=False)
    expected = logits[0, 30 - shift : 50 - shift].numpy()
    checkpoint = Checkpoint.open_converted(tmp_path / "made")
    plans = [BuildPlan(backend, "fp32", LIMITS, adapter=False, debug=True, head="checkpoint") for backend in BACKENDS]
    build_engine(checkpoint, plans, tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    model = folder.path / folder.manifest.backends["ort"].files["model"]
    for engine in (OrtSession(model, folder.info("ort", debug=True), exact=True), folder.open_session("torch")):
        engine.reserve(1, LIMITS.capacity)
        step = fill(engine, [Pass(canvas, causal=False, wanted=range(30, 50))])
        execute(engine, step)
        np.testing.assert_allclose(step.outputs["logits"][0], expected, atol=2e-3)


@pytest.mark.parametrize("mode", ["ar", "linear", "quadratic"])
@pytest.mark.parametrize("name", CANVAS)
def test_modes_that_were_not_trained_are_refused_by_name(session, name: str, mode: str) -> None:
    with pytest.raises(InputError, match=f"mode is '{mode}', which {FAMILIES[name].title} was not trained for"):
        Request((1, 2), mode=mode).resolved(session(name, "ort").info)


def test_a_canvas_longer_than_its_engine_is_refused_by_name(session) -> None:
    with pytest.raises(InputError, match=r"the canvas is longer than the engine's: prompt \(100 tokens\)") as caught:
        Request(tuple(range(100)), max_new_tokens=61).resolved(session("llada", "ort").info)
    assert "--max-seq-len 161" in str(caught.value)


def test_steps_are_refused_where_blocks_are_committed_to_a_cache(golden_session) -> None:
    with pytest.raises(InputError, match="steps is 4; only families without a causal pass"):
        Request((1, 2), mode="diffusion", steps=4).resolved(golden_session("tiny-a").info)


def test_a_block_cache_is_refused_where_blocks_have_one_anyway(golden_session) -> None:
    with pytest.raises(InputError, match="block_cache is true; Nemotron-Labs-Diffusion has cached"):
        Request((1, 2), mode="diffusion", block_cache=True).resolved(golden_session("tiny-a").info)


def test_a_thinking_budget_is_refused(session) -> None:
    request = Request((1, 2), max_thinking_tokens=4, end_think_token_id=9)
    with pytest.raises(InputError, match="max_thinking_tokens is not supported with LLaDA"):
        request.resolved(session("llada", "ort").info)


def test_logits_that_are_not_finite_end_the_request_and_nothing_else(session) -> None:
    """The row of the caches is cleared: the next request there is not spoiled."""
    engine = session("llada", "ort")
    batch = Batch(engine)
    request = requests(1, seed=5)[0]
    (fine,) = decode(engine, [request])
    row = batch.submit(request)
    batch.step()
    outcome = dataclasses.replace(_outcome(row), finite=False)
    emission = row.advance(outcome)
    assert emission.finish_reason == "error"
    assert "denoise pass at position" in str(emission.error)
    batch.step()
    assert [result.tokens for result in decode(engine, [request])] == [fine.tokens]


def _outcome(row):
    from nld_trt.decode.fill import Outcome

    wanted = len(row.pending.wanted)
    return Outcome([MASK] * wanted, [0] * wanted, 0, finite=True, following=None)
