# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""SDAR's engines against a model of transformers with a mask of blocks, and against its decoding written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nld_trt.cli import run
from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.graph.contract import Limits
from nld_trt.measure.variant import SWEPT, parse_variants
from nld_trt.serving.triton.warm_up import warm_up
from tests.block_causal import EOS, MASK, block_logits, decode, make_sdar

BACKENDS = ("ort", "torch")
LIMITS = Limits(max_batch_size=3, max_seq_len=2048, max_block_length=4, prompt_chunk=512)
LENGTHS = (1, 4, 8, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_sdar(tmp_path_factory.mktemp("sdar"))


@pytest.fixture(scope="module")
def engine(made, tmp_path_factory):
    """The engine folder for blocks of a length."""
    opened = {}

    def find(block_length: int) -> EngineFolder:
        if block_length not in opened:
            target = tmp_path_factory.mktemp("engine") / str(block_length)
            limits = replace(LIMITS, max_block_length=block_length)
            build_engine(
                made[1], [BuildPlan(backend, "fp32", limits, adapter=False, debug=True) for backend in BACKENDS], target
            )
            opened[block_length] = EngineFolder.open(target)
        return opened[block_length]

    return find


@pytest.fixture
def session(engine):
    return lambda backend="ort", block_length=4: engine(block_length).open_session(backend)


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng([length, seed]).integers(8, MASK, length).tolist())


def answers(batch: Batch, requests: list[Request]):
    results = dict(generate(batch, requests))
    return [results[index].or_raise() for index in range(len(requests))]


# The network


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_are_those_of_transformers_with_a_mask_of_blocks(made, session, backend: str) -> None:
    """At the beginning and far into the context; passes that commit and others are the same forward."""
    length, chunk = 1800, 512
    ids = [*prompt(length), *([MASK] * 3), 9]
    expected = block_logits(made[0], ids, 4).numpy()
    opened = session(backend)
    opened.reserve(1, LIMITS.capacity)
    for start in range(0, length, chunk):
        tokens = ids[start : min(start + chunk, length)]
        for wanted in ([0, 1, 2, 3], [len(tokens) - 2]):
            step = fill(opened, [Pass(tokens, start, wanted=wanted)])
            execute(opened, step)
            found = step.outputs["logits"][0, : len(wanted)]
            np.testing.assert_allclose(found, expected[start + np.array(wanted)], atol=1e-4)
    for causal in (False, True):
        step = fill(opened, [Pass(ids[length:], length, causal=causal)])
        execute(opened, step)
        np.testing.assert_allclose(step.outputs["logits"][0], expected[length:], atol=1e-4)


# Decoding


def random_requests(block_length: int, count: int) -> list[Request]:
    rng = np.random.default_rng(block_length)
    return [
        Request(
            prompt(int(rng.integers(1, 70)), index), "diffusion", max_new_tokens=int(rng.integers(1, 30)),
            threshold=(None, 0.02, 0.5)[index % 3], steps=(None, 2, 3)[index // 3 % 3],
        )
        for index in range(count)
    ]  # fmt: skip


def expected_of(model, request: Request, block_length: int):
    """The answer of the plain loop."""
    quota = -(-block_length // request.steps) if request.steps else 1
    return decode(model, request.prompt_ids, block_length, request.max_new_tokens, request.threshold, quota=quota)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block_length", LENGTHS)
def test_tokens_are_those_of_the_loop(made, session, block_length: int, backend: str) -> None:
    """Prompts of any length, quotas and thresholds, with rows in different phases beside each other."""
    requests = random_requests(block_length, 9)
    assert block_length == 1 or any(len(request.prompt_ids) % block_length for request in requests)
    found = answers(Batch(session(backend, block_length)), requests)
    for request, result in zip(requests, found, strict=True):
        expected = expected_of(made[0], request, block_length)
        assert result.tokens == expected.tokens
        assert result.mode == "diffusion"


@pytest.mark.parametrize(("threshold", "steps", "quota"), [(0.02, None, 1), (None, 2, 2)])
def test_passes_are_those_of_the_loop(made, session, threshold, steps, quota) -> None:
    request = Request(
        prompt(10, 3), "diffusion", max_new_tokens=14, threshold=threshold, steps=steps, eos_token_id=-1
    )  # fmt: skip
    batch = Batch(session())
    row = batch.submit(request)
    list(batch.run())
    expected = decode(made[0], request.prompt_ids, 4, 14, threshold, quota=quota)
    assert row.emitted == expected.tokens
    assert row.counters.denoise_passes == expected.passes
    assert row.nfe == sum(expected.passes) + len(expected.passes)


def test_blocks_of_one_token_commit_one_token_each(session) -> None:
    batch = Batch(session(block_length=1))
    row = batch.submit(Request(prompt(5), "diffusion", max_new_tokens=6, eos_token_id=-1))
    list(batch.run())
    assert row.counters.denoise_passes == [1] * 6
    assert row.counters.forwards["commit"] == 6


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_requests_together_decode_as_alone(session, temperature: float) -> None:
    requests = [
        replace(request, temperature=temperature, seed=index) for index, request in enumerate(random_requests(8, 6))
    ]
    together = answers(Batch(session(block_length=8)), requests)
    alone = [answers(Batch(session(block_length=8)), [request])[0] for request in requests]
    assert [each.tokens for each in together] == [each.tokens for each in alone]


def test_a_long_prompt_is_read_in_wide_chunks(session) -> None:
    batch = Batch(session())
    row = batch.submit(Request(prompt(1999), "diffusion", max_new_tokens=2))
    list(batch.run())
    assert row.counters.forwards["prefill"] == 4


@pytest.mark.parametrize("most", [1, 7, 30])
def test_chunks_of_any_size_end_at_blocks(made, session, most: int) -> None:
    """What a round may compute is no multiple of a block; a block is read whole all the same."""
    requests = random_requests(8, 4)
    found = answers(Batch(session(block_length=8), max_num_batched_tokens=most), requests)
    for request, result in zip(requests, found, strict=True):
        expected = expected_of(made[0], request, 8)
        assert result.tokens == expected.tokens


@pytest.mark.parametrize("length", [64, 66])
def test_other_requests_give_whole_blocks(made, session, length: int) -> None:
    """Of a prompt that begins alike, and of the answer that a longer prompt goes on after."""
    batch = Batch(session(block_length=8), prefix_caching=True)
    first = batch.submit(Request(prompt(length), "diffusion", max_new_tokens=19, eos_token_id=-1))
    list(batch.run())
    longer = (*prompt(length), *first.emitted, 11, 12)
    same = (*prompt(length)[:45], *prompt(9, 1))
    rows = [batch.submit(Request(ids, "diffusion", max_new_tokens=9)) for ids in (longer, same)]
    list(batch.run())
    assert [row.counters.cached_tokens for row in rows] == [(length + 19) // 8 * 8, 40]
    for row in rows:
        assert row.emitted == decode(made[0], row.request.prompt_ids, 8, 9).tokens


@pytest.mark.parametrize("prompt_length", [6, 13])
def test_an_end_in_the_rest_of_the_prompt_ends_nothing(made, session, prompt_length: int) -> None:
    """Chat templates end turns with the token that ends answers, and the rest of a prompt can hold it."""
    ids = (*prompt(prompt_length - 3), EOS[1], 9, 10)
    (result,) = answers(Batch(session(block_length=8)), [Request(ids, "diffusion", max_new_tokens=20)])
    expected = decode(made[0], ids, 8, 20)
    assert result.tokens == expected.tokens
    assert len(result.tokens) > 1


@pytest.mark.parametrize("thinking", [0, 2, 9])
def test_a_thinking_budget_counts_no_token_of_the_prompt(session, thinking: int) -> None:
    request = Request(
        prompt(6), "diffusion", max_new_tokens=16, max_thinking_tokens=thinking, end_think_token_id=5, eos_token_id=-1,
    )  # fmt: skip
    (result,) = answers(Batch(session(block_length=4)), [request])
    assert result.tokens.index(5) == thinking
    assert len(result.tokens) == 16


class Ahead:
    """A session that says it is a GPU's: forwards are started before the host has read the ones before them."""

    runs_ahead = True

    def __init__(self, session) -> None:
        self._session = session

    def __getattr__(self, name: str):
        return getattr(self._session, name)


def test_forwards_that_are_started_ahead_decode_the_same(made, session) -> None:
    """Also where the first block's passes have settings of their own, which later ones must not keep."""
    prompts = [(*prompt(6), EOS[1], 9), (*prompt(3), EOS[0], 9)]
    requests = [Request(ids, "diffusion", max_new_tokens=30, threshold=0.02) for ids in prompts]
    for each in (requests[:1], requests):
        found = answers(Batch(Ahead(session(block_length=16))), each)
        for request, result in zip(each, found, strict=True):
            assert result.tokens == decode(made[0], request.prompt_ids, 16, 30, 0.02).tokens


def test_a_served_model_warms_up(session) -> None:
    warm_up(Ahead(session(block_length=8)))


# What a request may ask for


@pytest.mark.parametrize("mode", ["ar", "linear", "quadratic"])
def test_modes_that_need_a_causal_verifier_are_refused(session, mode: str) -> None:
    with pytest.raises(InputError, match=f"mode is '{mode}', which SDAR was not trained for; it decodes in diffusion"):
        Request((3,), mode).resolved(session().info)


@pytest.mark.parametrize("mode", [None, "auto"])
def test_diffusion_is_what_a_request_gets_that_leaves_it_open(session, mode) -> None:
    resolved = Request((3,), mode).resolved(session().info)
    assert (resolved.mode, resolved.threshold, resolved.block_length) == ("diffusion", 0.9, 4)


def test_blocks_of_another_length_are_refused(session) -> None:
    with pytest.raises(InputError, match=r"block_length is 2; SDAR sees its prompt in blocks as well.*blocks of 4"):
        Request((3,), "diffusion", block_length=2).resolved(session().info)


def test_what_is_measured_and_served_by_default_is_diffusion(engine, tmp_path, capsys) -> None:
    info = engine(4).info("ort")
    assert [variant.name for variant in parse_variants(None, info, known=SWEPT)] == ["diffusion"]
    with pytest.raises(InputError, match="which SDAR was not trained for"):
        parse_variants("linear", info)
    assert run(["repo", str(engine(4).path), "-o", str(tmp_path / "repo"), "--mode", "linear"]) == 2
    assert "which SDAR was not trained for; it decodes in diffusion" in capsys.readouterr().err
    assert run(["repo", str(engine(4).path), "-o", str(tmp_path / "repo"), "--block-length", "2"]) == 2
    assert "the engine was built for blocks of 4" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()
    assert run(["repo", str(engine(4).path), "-o", str(tmp_path / "repo")]) == 0
    assert read_json(tmp_path / "repo" / "nld" / "1" / "model.json")["defaults"]["mode"] == "diffusion"


def test_quadratic_passes_are_not_built(made, tmp_path) -> None:
    limits = replace(LIMITS, max_quadratic_length=2)
    with pytest.raises(InputError, match="quadratic_length is 2; SDAR decodes in diffusion"):
        build_engine(made[1], [BuildPlan("ort", "fp32", limits, adapter=False)], tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
