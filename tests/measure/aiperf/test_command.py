# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of AIPerf, and the files that it names."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.aiperf.command import Benchmark
from nld_trt.measure.aiperf.dataset import SINGLE_TURN, SPEED_BENCH, Dataset
from nld_trt.measure.aiperf.modes import fields
from nld_trt.measure.prompt_lines import read_prompt_lines
from nld_trt.measure.sweep.point import Point, Workload

WORKLOAD = Workload("prompts", "0" * 64, requests=16, max_new_tokens=64, ignore_eos=False, warmup=2, repeats=3)
BENCHMARK = Benchmark("http://host:9000", "nld", WORKLOAD, Path("p.jsonl"), SINGLE_TURN, Path("tokenizer"))
MESSAGE = {"role": "user", "content": "Add 2 and 3."}


def flags(benchmark: Benchmark, point: Point) -> dict[str, str]:
    arguments = benchmark.arguments(point.concurrency, fields(point), Path("out"))
    assert arguments[0] == "profile"
    return dict(pairwise(arguments))


def dataset(*lines: object) -> Dataset:
    return Dataset.of(read_prompt_lines(json.dumps(line) for line in lines))


def test_a_point_becomes_flags_and_fields_of_requests() -> None:
    found = flags(BENCHMARK, Point("diffusion", 8, 0.9, 4))
    assert found["--url"] == "http://host:9000"
    assert found["--concurrency"] == "4"
    assert found["--request-count"] == "16"
    assert found["--warmup-request-count"] == "2"
    assert found["--artifact-dir"] == "out"
    assert json.loads(found["--extra-inputs"]) == {
        "max_completion_tokens": 64, "temperature": 0, "mode": "diffusion", "block_length": 8, "threshold": 0.9,
    }  # fmt: skip


def test_tokens_are_counted_by_the_server_in_every_chunk() -> None:
    assert {"--streaming", "--use-server-token-count", "--per-chunk-usage"} <= flags(
        BENCHMARK, Point("ar", None, None, 1)
    ).keys()


def test_requests_that_arrive_at_a_rate_are_a_poisson_process() -> None:
    point = Point("ar", None, None, 8, request_rate=0.5)
    found = dict(pairwise(BENCHMARK.arguments(8, fields(point), Path("out"), rate=point.request_rate)))
    assert (found["--request-rate"], found["--arrival-pattern"], found["--concurrency"]) == ("0.5", "poisson", "8")
    assert "--request-rate" not in flags(BENCHMARK, Point("ar", None, None, 8))


def test_more_users_send_more_requests_if_that_is_asked_for() -> None:
    busy = replace(BENCHMARK, workload=replace(WORKLOAD, requests_per_user=3))
    found = [flags(busy, Point("ar", None, None, users))["--request-count"] for users in (1, 8)]
    assert found == ["16", "24"]


def test_without_warm_up_there_is_no_such_flag() -> None:
    cold = replace(BENCHMARK, workload=replace(WORKLOAD, warmup=0, ignore_eos=True))
    found = flags(cold, Point("ar", None, None, 1))
    assert "--warmup-request-count" not in found
    assert json.loads(found["--extra-inputs"])["ignore_eos"] is True


def test_speed_bench_is_counted_in_conversations() -> None:
    found = flags(replace(BENCHMARK, format=SPEED_BENCH), Point("linear", None, None, 1))
    assert (found["--num-conversations"], "--request-count" in found) == ("16", False)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("linear", {"mode": "linear"}),
        ("linear-no-lora", {"mode": "linear", "lora": False}),
        ("ar", {"mode": "ar"}),
        ("a mode of a later server", {"mode": "a mode of a later server"}),
        ("default", {}),
    ],
)
def test_a_variant_becomes_fields(variant, expected) -> None:
    assert fields(Point(variant, None, None, 1)) == expected


def test_prompts_become_single_turns_of_different_sessions() -> None:
    found = dataset({"id": "a", "prompt": "Add 2 and 3."}, {"id": "a", "text": "Add 4."})
    assert found.format == SINGLE_TURN
    assert list(found.rows) == [{"session_id": "1", "text": "Add 2 and 3."}, {"session_id": "2", "text": "Add 4."}]


def test_a_conversation_is_sent_as_it_is() -> None:
    (row,) = dataset({"messages": [MESSAGE]}).rows
    assert row["extra"] == {"messages": [MESSAGE]}


def test_a_system_message_comes_before_the_prompt() -> None:
    (row,) = dataset({"prompt": "Add 2 and 3.", "system": "Be brief."}).rows
    assert row["extra"] == {"messages": [{"role": "system", "content": "Be brief."}, MESSAGE]}


def test_speed_bench_keeps_all_turns_and_its_categories() -> None:
    turns = [MESSAGE, {"role": "user", "content": "Now add 4."}]
    line = {"question_id": "0" * 32, "category": "math", "messages": turns}
    found = dataset(line)
    assert (found.format, list(found.rows), found.categories) == (SPEED_BENCH, [line], {"0" * 32: "math"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt_ids": [1, 2]}, "a chat client sends texts"),
        ({"prompt": "Hello", "raw": True}, "a chat client sends texts"),
        ({"question": "Hello"}, "has no prompt"),
        ({"messages": "Hello"}, "messages"),
    ],
)
def test_what_a_chat_client_cannot_send_is_refused(line, message) -> None:
    with pytest.raises(InputError, match=f"line 2 of the prompts file cannot be used: .*{message}"):
        dataset({"prompt": "Hello"}, line)


def test_files_are_written_as_aiperf_reads_them(tmp_path) -> None:
    prompts, tokenizer = dataset({"prompt": "Zähle bis 3."}).write(tmp_path / "aiperf")
    assert json.loads(prompts.read_text(encoding="utf-8")) == {"session_id": "1", "text": "Zähle bis 3."}
    assert {path.name for path in tokenizer.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
