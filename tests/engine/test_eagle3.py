# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engines with an Eagle3 head against ``tests.eagle3_reference``: drafts and their logits, texts and acceptance."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nld_trt.decode.auto.shapes import Shape
from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request, modes_of
from nld_trt.decode.result import Result
from nld_trt.decode.scripted import Script
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.measure.variant import SWEPT, parse_variants
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from tests import eagle3_reference as reference
from tests.eagle3_reference import KNOWN, LAYERS
from tests.quantized_checkpoint import Export, write_quantized
from tests.stock_models import make_stock

BACKENDS = ("ort", "torch")
BLOCK = 5
# Prompts are read in chunks that are shorter than most of them.
LIMITS = Limits(max_batch_size=4, max_seq_len=128, max_block_length=BLOCK, prompt_chunk=16)
LENGTHS = (1, 5, 16, 33)
TOKENS = 20


class Built:
    """A target of transformers, its head, and an engine of both."""

    def __init__(self, folder: Path, *, trained: bool) -> None:
        self.release = folder / "release"
        self.model = make_stock("qwen3", self.release, num_hidden_layers=LAYERS)
        if trained:
            reference.periodic(self.model, folder / "release")
        self.head = (reference.trained_head if trained else reference.random_head)(self.model)
        reference.save_head(self.head, folder / "head")
        convert(folder / "release", folder / "converted", draft=folder / "head")
        plans = [BuildPlan(backend, "fp32", LIMITS, adapter=False, debug=True) for backend in BACKENDS]
        build_engine(Checkpoint.open_converted(folder / "converted"), plans, folder / "engine")
        self.folder = EngineFolder.open(folder / "engine")
        self._sessions = {}

    @cache  # noqa: B019
    def expected(self, block: int) -> list[reference.Generated]:
        """What the reference generates for :func:`prompts`."""
        return [
            reference.generate(self.model, self.head, each, block=block, max_new_tokens=TOKENS) for each in prompts()
        ]

    def session(self, backend: str):
        if backend not in self._sessions:
            self._sessions[backend] = self.folder.open_session(backend)
        return self._sessions[backend]

    def results(self, backend: str, requests: list[Request], **options) -> list[Result]:
        results = dict(generate(Batch(self.session(backend), **options), requests))
        return [results[index] for index in range(len(requests))]


@pytest.fixture(scope="module")
def random(tmp_path_factory) -> Built:
    return Built(tmp_path_factory.mktemp("random"), trained=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Built:
    return Built(tmp_path_factory.mktemp("trained"), trained=True)


def prompts(lengths=LENGTHS, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(KNOWN.start, KNOWN.stop, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("backend", BACKENDS)
@torch.no_grad()
def test_drafts_and_their_logits_are_those_of_the_reference(random: Built, backend: str) -> None:
    """After a prompt in one piece, in two pieces, and after a pass whose drafts are accepted in part."""
    (prompt,) = prompts([15])
    session = random.session(backend)
    session.reserve(1, LIMITS.capacity)
    drafted = PassSettings(drafted=True)
    text = reference.generate(random.model, random.head, prompt, block=BLOCK, max_new_tokens=4).tokens
    wrong = [(text[2] + 1) % 384, 0]

    def check(part: Pass, tokens: list[int]) -> None:
        step = fill(session, [part])
        execute(session, step)
        ids, logits = random.head.draft(tokens, BLOCK - 1)
        assert step.outputs["draft_tokens"][0].tolist() == [*ids, *[0] * (15 - len(ids))]
        np.testing.assert_allclose(step.outputs["draft_logits"][0, : BLOCK - 1], torch.stack(logits), atol=1e-4)

    check(Pass(prompt, wanted=[14], settings=drafted), [*prompt, text[0]])
    first = fill(session, [Pass(prompt[:9], wanted=[8], next_token=prompt[9], settings=drafted)])
    execute(session, first)
    check(Pass(prompt[9:], 9, wanted=[5], settings=drafted), [*prompt, text[0]])
    check(Pass([text[0], text[1], *wrong], 15, settings=drafted), [*prompt, *text[:3]])
    check(Pass([text[2]], 17, settings=drafted), [*prompt, *text[:4]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block", [2, BLOCK])
def test_texts_and_acceptance_are_those_of_the_reference(trained: Built, backend: str, block: int) -> None:
    """Four rows share the batch; drafts are accepted in part, and now and then all of them."""
    expected = trained.expected(block)
    found = trained.results(
        backend, [Request(tuple(each), "eagle3", block_length=block, max_new_tokens=TOKENS) for each in prompts()]
    )
    assert [result.tokens for result in found] == [each.tokens for each in expected]
    assert [list(result.accepted) for result in found] == [each.accepted for each in expected]
    assert [result.nfe for result in found] == [1 + len(each.accepted) for each in expected]
    counts = {count for each in expected for count in each.accepted}
    assert {1, 2} <= counts <= {*range(1, block + 1)}
    assert sum(len(each.tokens) for each in expected) > 1.2 * sum(len(each.accepted) for each in expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_text_is_that_of_ar(trained: Built, data: st.DataObject) -> None:
    """Whatever the prompts, the lengths of drafts, the temperature and the rows beside."""
    backend = data.draw(st.sampled_from(BACKENDS))
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    temperature = data.draw(st.sampled_from([0.0, 0.7]))
    every = prompts(lengths, data.draw(st.integers(0, 99)))
    blocks = [data.draw(st.integers(1, BLOCK)) for _ in every]
    common = {"max_new_tokens": 20, "temperature": temperature, "seed": 1}
    ar = trained.results(backend, [Request(tuple(each), "ar", **common) for each in every])
    mixed = [
        Request(tuple(each), "eagle3" if index % 3 < 2 else "ar", block_length=block, **common)
        for index, (each, block) in enumerate(zip(every, blocks, strict=True))
    ]
    assert [result.tokens for result in trained.results(backend, mixed)] == [result.tokens for result in ar]


@pytest.mark.parametrize("backend", BACKENDS)
def test_drafts_do_not_depend_on_what_a_row_was_before(trained: Built, backend: str) -> None:
    """A prompt that begins as an earlier one takes its keys and values over, up to a token that goes on otherwise."""
    first, other = prompts([40, 4])
    second = [*first[:30], *other]
    alone = trained.results(backend, [Request(tuple(second), max_new_tokens=24)])[0]
    batch = Batch(trained.session(backend), prefix_caching=True)
    results = dict(generate(batch, [Request(tuple(first), max_new_tokens=24)]))
    results = dict(generate(batch, [Request(tuple(second), max_new_tokens=24)]))
    assert results[0].cached_tokens == 29
    assert (results[0].tokens, results[0].accepted) == (alone.tokens, alone.accepted)


def test_debug_outputs_can_be_had_of_an_engine_without_them(trained: Built, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open_converted(trained.release.parent / "converted")
    build_engine(checkpoint, [BuildPlan("ort", "fp32", LIMITS, adapter=False)], tmp_path / "engine")
    found = []
    for session in (EngineFolder.open(tmp_path / "engine").open_session("ort", debug=True), trained.session("ort")):
        session.reserve(1, LIMITS.capacity)
        step = fill(session, [Pass(prompts([9])[0], wanted=[8], settings=PassSettings(drafted=True))])
        execute(session, step)
        found.append(step.outputs["draft_logits"])
    np.testing.assert_array_equal(*found)


def test_measurements_know_the_mode(trained: Built) -> None:
    info = trained.folder.info("ort")
    assert [variant.name for variant in parse_variants(None, info)] == ["ar", "eagle3"]
    assert [variant.name for variant in parse_variants("auto", info, known=SWEPT)] == ["eagle3"]
    assert parse_variants("eagle3", info)[0].block_length(info, 3) == 3


def test_a_request_that_names_no_mode_is_drafted_for(trained: Built) -> None:
    info = trained.folder.info("ort")
    assert modes_of(info) == ("ar", "eagle3")
    assert Request((3,)).resolved(info).mode == "eagle3"
    assert Request((3,), mode="auto").resolved(info).mode == "eagle3"
    assert Request((3,)).resolved(info).block_length == BLOCK


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "linear"}, "linear.*Qwen3.*eagle3, ar"),
        ({"mode": "eagle3", "block_length": BLOCK + 1}, "block_length is 6.*up to 5"),
        ({"mode": "eagle3", "temperature": 0.5, "acceptance": "reject"}, "reject.*linear"),
        ({"mode": "eagle3", "max_thinking_tokens": 4, "end_think_token_id": 5}, "eagle3"),
    ],
)
def test_what_the_mode_cannot_do_is_refused(trained: Built, fields, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        Request((3,), **fields).resolved(trained.folder.info("ort"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_of_four_bits_has_its_head_in_high_precision(trained: Built, tmp_path: Path, backend: str) -> None:
    """The text is that of ar on the same engine, and some drafts are accepted."""
    write_quantized(trained.release, tmp_path / "export", Export(group_size=16))
    convert(tmp_path / "export", tmp_path / "converted", draft=trained.release.parent / "head")
    plan = BuildPlan(backend, "fp32", LIMITS, adapter=False, head="checkpoint")
    build_engine(Checkpoint.open_converted(tmp_path / "converted"), [plan], tmp_path / "engine")
    session = EngineFolder.open(tmp_path / "engine").open_session(backend)
    (prompt,) = prompts([30])
    requests = [Request(tuple(prompt), mode, max_new_tokens=TOKENS) for mode in ("ar", "eagle3")]
    results = dict(generate(Batch(session), requests))
    assert results[1].tokens == results[0].tokens
    assert max(results[1].accepted) > 1


def test_a_request_can_be_cancelled_between_passes(trained: Built) -> None:
    """Its row decodes the next request as if nobody had been there."""
    first, second = prompts([12, 9])
    expected = trained.results("ort", [Request(tuple(second), max_new_tokens=TOKENS)])[0]
    batch = Batch(trained.session("ort"))
    row = batch.submit(Request(tuple(first), max_new_tokens=60))
    for _ in range(3):
        batch.step()
    batch.cancel(row)
    assert [emission.finish_reason for emission in batch.step()] == ["cancelled"]
    found = dict(generate(batch, [Request(tuple(second), max_new_tokens=TOKENS)]))[0]
    assert (found.tokens, found.accepted) == (expected.tokens, expected.accepted)


def test_scripted_acceptance_is_what_the_script_says(trained: Built) -> None:
    """Its forwards are those of the mode, whatever the head drafts."""
    batch = Batch(trained.session("ort"))
    batch.script = Script(Shape((0.0, 0.0, 1.0)), "a test", longest=3)
    row = batch.submit(Request((9, 10, 11), "eagle3", block_length=3, max_new_tokens=10, eos_token_id=-1))
    for _ in batch.run():
        pass
    assert row.counters.accepted == [3, 3, 3]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_block_length": 1}, "block_length is 1; a block of an Eagle3 head is the bonus token and 1 to 15 drafts"),
        ({"max_block_length": 17}, "block_length is 17"),
        ({"max_quadratic_length": 2}, "quadratic_length is 2; Qwen3 decodes in eagle3, ar"),
    ],
)
def test_blocks_that_a_head_cannot_draft_are_not_built(trained: Built, tmp_path: Path, limits, message: str) -> None:
    checkpoint = Checkpoint.open_converted(trained.release.parent / "converted")
    plan = BuildPlan("ort", "fp32", replace(LIMITS, **limits), adapter=False)
    with pytest.raises(InputError, match=message):
        build_engine(checkpoint, [plan], tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_an_engine_without_a_head_says_how_to_get_one(trained: Built) -> None:
    info = trained.folder.info("ort")
    without = replace(info, config=replace(info.config, draft=None))
    with pytest.raises(InputError, match=r"(?s)no Eagle3 head.*nld-trt convert --draft"):
        Request((3,), "eagle3").resolved(without)
