# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep of a server: a run of AIPerf for each repeat of each point."""

from __future__ import annotations

import platform
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import nld_trt
from nld_trt.errors import InputError, OperationError
from nld_trt.machine import environment
from nld_trt.measure.aiperf import records
from nld_trt.measure.aiperf.categories import sums_of
from nld_trt.measure.aiperf.command import Benchmark
from nld_trt.measure.aiperf.dataset import Dataset
from nld_trt.measure.aiperf.endpoint import Endpoint
from nld_trt.measure.aiperf.modes import Prober, fields
from nld_trt.measure.aiperf.program import NAME, AiPerf
from nld_trt.measure.aiperf.row import row
from nld_trt.measure.prompt_lines import read_prompt_file
from nld_trt.measure.sweep.point import Point
from nld_trt.measure.sweep.results import POINTS, Measured, Results
from nld_trt.measure.sweep.settings import SweepSettings
from nld_trt.progress import SILENT, Progress

TIMED_REGION: Final = (
    "from sending a request to its last chunk, as AIPerf sees it: network, queue, prefill, decoding, detokenization. "
    "Loading the model, the start of AIPerf and its warm-up requests are outside."
)
_OUTPUT: Final = "output.log"


@dataclass(frozen=True)
class ServedSweep:
    """A sweep that has been planned.

    Attributes:
        server: the server, in words: how requests reach it.
        gpus: how many GPUs serve the model, if the user said.
        left_out: the server's reason for each setting that it cannot be measured at.
    """

    results: Results
    dataset: Dataset
    endpoint: Endpoint
    model: str
    aiperf: AiPerf
    server: str
    gpus: int | None
    left_out: Mapping[str, str]

    @property
    def folder(self) -> Path:
        return self.results.folder

    @property
    def title(self) -> str:
        return f"{self.model} at {self.server}, AIPerf {self.aiperf.version}"

    def left_out_lines(self) -> list[str]:
        """Return lines that name what cannot be measured, and why; none if everything can be measured."""
        lines = [f"  {label}: {reason}" for label, reason in self.left_out.items()]
        return ["left out:", *lines] if lines else []

    def run(self, *, resume: bool = True, progress: Progress = SILENT) -> Measured:
        """Measure every point that is not finished. A point that fails is told, and the sweep goes on.

        Raises:
            InputError: the folder holds something that is no sweep, or cannot be created.
        """
        for line in self.left_out_lines():
            progress.note(line)
        self.results.prepare({**environment.facts(), **self._facts, "timed_region": TIMED_REGION})
        prompts, tokenizer = self.dataset.write(self.folder.absolute() / NAME)
        benchmark = Benchmark(
            self.endpoint.url, self.model, self.results.workload, prompts, self.dataset.format, tokenizer
        )
        measured = self.results.run(
            lambda point: self._measure(point, benchmark), resume=resume, go_on=True, progress=progress
        )
        for point in measured.points:
            row, failures = point["row"], point["failures"]
            if failures:
                every = row["requests_ok"] + row["requests_failed"]
                label = f"{row['mode']} at concurrency {row['concurrency']}"
                progress.warn(f"{label}: {row['requests_failed']} of {every} requests failed: {records.told(failures)}")
        return measured

    @property
    def _facts(self) -> dict[str, Any]:
        versions = {NAME: self.aiperf.version, "nld_trt": nld_trt.__version__, "python": platform.python_version()}
        return {"server": self.server, "versions": versions}

    def _measure(self, point: Point, benchmark: Benchmark) -> dict[str, Any]:
        home = self.folder.absolute() / POINTS / point.label
        shutil.rmtree(home, ignore_errors=True)
        runs, commands = [], []
        for number in range(1, self.results.workload.repeats + 1):
            artifacts = home / f"run-{number}"
            artifacts.mkdir(parents=True)
            arguments = benchmark.arguments(point.concurrency, fields(point), artifacts, rate=point.request_rate)
            commands.append(shlex.join([NAME, *arguments]))
            status = self.aiperf.run(arguments, artifacts / _OUTPUT)
            try:
                run = records.read_run(artifacts)
            except OperationError as error:
                raise OperationError(f"{error}; its files are in {artifacts}") from error
            finally:
                # Whole answers are large, and what they were needed for has been read.
                (artifacts / records.RAW).unlink(missing_ok=True)
                shutil.rmtree(artifacts / records.RAW_PARTS, ignore_errors=True)
            if status:
                raise OperationError(f"AIPerf ended with status {status}; its output is in {artifacts / _OUTPUT}")
            runs.append(run)
        return {
            "row": row(point, runs, self.model, self.gpus, workload=self.results.workload.title),
            "categories": sums_of((each for run in runs for each in run.requests), self.dataset.categories),
            "failures": sum((run.failures for run in runs), Counter()),
            "commands": commands,
            **self._facts,
            "timed_region": TIMED_REGION,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def plan_served_sweep(
    endpoint: Endpoint,
    model: str,
    aiperf: AiPerf,
    prompts: Path,
    folder: Path,
    settings: SweepSettings,
    *,
    server: str,
    gpus: int | None = None,
) -> ServedSweep:
    """Plan a sweep of a server into ``folder``, and refuse before any work what would fail at every point.

    The server is asked for one token in each mode and at each block length. Nothing is written.

    Args:
        server: how requests reach the model, in words; results of another server are not taken for this one's.

    Raises:
        InputError: a prompt or a setting cannot be used, or does not fit the server.
        OperationError: the server is not ready.
    """
    if gpus is not None and gpus < 0:
        raise InputError(f"--num-gpus is {gpus}; it must be at least 0")
    lines = read_prompt_file(prompts)
    dataset = Dataset.of(lines)
    grid = Prober(endpoint, model, server).grid(settings)
    results = Results(
        folder, settings.workload(prompts, lines), grid.points, f"{server} {model} AIPerf {aiperf.version} {gpus}"
    )
    return ServedSweep(results, dataset, endpoint, model, aiperf, server, gpus, grid.left_out)
