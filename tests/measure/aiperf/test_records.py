# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Records of a real run of AIPerf, and the rows and categories that they become."""

from __future__ import annotations

import json
import shutil
import statistics

import pytest

from nld_trt.errors import OperationError
from nld_trt.measure.aiperf.categories import category_rows, category_table, sums_of
from nld_trt.measure.aiperf.records import RAW, RECORDS, SUMMARY, ServedRequest, read_run
from nld_trt.measure.aiperf.row import Drafts, row
from nld_trt.measure.sweep.point import Point
from nld_trt.measure.sweep.report import COLUMNS
from tests.measure.aiperf.conftest import ARTIFACTS, CATEGORIES

POINT = Point("linear", 8, None, 2)


@pytest.fixture
def run():
    return read_run(ARTIFACTS)


@pytest.fixture
def copy(tmp_path):
    for name in (RECORDS, RAW, SUMMARY):
        shutil.copy(ARTIFACTS / name, tmp_path)
    return tmp_path


def test_warm_up_and_failures_are_no_requests(run) -> None:
    assert len(run.requests) == 6
    assert run.failures.total() == 1
    (reason,) = run.failures
    assert "No responses with actual content" in reason


def test_every_request_has_what_the_server_said(run) -> None:
    first = run.requests[0]
    assert (first.conversation, first.tokens, first.accepted, first.drafts, first.nfe) == (
        "d5a1eea291a480a206076842a54ee753", 47, 40, 6, 13,
    )  # fmt: skip
    assert first.ttft == pytest.approx(92.61276)
    assert first.itl == pytest.approx((first.latency - first.ttft) / (first.tokens - 1))


def test_a_row_has_aiperfs_rates_and_empty_places(run) -> None:
    found = row(POINT, [run, run], "nld", None)
    assert tuple(found) == COLUMNS
    assert (found["requests_ok"], found["requests_failed"], found["repeats"]) == (12, 2, 2)
    assert found["output_tps"] == pytest.approx(419.750667)
    assert found["duration_s"] == pytest.approx(2 * 0.545805, abs=1e-5)
    assert found["ttft_ms_avg"] == pytest.approx(statistics.fmean(each.ttft for each in run.requests))
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {
        "model_sha256", "family", "backend", "precision", "device", "num_gpus", "threshold", "tps_per_gpu",
        "denoising_steps_per_block", "host_share", "joules_per_token", "request_rate", "workload",
        "scripted_acceptance",
    }  # fmt: skip


def test_figures_of_decoding_are_quotients_of_sums(run) -> None:
    found = row(POINT, [run], "nld", 2)
    tokens, nfe = (sum(getattr(each, name) for each in run.requests) for name in ("tokens", "nfe"))
    accepted, drafts = (sum(getattr(each, name) or 0 for each in run.requests) for name in ("accepted", "drafts"))
    assert found["tokens_per_forward"] == pytest.approx(tokens / nfe, abs=1e-6)
    assert found["acceptance_length"] == pytest.approx(1 + accepted / drafts, abs=1e-6)
    assert found["tps_per_gpu"] == pytest.approx(found["output_tps"] / 2)


def test_a_server_that_tells_no_forwards_has_empty_figures(copy) -> None:
    (copy / RAW).unlink()
    found = row(POINT, [read_run(copy)], "nld", None)
    assert found["tokens_per_forward"] is None
    assert found["acceptance_length"] > 1


def test_requests_without_drafts_have_no_acceptance() -> None:
    sums = Drafts.of([ServedRequest("1", tokens=4, ttft=1.0, latency=2.0, nfe=4)])
    assert (sums.acceptance_length, sums.tokens_per_forward) == (None, 1.0)


def test_a_run_whose_requests_were_all_refused_has_failed() -> None:
    with pytest.raises(OperationError, match="2 of 2 requests failed: 1 × 400: max_tokens is 100000; after a prompt"):
        read_run(ARTIFACTS / "refused")


@pytest.mark.parametrize(
    ("name", "message"), [(RECORDS, "wrote no profile_export.jsonl"), (SUMMARY, "wrote no summary")]
)
def test_a_run_without_its_files_has_failed(copy, name, message) -> None:
    (copy / name).unlink()
    with pytest.raises(OperationError, match=message):
        read_run(copy)


def test_a_run_that_was_cancelled_has_failed(copy) -> None:
    summary = json.loads((copy / SUMMARY).read_text(encoding="utf-8"))
    (copy / SUMMARY).write_text(json.dumps({**summary, "was_cancelled": True}), encoding="utf-8")
    with pytest.raises(OperationError, match="ended before its requests did"):
        read_run(copy)


def test_categories_are_those_of_the_conversations(run) -> None:
    sums = sums_of(run.requests, CATEGORIES)
    assert {name: each["requests"] for name, each in sums.items()} == {"addition": 3, "counting": 2, "sorting": 1}
    assert sum(each["tokens"] for each in sums.values()) == sum(each.tokens for each in run.requests)
    assert sums_of(run.requests, {}) == {}


def test_the_table_of_categories_has_a_column_for_each_mode(run) -> None:
    sums = sums_of(run.requests, CATEGORIES)
    points = [
        {"row": row(Point(variant, length, None, count), [run], "nld", None), "categories": sums}
        for variant, length, count in (("linear", 8, 2), ("linear", 8, 1), ("linear", 16, 1))
    ]
    rows = category_rows(points)
    assert len(rows) == 9
    titles, cells = category_table(rows)
    assert titles == ["category", "linear, block 8", "linear, block 16"]
    assert cells[2] == ["sorting", "7.67", "7.67"]
