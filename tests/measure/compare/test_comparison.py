# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Comparing two engines: the figures against the network in PyTorch, and which engines are refused."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError, OperationError
from nld_trt.graph.contract import Limits
from nld_trt.measure.compare.comparison import check_comparable, compare
from nld_trt.measure.compare.divergence import Tally
from nld_trt.measure.compare.forcing import ForcedText
from nld_trt.measure.compare.lockstep import NOISE_LEVELS, Lockstep, Reading
from nld_trt.measure.questions import Question
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.network import Network

NAMES = ("tiny-a", "tiny-b")
SHORT = Limits(max_batch_size=3, max_seq_len=160, max_block_length=16, prompt_chunk=20)


@pytest.fixture(scope="module")
def perturbed(goldens, tmp_path_factory):
    """A golden checkpoint whose weights, adapter included, are a little off, by name."""
    made = {}

    def checkpoint(name):
        if name not in made:
            release, target = (tmp_path_factory.mktemp("perturbed") / part for part in ("release", name))
            shutil.copytree(goldens / name, release, ignore=shutil.ignore_patterns("cases*", "forwards*"))
            rng = np.random.default_rng(5)
            for path in (release / "model.safetensors", release / "linear_spec_lora" / "adapter_model.safetensors"):
                tensors = {
                    key: (value * (1 + 0.4 * rng.standard_normal(value.shape))).astype(value.dtype)
                    for key, value in load_file(path).items()
                }
                save_file(tensors, path, metadata={"format": "pt"})
            convert(release, target)
            made[name] = Checkpoint.open_converted(target)
        return made[name]

    return checkpoint


@pytest.fixture(scope="module")
def perturbed_session(perturbed, tmp_path_factory):
    """Its engine, built without debug outputs and for less than the golden one."""
    made = {}

    def session(name):
        if name not in made:
            target = tmp_path_factory.mktemp("engine") / name
            plan = BuildPlan("ort", "fp32", SHORT, adapter=True)
            build_engine(perturbed(name), [plan], target)
            made[name] = EngineFolder.open(target).open_session("ort", debug=True)
        return made[name]

    return session


@pytest.fixture
def twin(engine):
    """Two sessions of one engine."""
    return lambda name: [engine(name).open_session("ort", debug=True) for _ in range(2)]


def random_questions(seed, count=7):
    """Prompts of 1 to 100 tokens: some take several chunks, some rows are done before others."""
    rng = random.Random(seed)
    return [
        Question(f"q{index}", tuple(rng.choices(range(101, 256), k=rng.randint(1, 100))), None, None)
        for index in range(count)
    ]


def random_texts(seed, count=3):
    rng = random.Random(seed)
    return [
        ForcedText(tuple(rng.choices(range(101, 256), k=prompt + rng.randint(1, 40))), prompt, number, f"q{number}")
        for number, prompt in enumerate(rng.randint(1, 100) for _ in range(count))
    ]


def all_figures(comparison):
    figures = [comparison.causal, comparison.bidirectional, *comparison.by_noise_level.values()]
    return [*figures, comparison.draft] if comparison.draft is not None else figures


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("block_length", "max_rows"), [(None, 8), (2, 3), (16, 1), (64, 8)])
def test_an_engine_is_no_different_from_itself(twin, name, block_length, max_rows):
    comparison = compare(
        *twin(name), random_questions(1), max_new_tokens=21, block_length=block_length, max_rows=max_rows
    )
    for figures in all_figures(comparison):
        assert (figures.kl, figures.top1_agreement) == (0.0, 1.0)
        assert figures.positions > 0
    assert comparison.draft is not None


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_show_in_every_kind_of_pass(engine, perturbed_session, name):
    reference = engine(name).open_session("ort", debug=True)
    comparison = compare(reference, perturbed_session(name), random_questions(2), max_new_tokens=21)
    for figures in all_figures(comparison):
        assert figures.kl > 1e-4
        assert figures.top1_agreement < 1


def load_network(checkpoint):
    network = Network(checkpoint.config).eval()
    network.load_state_dict(
        {name: torch.from_numpy(checkpoint.read(name).astype(np.float32)) for name in checkpoint.names}
    )
    for index, layer in enumerate(network.encoder.layers):
        lora_a, lora_b = (torch.from_numpy(each.astype(np.float32)) for each in checkpoint.read_adapter(index))
        layer.self_attn.attach(lora_a, lora_b, checkpoint.adapter.scale)
    return network


@torch.no_grad()
def logits_of(network, text, block_length, reading):
    """Logits of a text's causal predictions (``reading`` None), or of what a reading masks. Nothing is cached twice."""
    tokens = torch.tensor([text.tokens])
    if reading is None:
        return network.run(tokens, causal=True)[0][0, text.prompt_length - 1 : -1].numpy()
    config, wanted = network.config, []
    for block, start in enumerate(range(text.prompt_length, len(text.tokens), block_length)):
        ids = [*text.tokens[start : start + block_length]]
        real = len(ids)
        ids += [config.eos_token_id] * (block_length - real)
        masked = reading.masked(text.number, block, block_length)
        for slot in masked:
            ids[slot] = config.mask_token_id
        _, cache = network.run(tokens[:, :start], causal=True)
        logits, _ = network.run(torch.tensor([ids]), causal=False, cache=cache, adapter=reading.adapter)
        wanted.append(logits[0, [slot for slot in masked if slot < real]].numpy())
    return np.concatenate(wanted)


def expected_figures(networks, texts, block_length, reading):
    """(mean KL, share of equal picks, positions) from the definition, by PyTorch's own functions."""
    nats, equal = [], []
    for text in texts:
        reference, candidate = (torch.from_numpy(logits_of(n, text, block_length, reading)).double() for n in networks)
        p, q = reference.softmax(-1), candidate.softmax(-1)
        nats += (p * (p / q).log()).sum(-1).tolist()
        for logits in (reference, candidate):
            logits[:, networks[0].config.mask_token_id] = -torch.inf
        equal += (reference.argmax(-1) == candidate.argmax(-1)).tolist()
    return np.mean(nats), np.mean(equal), len(nats)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block_length", [8, 13])
def test_figures_are_those_of_the_network_in_pytorch(engine, golden, perturbed, perturbed_session, name, block_length):
    texts = random_texts(block_length)
    lockstep = Lockstep(engine(name).open_session("ort", debug=True), perturbed_session(name), block_length)
    lockstep.read(texts)
    networks = [load_network(golden(name)), load_network(perturbed(name))]
    readings = {"causal": None, **{f"level {each.level}": each for each in lockstep.levels}, "draft": lockstep.draft}
    for label, reading in readings.items():
        figures = (lockstep.causal if reading is None else reading.tally).figures()
        kl, agreement, positions = expected_figures(networks, texts, block_length, reading)
        assert figures.positions == positions, label
        assert figures.kl == pytest.approx(kl, rel=1e-3), label
        assert figures.top1_agreement == pytest.approx(agreement), label


def test_figures_do_not_depend_on_how_many_rows_are_read_together(engine, perturbed_session):
    reference = engine("tiny-b").open_session("ort", debug=True)
    first, *others = (
        compare(reference, perturbed_session("tiny-b"), random_questions(3), max_new_tokens=21, max_rows=rows)
        for rows in (1, 2, 3)
    )
    for other in others:
        for alone, together in zip(all_figures(first), all_figures(other), strict=True):
            assert together.kl == pytest.approx(alone.kl, rel=1e-4)
            assert together.top1_agreement == alone.top1_agreement
            assert together.positions == alone.positions


def test_positions_are_the_answer_s_tokens_and_no_padding(twin):
    """An answer of 21 tokens in blocks of 8: its blocks hold 7, 7 and 4 tokens after their bonus tokens."""
    comparison = compare(*twin("tiny-a"), random_questions(4, count=1), max_new_tokens=21)
    assert comparison.causal.positions == 21
    assert comparison.by_noise_level[1.0].positions == comparison.draft.positions == 7 + 7 + 4
    assert comparison.bidirectional.positions == sum(each.positions for each in comparison.by_noise_level.values())
    assert list(comparison.by_noise_level) == list(NOISE_LEVELS)
    json.dumps(comparison.to_dict())


def test_blocks_of_one_token_have_nothing_to_predict(twin):
    comparison = compare(*twin("tiny-a"), random_questions(4, count=1), max_new_tokens=3, block_length=1)
    assert comparison.causal.positions == 3
    assert (comparison.bidirectional.kl, comparison.bidirectional.positions) == (None, 0)


def test_answers_fit_the_smaller_engine(engine, perturbed_session):
    questions = [Question("q", (101,) * 100, None, None)]
    comparison = compare(engine("tiny-a").open_session("ort", debug=True), perturbed_session("tiny-a"), questions)
    assert comparison.causal.positions == SHORT.max_seq_len - 100


def test_masks_are_the_same_every_time_and_lower_levels_are_parts_of_higher_ones():
    high, low = (Reading(level, False, Tally()) for level in (0.75, 0.25))
    assert high.masked(3, 1, 32) == high.masked(3, 1, 32)
    assert high.masked(3, 1, 32) != high.masked(3, 2, 32) != high.masked(4, 2, 32)
    assert set(low.masked(3, 1, 32)) < set(high.masked(3, 1, 32)) < set(range(1, 32))
    assert len(low.masked(3, 1, 2)) == 1, "the lowest level masks something"


def test_without_an_adapter_on_both_sides_there_are_no_drafts(golden, engine, tmp_path):
    plan = BuildPlan("ort", "fp32", SHORT, adapter=False)
    build_engine(golden("tiny-a"), [plan], tmp_path / "bare")
    bare = EngineFolder.open(tmp_path / "bare").open_session("ort", debug=True)
    full = engine("tiny-a").open_session("ort", debug=True)
    comparison = compare(full, bare, random_questions(5, count=2), max_new_tokens=9)
    assert comparison.draft is None
    assert comparison.to_dict()["draft"] is None
    assert comparison.bidirectional.kl < 1e-9


@pytest.mark.parametrize(("causal", "kind"), [(True, "causal"), (False, "bidirectional")])
def test_logits_that_are_no_numbers_are_named(twin, monkeypatch, causal, kind):
    reference, candidate = twin("tiny-a")
    launch = candidate.launch

    def broken(buffers):
        launch(buffers)
        if bool(buffers.inputs["causal"][0]) == causal:
            buffers.outputs["logits"][0, 0, 7] = np.nan

    monkeypatch.setattr(candidate, "launch", broken)
    with pytest.raises(OperationError, match=rf"candidate engine's logits are not finite in a {kind} .* q0"):
        compare(reference, candidate, random_questions(6, count=1), max_new_tokens=9)


@pytest.mark.parametrize("field", ["vocab_size", "mask_token_id", "eos_token_id", "block_size"])
def test_other_tokens_or_blocks_are_refused_by_name(engine, field):
    folder = engine("tiny-a")
    config = folder.manifest.config
    other = replace(folder, manifest=replace(folder.manifest, config=replace(config, **{field: 77})))
    with pytest.raises(InputError, match=rf"cannot be compared\n  {field} is {getattr(config, field)} and 77\n"):
        check_comparable(folder, other, None)


def test_other_sets_of_eos_ids_are_refused_by_name(engine):
    folder = engine("tiny-a")
    config = folder.manifest.config.with_eos([11, 27])
    other = replace(folder, manifest=replace(folder.manifest, config=config))
    with pytest.raises(InputError, match=r"cannot be compared\n  eos_token_id is 11 and \[11, 27\]\n"):
        check_comparable(folder, other, None)


def test_another_tokenizer_is_refused(engine):
    folder = engine("nld-tiny")
    files = {**folder.manifest.files, "tokenizer.json": replace(folder.manifest.files["tokenizer.json"], sha256="0")}
    with pytest.raises(InputError, match=r"tokenizer.json differs"):
        check_comparable(folder, replace(folder, manifest=replace(folder.manifest, files=files)), None)


def test_engines_for_other_blocks_are_compared_at_a_length_that_is_named(engine):
    folder = engine("tiny-a")
    short = replace(folder, manifest=replace(folder.manifest, limits=replace(SHORT, max_block_length=4)))
    with pytest.raises(InputError, match=r"blocks of 8 and .* blocks of 4\n.*--block-length 4"):
        check_comparable(folder, short, None)
    check_comparable(folder, short, 4)
    check_comparable(folder, folder, None)
