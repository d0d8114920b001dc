# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Several tokens end an answer: whichever comes first, in every mode."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.jsonl import run_lines
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError
from nld_trt.measure.questions import Question
from nld_trt.measure.score import requests_for
from nld_trt.measure.variant import VARIANTS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import MAX_EOS_IDS
from nld_trt.model.convert import convert
from nld_trt.model.text.codec import Codec
from nld_trt.names import EAGLE3, NEVER, NLD_MODES
from tests.conftest import GOLDEN_LIMITS, TINY_LIMITS
from tests.golden_cases import golden_prompts

LENGTH, BLOCK = 48, 8
NLD_VARIANTS = [name for name in VARIANTS if name != EAGLE3]
QUESTION = "Sort these numbers: 42 17 88 35"


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session("tiny-a")


@pytest.fixture(scope="module")
def prompts(goldens):
    return golden_prompts(goldens, "tiny-a")


@pytest.fixture(scope="module")
def endless(session, prompts):
    """The tokens of an answer that no token ends, by prompt, mode and temperature."""

    @cache
    def answer(prompt: int, mode: str, temperature: float) -> list[int]:
        return answers(session, [request(prompts[prompt], mode, temperature, NEVER)])[0].output_ids

    return answer


def request(prompt, mode, temperature, eos):
    return Request(
        prompt, mode, max_new_tokens=LENGTH, block_length=BLOCK, threshold=0.6 if mode == "diffusion" else 0.0,
        eos_token_id=eos, temperature=temperature, seed=5, acceptance="match",
    )  # fmt: skip


def answers(session, requests):
    results = dict(generate(Batch(session), requests))
    return [results[index] for index in range(len(requests))]


def cut(tokens, ends):
    """(tokens up to the first of ``ends``, why they end)."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1], "stop"
    return tokens, "length"


@settings(max_examples=25)
@given(st.data())
def test_an_answer_ends_at_the_first_of_its_eos_tokens(session, prompts, endless, data):
    """In a batch whose rows have other sets, and in the passes that the engine makes without the host."""
    rows = data.draw(st.integers(1, 4))
    requests, expected = [], []
    for _ in range(rows):
        prompt, mode = data.draw(st.integers(0, min(3, len(prompts) - 1))), data.draw(st.sampled_from(NLD_MODES))
        temperature = data.draw(st.sampled_from([0.0, 0.0, 0.9]))
        tokens = endless(prompt, mode, temperature)
        candidates = st.one_of(st.sampled_from(tokens), st.integers(101, 255))
        ends = data.draw(st.lists(candidates, min_size=1, max_size=MAX_EOS_IDS, unique=True))
        requests.append(request(prompts[prompt], mode, temperature, ends))
        expected.append(cut(tokens, ends))
    found = answers(session, requests)
    assert [(result.output_ids, result.finish_reason) for result in found] == expected


@pytest.mark.parametrize("mode", NLD_MODES)
@pytest.mark.parametrize("place", range(MAX_EOS_IDS))
def test_every_place_of_the_set_counts(session, prompts, endless, mode, place):
    tokens = endless(0, mode, 0.0)
    ends = [token for token in range(101, 255) if token not in tokens][: MAX_EOS_IDS - 1]
    ends.insert(place, tokens[LENGTH // 2])
    (found,) = answers(session, [request(prompts[0], mode, 0.0, ends)])
    assert (found.output_ids, found.finish_reason) == cut(tokens, ends)


@pytest.mark.parametrize("mode", NLD_MODES)
def test_an_id_counts_the_same_alone_and_among_others(session, prompts, endless, mode):
    """Down to the number of passes: a block of diffusion is done as soon as no mask is left before any of them."""
    tokens = list(dict.fromkeys(endless(0, mode, 0.0)))
    others = [token for token in range(101, 255) if token not in tokens][:3]
    alone = answers(session, [request(prompts[0], mode, 0.0, token) for token in tokens])
    among = answers(session, [request(prompts[0], mode, 0.0, [*others, token]) for token in tokens])
    assert among == alone


@pytest.mark.parametrize(
    ("stated", "ids"), [(7, (7,)), ([7], (7,)), ((7, 9, 7), (7, 9)), ([7, NEVER], (7,)), ([NEVER], ()), (NEVER, ())]
)
def test_a_request_names_one_or_several(session, stated, ids):
    assert Request((1, 5), max_new_tokens=4, eos_token_id=stated).resolved(session.info).eos_token_ids == ids


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ([11, 99999], "eos_token_id is 99999; it must be a token id below 256"),
        ([-2], "eos_token_id is -2"),
        ([11, 100], "eos_token_id is 100, the mask token"),
        ([], "eos_token_id is an empty list; -1 is for never"),
        ([*range(MAX_EOS_IDS + 1)], f"has {MAX_EOS_IDS + 1} token ids; an engine can look for up to {MAX_EOS_IDS}"),
    ],
)
def test_a_set_that_cannot_be_is_refused_by_name(session, stated, message):
    with pytest.raises(InputError, match=message):
        Request((1, 5), max_new_tokens=4, eos_token_id=stated).resolved(session.info)


def test_a_line_of_a_requests_file_names_several(session, prompts, endless):
    tokens = endless(0, "ar", 0.0)
    line = {"prompt_ids": prompts[0], "mode": "ar", "max_new_tokens": LENGTH}
    stated = ([200, tokens[9]], [11, "x"], [11, True], [])
    lines = [json.dumps({**line, "eos_token_id": ids}) for ids in stated]
    good, text, flag, empty = run_lines(lines, Batch(session))
    assert good["output_ids"] == cut(tokens, [tokens[9]])[0]
    assert text["error"] == "eos_token_id has 'x'; it must be token ids"
    assert flag["error"] == "eos_token_id has True; it must be token ids"
    assert "eos_token_id is an empty list" in empty["error"]


def engine_of(source, folder, limits, **edits):
    """An engine of a checkpoint whose files were edited: file name to entries."""
    shutil.copytree(source, folder / "release")
    for name, entries in edits.items():
        path = folder / "release" / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")
    convert(folder / "release", folder / "checkpoint")
    plan = BuildPlan("ort", "fp32", limits, adapter=True)
    checkpoint = Checkpoint.open_converted(folder / "checkpoint")
    build_engine(checkpoint, [plan], folder / "engine")
    return EngineFolder.open(folder / "engine")


@pytest.fixture(scope="module", params=["generation_config", "config"])
def several(request, goldens, endless, tmp_path_factory):
    """An engine of tiny-a, and the EOS ids that one of its checkpoint's files names: of every mode's answer a token."""
    ids = [11, *dict.fromkeys(endless(0, mode, 0.0)[20] for mode in NLD_MODES)]
    edits = {request.param: {"eos_token_id": ids}}
    if request.param == "config":
        edits["generation_config"] = {"eos_token_id": None}
    return engine_of(goldens / "tiny-a", tmp_path_factory.mktemp("several"), GOLDEN_LIMITS, **edits), ids


@pytest.mark.parametrize("mode", NLD_MODES)
def test_every_id_of_the_checkpoint_ends_an_answer(several, prompts, endless, mode):
    folder, ids = several
    (found,) = answers(folder.open_session("ort"), [request(prompts[0], mode, 0.0, None)])
    assert (found.output_ids, found.finish_reason) == cut(endless(0, mode, 0.0), ids)
    assert found.finish_reason == "stop"


def test_measurements_stop_at_every_id_of_the_checkpoint(several, prompts):
    folder, ids = several
    info = folder.info("ort")
    for variant in (VARIANTS[name] for name in NLD_VARIANTS):
        (made,) = requests_for([Question("q", prompts[0], None, None)], variant, info, max_new_tokens=None)
        assert sorted(made.eos_token_ids) == sorted(set(ids))


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear"])
def test_no_text_comes_of_a_token_that_ends_an_answer(golden_session, engine, mode):
    """Also where the token is an ordinary one, which a decoder would print."""
    session, codec = golden_session("nld-tiny"), Codec.open(engine("nld-tiny").path)
    prompt = codec.encode_prompt(QUESTION)
    (whole,) = dict(generate(Batch(session, codec), [Request(prompt, mode)])).values()
    last = whole.output_ids[4]
    place = whole.output_ids.index(last)
    (found,) = dict(generate(Batch(session, codec), [Request(prompt, mode, eos_token_id=[11, last])])).values()
    assert found.output_ids == whole.output_ids[: place + 1]
    assert found.text == codec.decode(whole.output_ids[:place])
    assert found.finish_reason == "stop"


def test_ids_beyond_the_first_are_in_the_engines_manifest(several):
    folder, ids = several
    stated = json.loads((folder.path / "engine.json").read_text(encoding="utf-8"))["config"]["eos_token_id"]
    assert sorted(stated) == sorted(set(ids))


@pytest.fixture(scope="module")
def sampling_engine(root, tmp_path_factory):
    """nld-tiny with defaults of its own."""
    stated = {"do_sample": True, "temperature": 0.7, "top_k": 400, "top_p": 0.9, "max_new_tokens": 9}
    source = root / "examples" / "nld-tiny"
    return engine_of(source, tmp_path_factory.mktemp("sampling"), TINY_LIMITS, generation_config=stated)


def test_the_checkpoints_defaults_are_those_of_a_request(sampling_engine):
    made = Request((1, 5)).resolved(sampling_engine.info("ort"))
    assert (made.temperature, made.top_p, made.min_p, made.max_new_tokens) == (0.7, 0.9, 0.0, 9)
    assert made.top_k == 256  # as many as an engine keeps
    assert made.seed is not None


def test_what_a_request_says_wins(sampling_engine):
    made = Request((1, 5), temperature=0.0, top_p=1.0, max_new_tokens=20).resolved(sampling_engine.info("ort"))
    assert (made.temperature, made.top_p, made.max_new_tokens, made.seed) == (0.0, 1.0, 20, None)


def test_diffusion_takes_the_temperature_and_no_filter(sampling_engine):
    made = Request((1, 5), "diffusion").resolved(sampling_engine.info("ort"))
    assert (made.temperature, made.top_k, made.top_p) == (0.7, 0, 1.0)


def test_a_default_length_is_no_longer_than_fits(sampling_engine):
    made = Request((1,) * (TINY_LIMITS.max_seq_len - 3)).resolved(sampling_engine.info("ort"))
    assert made.max_new_tokens == 3


def test_without_defaults_a_request_is_greedy(sampling_engine):
    made = Request((1, 5)).resolved(sampling_engine.with_defaults("none").info("ort"))
    assert (made.temperature, made.top_k, made.top_p, made.seed, made.max_new_tokens) == (0.0, 0, 1.0, None, 510)


@pytest.mark.parametrize("variant", [VARIANTS[name] for name in NLD_VARIANTS], ids=NLD_VARIANTS)
def test_measurements_are_greedy_whatever_the_checkpoint_says(sampling_engine, variant):
    info = sampling_engine.info("ort")
    info = replace(info, limits=replace(info.limits, max_quadratic_length=8))
    made = variant.request((1, 5), max_new_tokens=None).resolved(info)
    assert (made.temperature, made.seed, made.max_new_tokens) == (0.0, None, 9)
