# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A ``torch`` engine on the CPU: its texts, its rows, its threads, and what it tells while it loads."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from nld_trt import Engine
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec
from tests.near_ties import Text, assert_same_texts, next_logits
from tests.recorded_progress import Recorded

CASES = 16


@pytest.fixture(scope="module")
def session(torch_session):
    return torch_session("nld-tiny")


@pytest.fixture(scope="module")
def requests(root):
    """Linear requests over prompts, block lengths, thresholds and the adapter."""
    choice, folder = random.Random(5), root / "examples" / "nld-tiny"
    codec = Codec.open(folder)
    lines = (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Request(
            codec.encode_prompt(json.loads(choice.choice(lines))["prompt"]),
            "linear",
            lora=choice.random() < 0.5,
            max_new_tokens=choice.randint(1, 60),
            block_length=choice.choice([2, 8, 31, 32]),
            threshold=choice.choice([0.0, 0.5]),
        )
        for _ in range(CASES)
    ]


def texts(session, requests, rows: int) -> list[Text]:
    results = dict(generate(Batch(session, max_rows=rows), requests))
    return [(results[index].output_ids, results[index].finish_reason) for index in range(len(requests))]


def same(torch_engine, requests, found, expected) -> None:
    logits = partial(next_logits, torch_engine("nld-tiny").open_session("torch", debug=True))
    assert_same_texts(found, expected, [request.prompt_ids for request in requests], logits, closer_than=1e-3)


def test_linear_equals_ar(session, torch_engine, requests):
    plain = [replace(request, mode="ar", lora=False, threshold=None) for request in requests]
    found = texts(session, requests, rows=7)
    assert sum(len(tokens) for tokens, _ in found) > 10 * CASES
    same(torch_engine, requests, found, texts(session, plain, rows=1))


def test_row_does_not_depend_on_the_rows_beside_it(session, torch_engine, requests):
    same(torch_engine, requests, texts(session, requests, rows=5), texts(session, requests, rows=1))


def test_kinds_of_rows_have_forwards_of_their_own(session, torch_engine, requests):
    """Every other request is decoded token by token, over rows in front of those of the blocks."""
    mixed = [
        replace(request, mode="ar", lora=False, threshold=None) if index % 2 else request
        for index, request in enumerate(requests)
    ]
    same(torch_engine, requests, texts(session, mixed, rows=6), texts(session, mixed, rows=1))


def test_a_prompt_takes_over_what_another_row_has_of_it(session, requests):
    prompt = requests[0].prompt_ids
    batch = Batch(session, prefix_caching=True)
    first = dict(generate(batch, [Request(prompt, "linear", max_new_tokens=20)]))[0]
    longer = Request((*prompt, *first.output_ids[:-1], 20, 21), "ar", max_new_tokens=12)
    again = dict(generate(batch, [longer]))[0]
    assert again.cached_tokens >= len(prompt)
    assert again.output_ids == dict(generate(Batch(session), [longer]))[0].output_ids


def test_sampled_answers_repeat_with_their_seed(session, requests):
    hot = [replace(request, temperature=1.5, seed=index) for index, request in enumerate(requests[:4])]
    first, again = texts(session, hot, rows=4), texts(session, hot, rows=4)
    assert first == again
    assert first != texts(session, [replace(request, seed=99) for request in hot], rows=4)


def test_cpu_runs_neither_ahead_nor_empty_rows(session):
    """A forward ahead would have to end before the results of the one before it are read."""
    assert session.device == "cpu"
    assert not session.runs_ahead
    assert [session.row_count(rows) for rows in range(1, 9)] == list(range(1, 9))


def test_threads_are_those_of_the_environment(torch_engine, tmp_path):
    script = (
        "import sys, torch; from nld_trt import Engine\n"
        "before = torch.get_num_threads(); Engine.open(sys.argv[1], backend='torch')\n"
        "print(before, torch.get_num_threads())\n"
    )
    command = [sys.executable, "-c", script, str(torch_engine("tiny-a").path)]
    done = subprocess.run(
        command, env={**os.environ, "NLD_TRT_THREADS": "3"}, capture_output=True, text=True,
        check=True, encoding="utf-8",
    )  # fmt: skip
    assert done.stdout.split() == ["1", "3"]


def test_threads_that_are_no_number_are_refused(torch_engine, monkeypatch):
    monkeypatch.setenv("NLD_TRT_THREADS", "all")
    with pytest.raises(InputError, match="NLD_TRT_THREADS is 'all'") as caught:
        Engine.open(torch_engine("tiny-a").path)
    assert caught.value.fix == "Set it to such a number, or remove it: unset NLD_TRT_THREADS"


def test_loading_tells_the_bytes_that_it_uploads(torch_engine):
    """The meta device takes tensors without their contents."""
    folder, told = torch_engine("tiny-a"), Recorded()
    EngineWeights.load(folder.path / "torch" / "weights.safetensors", torch.device("meta"), told)
    assert told.stages == ["uploading weights"]
    ((total, unit),) = told.totals
    assert unit == "MB"
    weight_bytes = folder.manifest.backends["torch"].proof["weight_bytes"]
    assert sum(amount for amount, _ in told.done) == pytest.approx(weight_bytes / 1e6)
    assert total == pytest.approx(weight_bytes / 1e6, rel=0.2)


def test_loading_on_the_cpu_uploads_nothing(torch_engine):
    told = Recorded()
    Engine.open(torch_engine("tiny-a").path, progress=told)
    assert told.stages == []


def test_engine_with_both_backends_runs_torch_first(golden, torch_engine, engine):
    folder, other = torch_engine("tiny-a"), engine("tiny-a")
    both = {**other.manifest.backends, **folder.manifest.backends}
    joined = replace(folder, manifest=replace(folder.manifest, backends=both))
    assert list(both) == ["ort", "torch"]
    assert joined.open_session().info.backend == "torch"
