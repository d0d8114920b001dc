# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a sweep: its points, its prompts and its machine, checked against an open engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.decode.engine import Engine
from nld_trt.decode.scripted import SCRIPTED_MODES, Script
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.machine import environment
from nld_trt.measure.cost_table import load_or_measure
from nld_trt.measure.prompt_lines import read_prompt_file
from nld_trt.measure.questions import Question, questions_of
from nld_trt.measure.sweep.point import grid
from nld_trt.measure.sweep.results import Measured, Results
from nld_trt.measure.sweep.run import Sweep
from nld_trt.measure.sweep.settings import SweepSettings
from nld_trt.measure.variant import SWEPT, Variant, greedy_note, parse_variants
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep, and the engine and the questions that it is for.

    Attributes:
        left_out: the reason for each setting that the engine cannot be measured at.
        device: the GPU or CPU of this machine that runs the engine, in words.
        gpus: how many GPUs run the engine.
        script: what drafts are told to have had accepted; None for what the engine accepts.
        facts: the description of this machine that is written with the results.
    """

    sweep: Sweep
    engine: Engine
    questions: Sequence[Question]
    left_out: Mapping[str, str]
    device: str
    gpus: int
    facts: Mapping[str, Any]
    script: Script | None = None

    @property
    def title(self) -> str:
        """Model, backend, precision and device, for the head of a table or a plot."""
        info = self.engine.info
        return f"{self.engine.folder.manifest.model['name']}, {info.backend} {info.precision}, {self.device}"

    def labels(self) -> list[str]:
        """Return the labels of the points, each with a mark if it is finished."""
        return self.sweep.results.labels()

    def left_out_lines(self) -> list[str]:
        """Return lines that name what cannot be measured, and why; none if everything can be measured."""
        lines = [f"  {label}: {reason}" for label, reason in self.left_out.items()]
        return ["left out:", *lines] if lines else []

    def run(self, *, resume: bool = True, progress: Progress = SILENT) -> Measured:
        """Measure every point that is not finished. A point that fails is told, and the sweep goes on.

        Raises:
            InputError: the folder holds something that is no sweep, or cannot be created.
        """
        for line in (*self.left_out_lines(), greedy_note(self.engine.info)):
            if line is not None:
                progress.note(line)
        self.sweep.results.prepare(self.facts)
        if names.AUTO in self.sweep.variants:
            engine = self.engine
            engine.decoder.follow_load(load_or_measure(engine.folder, engine.session, progress=progress))
        manifest = self.engine.folder.manifest
        model = {**manifest.model, "algorithm": (manifest.quantization or {}).get("algorithm")}
        self.engine.decoder.script = self.script
        return self.sweep.run(
            self.engine.decoder, self.questions, model, self.device, self.gpus, resume=resume, progress=progress
        )


def plan_sweep(engine: Engine, prompts: Path, folder: Path, settings: SweepSettings) -> PlannedSweep:
    """Plan a sweep into ``folder``, and refuse before any work what would fail at one of its points.

    Nothing is written.

    Raises:
        InputError: a prompt or a setting does not fit the engine.
    """
    info, model = engine.info, engine.folder.manifest.model
    variants = _variants(settings, info)
    chosen = grid(
        variants,
        settings.block_lengths,
        settings.threshold,
        settings.concurrency,
        info,
        named=settings.modes is not None,
        rates=settings.request_rates,
    )
    facts = environment.facts()
    device, gpus = environment.device_of(facts, gpu=engine.session.device == "gpu")
    lines = read_prompt_file(prompts)
    results = Results(
        folder=folder,
        workload=settings.workload(prompts, lines),
        points=chosen.points,
        identity=f"{model['sha256']} {info} {device}{_template_identity(engine, settings.chat_template)}",
    )
    sweep = Sweep(results, {variant.name: variant for variant in variants})
    questions = questions_of(lines, engine.codec)
    sweep.check(questions, info)
    _check_script(settings, sweep)
    return PlannedSweep(sweep, engine, questions, chosen.left_out, device, gpus, facts, settings.script)


def _variants(settings: SweepSettings, info: EngineInfo) -> list[Variant]:
    """Return the variants that were asked for, or all; with a script, all whose acceptance can be scripted."""
    if settings.script is None or settings.modes is not None:
        return parse_variants(settings.modes, info, known=SWEPT)
    known = {name: variant for name, variant in SWEPT.items() if variant.mode in SCRIPTED_MODES}
    return parse_variants(None, info, known=known)


def _check_script(settings: SweepSettings, sweep: Sweep) -> None:
    """Refuse points that a scripted acceptance says nothing of."""
    if settings.script is None:
        return
    if not settings.ignore_eos:
        raise InputError(
            "a scripted acceptance needs --ignore-eos: its tokens mean nothing, and so would an EOS among them"
        )
    for point in sweep.results.points:
        settings.script.check(sweep.variants[point.variant].mode, point.block_length or 1)


def _template_identity(engine: Engine, chat_template: str | None) -> str:
    """Return what --chat-template adds to the identity of a measured engine, since it changes the prompts."""
    if engine.codec is None or chat_template is None:
        return ""
    source = "".join(template.source for template in engine.codec.templates.values())
    return f" {hashlib.sha256(source.encode()).hexdigest()}"
