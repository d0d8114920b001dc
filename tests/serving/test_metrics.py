# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is counted adds up to what clients got, and counting does not hold up the decode thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.serving import metrics as families
from nld_trt.serving.metrics import FAMILIES, Metrics
from nld_trt.serving.openai import metrics as front
from nld_trt.serving.scheduler import Scheduler
from tests.serving.conftest import wait_until
from tests.serving.test_scheduler import LONG, Client, requests

SECONDS = 60.0
CACHE_TOKENS = 4096


class Kept:
    """One series; it takes the calls of its kind only, as Triton's do."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.value = 0.0
        self.values: list[float] = []
        self.writers: set[str] = set()

    def increment(self, value: float) -> None:
        self._take("counter", self.value + value)

    def set(self, value: float) -> None:
        self._take("gauge", value)

    def observe(self, value: float) -> None:
        self._take("histogram", value)
        self.values.append(value)

    def _take(self, kind: str, value: float) -> None:
        assert kind == self.kind
        self.value = value
        self.writers.add(threading.current_thread().name)


class Server:
    """Where the metrics are written."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, ...], Kept] = {}

    def __call__(self, family, labels) -> Kept:
        assert tuple(labels) == family.labels
        return self.series.setdefault((family.name, *labels.values()), Kept(family.kind))

    def values(self, name: str, *labels: str) -> list[float]:
        found = self.series.get((name, *labels))
        return [] if found is None else found.values

    def total(self, name: str) -> float:
        return sum(kept.value for key, kept in self.series.items() if key[0] == name)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def metrics(server: Server) -> Iterator[Metrics]:
    made = Metrics(server, cache_tokens=CACHE_TOKENS, interval=0.01)
    yield made
    made.close()


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session("tiny-a")


def serve(session, metrics: Metrics, asked: list[Request]) -> list[Client]:
    """Answers all requests; the metrics are complete afterwards."""
    scheduler = Scheduler(Batch(session), observer=metrics)
    clients = [Client() for _ in asked]
    for request, client in zip(asked, clients, strict=True):
        scheduler.submit(request, client)
    scheduler.close(grace=SECONDS)
    metrics.close()
    return clients


def test_metrics_add_up_to_the_results(session, server, metrics) -> None:
    asked = requests(10)
    clients = serve(session, metrics, asked)
    for mode in ("ar", "diffusion", "linear"):
        tokens = sum(len(c.tokens) for c, request in zip(clients, asked, strict=True) if request.mode == mode)
        assert server.series["nld_tokens_total", mode].value == tokens
    assert server.total("nld_requests_total") == len(asked)
    assert server.total("nld_rounds_total") == server.series["nld_forwards_total", "linear", "verify"].value
    assert server.total("nld_prompt_tokens_total") == sum(len(request.prompt_ids) for request in asked)
    assert server.total("nld_live_rows") == server.total("nld_waiting_requests") == 0
    assert server.total("nld_kv_cache_used_tokens") == server.total("nld_kv_cache_utilization") == 0
    assert server.total("nld_kv_cache_capacity_tokens") == CACHE_TOKENS


def test_every_finished_request_has_one_value_in_each_histogram(session, server, metrics) -> None:
    asked = requests(10)
    clients = serve(session, metrics, asked)
    for mode in ("ar", "diffusion", "linear"):
        tokens = [len(c.tokens) for c, request in zip(clients, asked, strict=True) if request.mode == mode]
        for name in ("nld_request_queue_seconds", "nld_time_to_first_token_seconds", "nld_request_latency_seconds"):
            assert len(server.values(name, mode)) == len(tokens)
    assert len(server.values("nld_acceptance_length", "linear")) <= sum(request.mode == "linear" for request in asked)
    assert server.values("nld_acceptance_length", "linear")
    assert not server.values("nld_acceptance_length", "ar")


def test_times_are_those_of_one_request(session, server, metrics) -> None:
    began = time.monotonic()
    (client,) = serve(session, metrics, [Request((20, 21, 22), "ar", max_new_tokens=30, eos_token_id=-1)])
    passed = time.monotonic() - began
    [queue], [ttft], [itl], [gap], [latency] = (
        server.values(f"nld_{name}_seconds", "ar")
        for name in ("request_queue", "time_to_first_token", "inter_token_latency", "longest_gap", "request_latency")
    )
    assert 0 < queue < ttft < latency < passed
    assert itl == pytest.approx((latency - ttft) / (len(client.tokens) - 1))
    assert itl <= gap <= latency - ttft


def test_cancelled_while_waiting_has_no_times(session, server, metrics) -> None:
    scheduler = Scheduler(Batch(session, max_rows=1), observer=metrics)
    first, second = Client(), Client()
    running = scheduler.submit(LONG, first)
    waiting = scheduler.submit(LONG, second)
    assert first.started.wait(SECONDS)
    assert wait_until(lambda: server.total("nld_waiting_requests") == 1)
    waiting.cancel()
    assert second.ended.wait(SECONDS)
    running.cancel()
    scheduler.close(grace=SECONDS)
    metrics.close()
    assert server.series["nld_requests_total", LONG.mode, "cancelled"].value == 2
    assert len(server.values("nld_request_queue_seconds", LONG.mode)) == 1
    assert server.total("nld_prompt_tokens_total") == len(LONG.prompt_ids)
    assert not server.values("nld_request_latency_seconds", LONG.mode)


def test_running_rows_fill_the_cache(session, server, metrics) -> None:
    scheduler = Scheduler(Batch(session), observer=metrics)
    client = Client()
    job = scheduler.submit(LONG, client)
    assert wait_until(lambda: server.total("nld_kv_cache_used_tokens") > len(LONG.prompt_ids))
    used, part = server.total("nld_kv_cache_used_tokens"), server.total("nld_kv_cache_utilization")
    assert 0 < part < 1
    assert used < CACHE_TOKENS
    job.cancel()
    scheduler.close(grace=SECONDS)


def test_gauges_are_there_before_the_first_request(server, metrics) -> None:
    metrics.close()
    gauges = {family.name for family in FAMILIES.values() if family.kind == "gauge"}
    assert {name for (name,) in server.series} == gauges
    assert sum(server.total(name) for name in gauges) == server.total("nld_kv_cache_capacity_tokens") == CACHE_TOKENS


def test_switches_are_counted_by_their_reason(server, metrics) -> None:
    for _ in range(3):
        metrics.switched("linear", "ar", "rows")
    metrics.switched("ar", "linear", "rows")
    metrics.close()
    assert server.series["nld_mode_switches_total", "linear", "ar", "rows"].value == 3
    assert server.series["nld_mode_switches_total", "ar", "linear", "rows"].value == 1


def test_only_the_writing_thread_calls_the_server(session, server, metrics) -> None:
    serve(session, metrics, requests(3))
    assert set().union(*(kept.writers for kept in server.series.values())) == {"nld-metrics"}


def test_failing_server_does_not_end_the_decode_loop(session, caplog) -> None:
    def broken(family, labels):
        raise RuntimeError("the server takes no metric")

    metrics = Metrics(broken, cache_tokens=CACHE_TOKENS, interval=0.01)
    scheduler = Scheduler(Batch(session), observer=metrics)
    client = Client()
    scheduler.submit(Request((20, 21, 22), "ar", max_new_tokens=10), client)
    assert client.ended.wait(SECONDS)
    assert client.error is None
    scheduler.close(grace=SECONDS)
    metrics.close()
    assert "metrics cannot be written" in caplog.text


@pytest.mark.parametrize("family", [*FAMILIES.values(), *front.FAMILIES.values()], ids=lambda family: family.name)
def test_families_follow_the_conventions_of_prometheus(family) -> None:
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert bool(family.buckets) == (family.kind == "histogram")
    assert all(low < high for low, high in pairwise(family.buckets))
    assert "le" not in family.labels


def test_a_name_belongs_to_one_family() -> None:
    assert not set(families.FAMILIES) & set(front.FAMILIES)
