# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""examples/nld-tiny/train.py: each family is trained on what its decoding sees, and its checkpoint can be decoded."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.cli import run
from nld_trt.files import read_json
from nld_trt.model.config import ModelConfig
from nld_trt.model.family import FAMILIES
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.model.network import Cache, Network

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "nld-tiny"
# Norms and softmax are computed in single precision. What sees another token differs by far more.
NEAR = {"atol": 1e-3, "rtol": 1e-3}
LENGTHS = {"nld": (4, 8), "qwen3": (), "sdar": (4, 8)}


@pytest.fixture(scope="module")
def training():
    """The modules of the example, which are no package."""
    sys.path.insert(0, str(EXAMPLE))
    loaded = {name: importlib.import_module(name) for name in ("tokenizer", "batches", "recipes")}
    sys.path.remove(str(EXAMPLE))
    yield loaded
    for name in loaded:
        del sys.modules[name]


@pytest.fixture(scope="module")
def network(training):
    """A small random network of a family."""
    made = {}

    def find(family: str) -> Network:
        if family not in made:
            small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
            config = training["recipes"].RECIPES[family].config(8) | small | {"head_dim": 16}
            torch.manual_seed(0)
            made[family] = Network(ModelConfig.from_hf(config))
            for parameter in made[family].parameters():
                torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.3)
        return made[family]

    return find


def batch_of(training, family: str, seed: int, sizes):
    """A batch of random token ids with prompts and answers of given lengths."""
    batches, rng = training["batches"], random.Random(seed)
    examples = [
        batches.Example(
            [rng.randrange(20, 400) for _ in range(prompt)], [rng.randrange(20, 400) for _ in range(answer)]
        )
        for prompt, answer in sizes
    ]
    recipe = training["recipes"].RECIPES[family]
    made = batches.make(examples, rng, kind=recipe.blocks, block_lengths=LENGTHS[family], full_mask=0.3)
    return examples, made


def blocks_of(batch, row: int):
    """The noised blocks of a row: their position and their places in the row."""
    places = range(batch.clean, batch.tokens.shape[1])
    blocks: list[list[int]] = []
    for place in places:
        position = int(batch.positions[row, place])
        if position == 0 and blocks:
            break  # what fills up the row
        if int(batch.slots[row, place - batch.clean]) == 0:
            blocks.append([])
        blocks[-1].append(place)
    return [(int(batch.positions[row, block[0]]), block) for block in blocks]


@torch.no_grad()
def served(network: Network, family: str, ids: list[int], length: int, start: int, block: list[int]) -> torch.Tensor:
    """The logits of a block, as it is decoded after ``start`` tokens: computed pass by pass over a cache."""
    cache = Cache()
    if FAMILIES[family].sees == "blocks":
        for first in range(0, start, length):
            _, cache = network.run(torch.tensor([ids[first : first + length]]), causal=False, cache=cache)
    else:
        _, cache = network.run(torch.tensor([ids[:start]]), causal=True, cache=cache)
    return network.run(torch.tensor([block]), causal=False, cache=cache)[0][0]


SIZES = st.lists(st.tuples(st.integers(1, 13), st.integers(1, 19)), min_size=1, max_size=3)


@pytest.mark.parametrize("family", ["nld", "sdar"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), sizes=SIZES)
def test_noised_blocks_see_what_passes_over_the_cache_see(training, network, family, seed, sizes):
    examples, batch = batch_of(training, family, seed, sizes)
    with torch.no_grad():
        trained, _ = network(family)(batch.tokens, batch.positions, batch.mask)
    for row, example in enumerate(examples):
        blocks = blocks_of(batch, row)
        assert blocks[-1][0] + len(blocks[-1][1]) >= len(example.ids)
        for start, places in blocks:
            tokens = batch.tokens[row, places].tolist()
            expected = served(network(family), family, example.ids, len(places), start, tokens)
            torch.testing.assert_close(trained[row, places], expected, **NEAR)


@pytest.mark.parametrize("family", ["nld", "qwen3"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), sizes=SIZES)
def test_clean_tokens_of_causal_families_see_what_is_before_them(training, network, family, seed, sizes):
    examples, batch = batch_of(training, family, seed, sizes)
    with torch.no_grad():
        trained, _ = network(family)(batch.tokens, batch.positions, batch.mask)
        for row, example in enumerate(examples):
            expected, _ = network(family).run(torch.tensor([example.ids]), causal=True)
            torch.testing.assert_close(trained[row, : len(example.ids)], expected[0], **NEAR)
            # Every token of the answer is the target of the place before it, and nothing else is one.
            before = len(example.prompt) - 1
            assert batch.next_targets[row, before : len(example.ids) - 1].tolist() == example.answer
            assert int((batch.next_targets[row] != training["batches"].IGNORE).sum()) == len(example.answer)


@pytest.mark.parametrize("family", ["nld", "sdar"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), sizes=SIZES)
def test_masks_are_where_decoding_has_them_and_hide_their_targets(training, family, seed, sizes):
    examples, batch = batch_of(training, family, seed, sizes)
    tokenizer, ignore = training["tokenizer"], training["batches"].IGNORE
    for row, example in enumerate(examples):
        for start, places in blocks_of(batch, row):
            if family == "sdar":
                assert start % len(places) == 0
            for slot, place in enumerate(places):
                target = int(batch.same_targets[row, place - batch.clean])
                position = start + slot
                truth = example.ids[position] if position < len(example.ids) else tokenizer.EOS_ID
                if int(batch.tokens[row, place]) == tokenizer.MASK_ID:
                    assert target == truth
                    # A bonus token, or the rest of the prompt, is known.
                    assert position >= len(example.prompt) if family == "sdar" else slot > 0
                else:
                    assert (int(batch.tokens[row, place]), target) == (truth, ignore)


def test_a_family_without_blocks_has_clean_tokens_alone(training):
    _, batch = batch_of(training, "qwen3", 0, [(3, 4), (5, 9)])
    assert batch.tokens.shape[1] == batch.clean == 14


@pytest.mark.slow
@pytest.mark.parametrize("family", LENGTHS)
def test_a_family_is_trained_converted_built_and_decoded(family, tmp_path, capsys):
    release, checkpoint, engine = (tmp_path / name for name in ("release", "checkpoint", "engine"))
    flags = ["--steps", "2", "--drafter-steps", "1", "--examples", "400", "--tokens-per-batch", "256"]
    subprocess.run(
        [sys.executable, str(EXAMPLE / "train.py"), "--family", family, "--initial", str(EXAMPLE), "--output",
         str(release), *flags],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    assert run(["convert", str(release), "-o", str(checkpoint)]) == 0
    assert read_json(checkpoint / MANIFEST_FILE)["family"] == family
    assert run(["build", str(checkpoint), "-o", str(engine), "--max-seq-len", "128", "--max-batch-size", "2"]) == 0
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join((EXAMPLE / "eval.jsonl").read_text(encoding="utf-8").splitlines(True)[:4]), "utf-8")
    scores = tmp_path / "scores.json"
    evaluate = ["evaluate", str(engine), "--prompts", str(questions), "-o", str(scores), "--max-new-tokens", "24"]
    assert run(evaluate) == 0
    capsys.readouterr()
    found = {score["mode"]: score for score in json.loads(scores.read_text(encoding="utf-8"))["scores"]}
    expected = [mode for mode in FAMILIES[family].modes if mode not in (names.AUTO, names.QUADRATIC)]
    assert [mode for mode in found if mode in expected] == [mode for mode in found if mode != names.LINEAR_NO_LORA]
    assert set(expected) <= set(found)
    for mode, score in found.items():
        assert score["tokens"] > 0
        assert score["tokens_per_forward"] == 1.0 if mode == names.AR else score["tokens_per_forward"] > 0
