# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration packs: the attention rule against separate passes, the shares, and what blocks hold."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.network import Network
from nld_trt.quantization.calibration import (
    BIDIRECTIONAL,
    CAUSAL,
    DEFAULT_MIX,
    DRAFT,
    TEXT_ONLY,
    Mix,
    Pack,
    Summary,
    make_canvases,
    make_packs,
)
from nld_trt.quantization.calibration_set import CalibrationSettings
from nld_trt.quantization.dataset import Document
from tests.canvas_models import MASK, make_canvas_model

TOLERANCE = 1e-4
FIRST_WORD = 110  # above every special id of tiny-a, MASK (100) included


@pytest.fixture(scope="module")
def checkpoint(golden):
    return golden("tiny-a")


@pytest.fixture(scope="module")
def config(checkpoint):
    return checkpoint.config


@pytest.fixture(scope="module")
def network(checkpoint) -> Network:
    made = Network(checkpoint.config).eval()
    made.load_state_dict({name: torch.from_numpy(checkpoint.read(name)) for name in checkpoint.names})
    for index, layer in enumerate(made.encoder.layers):
        lora_a, lora_b = map(torch.from_numpy, checkpoint.read_adapter(index))
        layer.self_attn.attach(lora_a, lora_b, checkpoint.adapter.scale)
    return made


def document(length: int, answer_start: int, seed: int, *, end: int | None = 11) -> Document:
    ids = np.random.default_rng(seed).integers(FIRST_WORD, 256, length).tolist()
    return Document((*ids[: length - 1], end if end is not None else ids[-1]), answer_start)


DOCUMENTS = [document(40, 12, 0), document(25, 20, 1), document(60, 1, 2, end=None), document(7, 3, 3)]


def packed(config, documents=DOCUMENTS, mix=DEFAULT_MIX, **changed) -> list[Pack]:
    options = {"block_length": 8, "adapter": True, "pack_tokens": 256, "seed": 5, **changed}
    return make_packs(documents, config, mix, **options)


def blocks_of(pack: Pack) -> list[np.ndarray]:
    """Indices of each block's rows."""
    return [np.flatnonzero(pack.block == number) for number in range(pack.block.max() + 1)]


documents = st.lists(st.integers(2, 50), min_size=1, max_size=8).flatmap(
    lambda lengths: st.tuples(*(st.tuples(st.just(n), st.integers(1, n - 1), st.booleans()) for n in lengths)).map(
        lambda parts: [document(n, start, n, end=11 if ended else None) for n, start, ended in parts]
    )
)
mixes = st.tuples(st.integers(10, 100), st.integers(0, 100)).map(
    lambda parts: Mix(parts[0] / 100, (100 - parts[0]) * parts[1] / 1e4, (100 - parts[0]) * (100 - parts[1]) / 1e4)
)


# The attention rule


@torch.no_grad()
def separate_passes(network: Network, pack: Pack) -> torch.Tensor:
    """Logits [S, V] of the same rows, from one causal pass per document and one bidirectional pass per block."""
    logits = torch.zeros(len(pack), network.config.vocab_size)
    tokens = torch.from_numpy(pack.tokens)
    clean = {number: np.flatnonzero((pack.doc == number) & (pack.kind == CAUSAL)) for number in np.unique(pack.doc)}
    for rows in clean.values():
        logits[rows] = network.run(tokens[rows][None], causal=True)[0][0]
    for rows in blocks_of(pack):
        before = clean[pack.doc[rows[0]]][: pack.positions[rows[0]]]
        _, cache = network.run(tokens[before][None], causal=True)
        draft = bool(pack.kind[rows[0]] == DRAFT)
        logits[rows] = network.run(tokens[rows][None], causal=False, cache=cache, adapter=draft)[0][0]
    return logits


@torch.no_grad()
def one_pass(network: Network, pack: Pack, mask: np.ndarray, gate: np.ndarray) -> torch.Tensor:
    return network(
        torch.from_numpy(pack.tokens)[None],
        torch.from_numpy(pack.positions)[None],
        torch.from_numpy(mask)[None, None],
        gate=torch.from_numpy(gate)[None, :, None],
    )[0][0]


def test_a_pack_gives_the_logits_of_separate_passes(network, config):
    for pack in packed(config):
        logits = one_pass(network, pack, pack.mask(), pack.gate)
        torch.testing.assert_close(logits, separate_passes(network, pack), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", [BIDIRECTIONAL, DRAFT])
def test_blocks_without_the_text_before_them_would_be_noticed(network, config, kind):
    pack = packed(config)[0]
    mask = pack.mask() & ~((pack.kind == kind)[:, None] & (pack.kind == CAUSAL))
    difference = one_pass(network, pack, mask, pack.gate) - separate_passes(network, pack)
    assert difference[pack.kind == kind].abs().max() > 10 * TOLERANCE


def test_a_gate_left_off_would_be_noticed(network, config):
    pack = packed(config)[0]
    difference = one_pass(network, pack, pack.mask(), np.zeros_like(pack.gate)) - separate_passes(network, pack)
    assert difference[pack.kind == DRAFT].abs().max() > 10 * TOLERANCE


@settings(max_examples=40)
@given(documents=documents, mix=mixes, length=st.integers(2, 12), tokens=st.integers(16, 200))
def test_no_token_attends_across_documents_and_none_to_nothing(config, documents, mix, length, tokens):
    for pack in packed(config, documents, mix, block_length=length, pack_tokens=tokens):
        mask = pack.mask()
        assert not mask[pack.doc[:, None] != pack.doc].any()
        assert mask.diagonal().all()


def test_clean_tokens_see_no_block(config):
    for pack in packed(config):
        assert not pack.mask()[np.ix_(pack.kind == CAUSAL, pack.kind != CAUSAL)].any()


# Shares


@settings(max_examples=60)
@given(documents=documents, mix=mixes, length=st.integers(2, 12))
def test_shares_are_met_within_one_block(config, documents, mix, length):
    summary = Summary.of(packed(config, documents, mix, block_length=length))
    assert summary.causal_tokens == sum(len(document.ids) for document in documents)
    for share, tokens in ((mix.bidirectional, summary.bidirectional_tokens), (mix.draft, summary.draft_tokens)):
        wanted = summary.causal_tokens * share / mix.causal
        assert wanted - 1e-6 * length <= tokens < wanted + length


def test_shares_of_many_documents_are_those_of_the_mix(config):
    many = [document(200, 20, seed) for seed in range(20)]
    summary = Summary.of(packed(config, many, Mix(0.5, 0.3, 0.2), pack_tokens=1024))
    counts = (summary.causal_tokens, summary.bidirectional_tokens, summary.draft_tokens)
    assert np.allclose(np.array(counts) / summary.tokens, (0.5, 0.3, 0.2), atol=0.002)


def test_text_only_packs_have_no_blocks(config):
    summary = Summary.of(packed(config, mix=TEXT_ONLY, block_length=1))
    assert (summary.blocks, summary.tokens) == (0, sum(len(document.ids) for document in DOCUMENTS))


def test_a_kind_that_is_asked_for_is_there_however_little_text_there_is(config):
    summary = Summary.of(packed(config, [document(4, 1, 0)], Mix(0.98, 0.01, 0.01), block_length=32))
    assert (summary.bidirectional_tokens, summary.draft_tokens) == (32, 32)


# What blocks hold


@settings(max_examples=40)
@given(documents=documents, mix=mixes, length=st.integers(2, 12), seed=st.integers(0, 1000))
def test_blocks_start_with_a_token_of_the_answer_and_hold_its_tokens_or_masks(config, documents, mix, length, seed):
    for pack in packed(config, documents, mix, block_length=length, seed=seed):
        for rows in blocks_of(pack):
            source, start = documents[pack.doc[rows[0]]], pack.positions[rows[0]]
            truth = np.array([*source.ids, *[config.eos_token_id] * length][start : start + length])
            masked = pack.tokens[rows] == config.mask_token_id
            assert source.answer_start <= start < len(source.ids)
            assert not masked[0]
            assert masked.any()
            assert (pack.tokens[rows] == truth)[~masked].all()


def test_drafts_are_masked_wholly_and_bidirectional_blocks_at_every_level(config):
    pack = packed(config, [document(2000, 1, 0)], block_length=9)[0]
    masked = {BIDIRECTIONAL: set(), DRAFT: set()}
    for rows in blocks_of(pack):
        masked[pack.kind[rows[0]]].add(int((pack.tokens[rows] == config.mask_token_id).sum()))
    assert masked == {BIDIRECTIONAL: set(range(1, 9)), DRAFT: {8}}


def test_positions_repeat_those_of_the_document(config):
    for pack in packed(config):
        for number in np.unique(pack.doc):
            clean = pack.positions[(pack.doc == number) & (pack.block < 0)]
            assert clean.tolist() == list(range(len(DOCUMENTS[number].ids)))
        for rows in blocks_of(pack):
            start = pack.positions[rows[0]]
            assert pack.positions[rows].tolist() == list(range(start, start + 8))
            assert (pack.limit[rows] == start).all()


def test_no_block_starts_from_eos(config):
    pack = packed(config, [document(6, 3, 0)] * 20, pack_tokens=4096)[0]
    assert {int(pack.tokens[rows[0]]) for rows in blocks_of(pack)}.isdisjoint({config.eos_token_id})


def test_a_document_ends_with_any_eos(config):
    """Blocks then reach its end, as where it ends with the id that is written."""
    several = config.with_eos([config.eos_token_id, 27])
    ends = several.eos_token_ids
    found = [packed(several, [document(30, 20, 0, end=end)] * 9, pack_tokens=4096)[0].positions for end in ends]
    assert found[0].tolist() == found[1].tolist()


def test_a_document_that_was_cut_is_not_made_to_end(config):
    for pack in packed(config, [document(60, 20, 0, end=None)] * 5):
        assert config.eos_token_id not in pack.tokens


@pytest.mark.parametrize("adapter", [True, False])
def test_the_gate_is_on_in_drafts_of_a_checkpoint_with_an_adapter(config, adapter):
    packs = packed(config, adapter=adapter)
    for pack in packs:
        assert pack.gate.dtype == np.float32
        assert ((pack.gate == 1) == ((pack.kind == DRAFT) & adapter)).all()
    summary = Summary.of(packs)
    assert summary.draft_tokens > 0
    assert summary.adapter_tokens == (summary.draft_tokens if adapter else 0)


# Packing


def test_packs_stay_within_their_length_and_keep_documents_whole(config):
    packs = packed(config, [document(30, 5, seed) for seed in range(30)], pack_tokens=300)
    assert len(packs) > 1
    assert all(len(pack) <= 300 for pack in packs)
    seen = [number for pack in packs for number in np.unique(pack.doc)]
    assert seen == list(range(30))


def test_a_document_longer_than_a_pack_has_one_of_its_own(config):
    packs = packed(config, [document(5, 1, 0), document(100, 1, 1), document(5, 1, 2)], pack_tokens=40)
    assert [np.unique(pack.doc).tolist() for pack in packs] == [[0], [1], [2]]


def same(left: list[Pack], right: list[Pack]) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for a, b in zip(left, right, strict=True)
        for field in fields(Pack)
    )


def test_the_same_seed_gives_the_same_packs_whatever_numpy_drew_before(config):
    first = packed(config)
    np.random.seed(1)
    assert same(first, packed(config))
    assert not same(first, packed(config, seed=6))


def test_summary_counts_what_was_packed(config):
    packs = packed(config)
    summary = Summary.of(packs)
    assert summary.documents == len(DOCUMENTS)
    assert summary.packs == len(packs)
    assert summary.blocks * 8 == summary.bidirectional_tokens + summary.draft_tokens
    assert summary.tokens == sum(map(len, packs))
    assert summary.to_dict()["longest_pack"] == max(map(len, packs))


def test_blocks_without_a_slot_to_mask_are_refused(config):
    with pytest.raises(InputError, match="no slot to mask"):
        packed(config, block_length=1)


# The mix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5,0.25,0.25", Mix(0.5, 0.25, 0.25)),
        (" 1, 0, 0 ", TEXT_ONLY),
        ("causal=0.5,bidirectional=0.3,draft=0.2", Mix(0.5, 0.3, 0.2)),
        ("draft = 0.4, causal = 0.6", Mix(0.6, 0.0, 0.4)),
    ],
)
def test_a_mix_is_read(text, expected):
    assert Mix.parse(text) == expected


@given(mixes)
def test_a_mix_is_read_as_it_was_written(mix):
    assert Mix.parse(str(mix)) == mix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,0.5", "not a calibration mix"),
        ("0.5,0.25,0.25,0", "not a calibration mix"),
        ("", "not a calibration mix"),
        ("half,0.25,0.25", "could not convert"),
        ("causal=0.5,0.25,0.25", "not a calibration mix"),
        ("causal=0.5,causal=0.5", "not a calibration mix"),
        ("clean=1", "names 'clean'; kinds: causal, bidirectional, draft"),
        ("0.5,0.25,0.2", "add up to 0.95"),
        ("1.5,-0.25,-0.25", "outside 0 to 1"),
        ("nan,0.5,0.5", "outside 0 to 1"),
        ("0.05,0.5,0.45", "at least 0.1 are needed"),
    ],
)
def test_a_bad_mix_is_refused_by_name(text, message):
    with pytest.raises(InputError, match=message) as caught:
        Mix.parse(text)
    assert caught.value.fix


# Families that see the whole canvas


@pytest.fixture(scope="module")
def canvas_checkpoint(tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("dream")
    make_canvas_model("dream", folder / "release")
    convert(folder / "release", folder / "converted")
    return Checkpoint.open_converted(folder / "converted")


@torch.no_grad()
def test_canvases_are_passes_over_each_document_alone(canvas_checkpoint):
    network = Network(canvas_checkpoint.config).eval()
    network.load_state_dict({name: torch.from_numpy(canvas_checkpoint.read(name)) for name in canvas_checkpoint.names})
    packs = make_canvases(DOCUMENTS, canvas_checkpoint.config, pack_tokens=80, seed=0)
    assert [len(pack) for pack in packs] == [65, 67]
    start = 0
    pack = packs[0]
    tokens, positions = torch.from_numpy(pack.tokens)[None], torch.from_numpy(pack.positions)[None]
    together, _ = network.forward(tokens, positions, torch.from_numpy(pack.mask())[None, None])
    for source in DOCUMENTS[:2]:
        stop = start + len(source.ids)
        alone, _ = network.run(tokens[:, start:stop], causal=False)
        torch.testing.assert_close(together[:, start:stop], alone, atol=TOLERANCE, rtol=1e-4)
        masked = pack.tokens[start:stop] == MASK
        assert masked.any()
        assert not masked[: source.answer_start].any()
        assert (pack.tokens[start:stop][~masked] == np.array(source.ids)[~masked]).all()
        start = stop


def test_canvases_repeat_with_their_seed_and_have_no_other_passes(canvas_checkpoint):
    first, again, other = (
        make_canvases(DOCUMENTS, canvas_checkpoint.config, pack_tokens=80, seed=n) for n in (1, 1, 2)
    )
    same = [(one.tokens == two.tokens).all() for one, two in zip(first, again, strict=True)]
    assert all(same)
    assert not all((one.tokens == two.tokens).all() for one, two in zip(first, other, strict=True))
    summary = Summary.of(first)
    assert summary.bidirectional_tokens == sum(len(each.ids) for each in DOCUMENTS)
    assert summary.causal_tokens == summary.draft_tokens == summary.adapter_tokens == 0
    assert summary.documents == summary.blocks == len(DOCUMENTS)


def test_a_mix_with_other_passes_is_refused(canvas_checkpoint, checkpoint):
    with pytest.raises(InputError, match="Dream has no passes but those over its whole canvas"):
        CalibrationSettings(mix=TEXT_ONLY).prepare(canvas_checkpoint)
    with pytest.raises(InputError, match="blocks of Nemotron-Labs-Diffusion see causal text before them"):
        CalibrationSettings(mix=Mix(0.0, 1.0, 0.0)).prepare(checkpoint)
