# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The report of one or more sweeps: what its sections say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nld_trt import names
from nld_trt.files import human_bytes
from nld_trt.measure.report import cells, figures
from nld_trt.measure.report.chart import number
from nld_trt.measure.report.document import Document, Section, Table
from nld_trt.measure.report.figures import Group
from nld_trt.measure.report.frontier import (
    Crossover,
    Speedup,
    best_fixed,
    by_subject,
    crossover,
    crossovers,
    speedups,
)
from nld_trt.measure.report.measured import Measurement, SweepRun
from nld_trt.measure.report.plan import PlanCheck, median_error
from nld_trt.measure.report.published import platform_of, published_speedups
from nld_trt.measure.report.scores import Scores
from nld_trt.measure.report.systems import published_acceptance, published_rates
from nld_trt.measure.sweep.report import series

_OTHER_MODES: Final = "the best of the other fixed modes"
# Of what a sweep writes about its machine: shown elsewhere, or paths that tell more of its user than of the numbers.
_NOT_OF_THE_MACHINE: Final = ("command", "date", "docker", "packages", "schema_version", "tritonserver")

TERMS: Final = (
    ("users", "requests in flight at the same time: a new one starts when one is finished"),
    ("tokens/s", "output tokens of all users over wall time, with prefill, decoding and detokenization"),
    ("tokens/s/user", "1 / ITL: how fast one user sees text appear. ITL is the mean time between two tokens"),
    ("tokens/s/GPU", "tokens/s over the number of GPUs: what the machine earns"),
    ("TTFT", "time from sending a request to its first tokens"),
    (names.AR, "autoregressive decoding: one token in each forward pass of the network"),
    (names.LINEAR, "self-speculation: a block is drafted in one forward and verified in another; the same text as ar"),
    (names.DIFFUSION, "several tokens of a block in each forward, by confidence; the text may differ from that of ar"),
    (names.QUADRATIC, "a draft is verified and the next one made in one wide forward"),
    (names.EAGLE3, "a small head drafts, and the network verifies its draft in one forward; the same text as ar"),
    (names.AUTO, "the mode is chosen by the load, round by round"),
    ("block", "tokens that are drafted or denoised together"),
    ("acceptance length", "tokens that a verified draft gives, with the verifier's own token"),
    ("tokens per forward", "output tokens over forward passes; 1 for ar"),
    ("spread", "the lowest and the highest repeat of a point: whiskers in charts"),
)


@dataclass(frozen=True)
class Material:
    """Everything that a report is made of.

    Attributes:
        checks: planned points beside measured ones; None without a plan.
        scores: accuracies of the engines; empty without files of them.
    """

    runs: Sequence[SweepRun]
    checks: Sequence[PlanCheck] | None = None
    scores: Scores = field(default_factory=Scores)

    @property
    def measurements(self) -> list[Measurement]:
        return [each for run in self.runs for each in run.measurements]

    @property
    def groups(self) -> list[Group]:
        found = by_subject(self.measurements)
        subjects = [subject for _, subject in found]
        # The name of a run is needed where two runs have measured the same.
        several = len(set(subjects)) < len(subjects)
        titles = [f"{subject}{f' ({run})' if several else ''}" for run, subject in found]
        short = [
            " ".join(part for part in (run if several else "", subject.beside(subjects)) if part)
            for run, subject in found
        ]
        keys = figures.keys(titles)
        return [
            Group(name, title, key, tuple(points))
            for name, title, key, points in zip(short, titles, keys, found.values(), strict=True)
        ]


def document(material: Material) -> Document:
    """The report."""
    groups = material.groups
    factors = {group.title: found for group in groups if (found := speedups(group.points))}
    optional = (
        _throughput(groups),
        _pareto(groups),
        _models(groups, material.scores),
        _speedup(factors, material.measurements),
        _systems(),
        _plan(material.checks),
        _acceptance(material),
        _energy(material.measurements),
        Section("points", "All measured points", tables=(cells.every_point(material.measurements),)),
        _terms(),
        *_origins(material.runs),
    )
    about = "; ".join(dict.fromkeys(str(each.subject) for each in material.measurements))
    runs = ", ".join(run.name for run in material.runs)
    findings = [
        *_warnings(material),
        *(line for group in groups for line in _findings(group)),
        *_plan_finding(material),
    ]
    return Document(
        f"Throughput report: {runs}",
        about,
        tuple(findings),
        tuple(section for section in optional if section is not None),
        tuple({"run": each.run, "file": each.source, **each.row} for each in material.measurements),
    )


def _warnings(material: Material) -> Iterator[str]:
    """What a reader must know before any number."""
    for source in sorted({each.scripted for each in material.measurements if each.scripted}):
        yield f"Acceptance was drawn from {source} in place of the model's own: speeds are real, texts are not."
    for run in material.runs:
        if run.failed:
            points = f"{len(run.failed)} point{'s' * (len(run.failed) > 1)}"
            yield f"{points} of {run.name} failed, with no figures here: {', '.join(run.failed)}."
    if any(each.repeats < 2 for each in material.measurements):
        yield "Some points were measured once: they have no spread, and small differences mean nothing."


def _findings(group: Group) -> Iterator[str]:
    """The most important facts about one subject."""
    best = best_fixed(group.points)
    if not best:
        return
    first, factors = next(iter(best.values())), {(each.series, each.users): each for each in speedups(group.points)}
    own = factors.get((first.series, first.users))
    gain = f", {own.factor:.2f} times AR" if own else ""
    told = [f"with {_users(first.users)}, {first.series} is fastest: {number(first.rate)} tokens/s{gain}"]
    most = max(group.points, key=lambda each: each.rate)
    told.append(f"most in all: {most.series} at {_users(most.users)}, {number(most.rate)} tokens/s")
    overtaking = _overtaking(group)
    if overtaking is not None:
        told.append(overtaking.said)
    followers = [each for each in group.points if each.is_auto and best.get(each.users) and best[each.users].rate > 0]
    if followers:
        parts = sorted(each.rate / best[each.users].rate for each in followers)
        least, highest = f"{parts[0]:.0%}", f"{parts[-1]:.0%}"
        told.append(f"auto gives {least if least == highest else f'{least} to {highest}'} of the best fixed mode")
    for sentence in told:
        yield f"{group.name}: {sentence}." if group.name else f"{sentence[0].upper()}{sentence[1:]}."


def _plan_finding(material: Material) -> Iterator[str]:
    if material.checks:
        worst = max(abs(check.error) for check in material.checks)
        inside = sum(check.within for check in material.checks)
        yield (
            f"The plan is off by {median_error(material.checks):.1%} in the median and {worst:.1%} at most; "
            f"{inside} of {len(material.checks)} measurements are in its range."
        )


def _throughput(groups: Sequence[Group]) -> Section:
    found = [(group, crossovers(group.points), _overtaking(group)) for group in groups]
    # Where requests arrive at a rate, the number of users is only the most that may be in flight.
    drawn = [each for each in found if each[0].points[0].subject.arrivals is None]
    at_rates = ["Points whose requests arrive at a rate are in the tables."] * (len(drawn) < len(found))
    said = [(group.name, each.said) for group, crossings, _ in found for each in crossings]
    lines = [f"{name}: {sentence}." if name else f"{sentence}." for name, sentence in said]
    return Section(
        "throughput",
        "Throughput over users",
        (
            "Tokens per second of all users together, by mode. Each point is the median of its repeats, and its "
            "whisker goes from the lowest to the highest. Where the lines of AR and another mode cross, between two "
            "measured numbers of users, both give the same.",
            *at_rates,
            *lines,
        ),
        tuple(figures.throughput(group, crossings, overtaking) for group, crossings, overtaking in drawn),
        tuple(cells.best_by_users(group.points, group.name) for group in groups if best_fixed(group.points)),
    )


def _pareto(groups: Sequence[Group]) -> Section | None:
    charts = [chart for per_gpu in (True, False) if (chart := figures.pareto(groups, per_gpu=per_gpu)) is not None]
    if not charts:
        return None
    text = (
        "To the right is faster for each user, further up is more from the machine. The wide grey line joins the "
        "points that no other beats in both; the others are faded. The number beside a point is its number of users."
    )
    cpu = "Points without a number of GPUs show tokens/s of all users in place of tokens/s/GPU."
    without = any(chart.name == "pareto" for chart in charts)
    return Section(
        "pareto", "Speed for a user against output of the machine", (text, *([cpu] * without)), tuple(charts)
    )


def _models(groups: Sequence[Group], scores: Scores) -> Section | None:
    """Several models, or the accuracy of one."""
    if len({group.points[0].subject.model for group in groups}) < 2 and not scores.accuracies:
        return None
    text = (
        "What each model gives in each of its modes. Speeds of models whose answers are not equally right say little "
        "about each other."
    )
    return Section(
        "models", "Models side by side", (text,), tables=(cells.models([each.points for each in groups], scores),)
    )


def _systems() -> Section:
    text = (
        "What was published of systems that Nemotron-Labs-Diffusion is compared with, also of those that nld-trt does "
        "not convert. Machines and requests are other ones than those of this report."
    )
    tables = cells.published_systems(published_rates()), cells.published_acceptance(published_acceptance())
    return Section("systems", "Other systems, as published", (text,), tables=tables)


def _speedup(factors: Mapping[str, Sequence[Speedup]], points: Sequence[Measurement]) -> Section:
    known = published_speedups()
    here = {platform_of(each.subject.device, each.gpus) for each in points}
    beside = [each for each in known if each.platform in here] or known
    lowest = {title: [each for each in found if each.users == found[0].users] for title, found in factors.items()}
    text = (
        "How many times as many tokens per second as AR, on the same device and requests. Published figures are of "
        "another model size, software and workload than this run's unless they are the same: they are orientation."
    )
    none = "AR was not measured with another mode at the same number of users, so that there is no speed-up to show."
    charts = (figures.speedup(lowest, beside),) if lowest else ()
    tables = ((cells.speedups(factors),) if factors else ()) + (cells.published(known),)
    return Section("speedup", "Speed-up over AR", (text if factors else none,), charts, tables)


def _plan(checks: Sequence[PlanCheck] | None) -> Section | None:
    if checks is None:
        return None
    if not checks:
        return Section(
            "plan", "Plan against measurement", ("The plan has no point with the settings of a measured one.",)
        )
    text = (
        "Planned rates beside measured ones. On the dashed line both are equal; whiskers are the plan's range. The "
        "error is the plan over the measurement, less 1."
    )
    return Section("plan", "Plan against measurement", (text,), (figures.planned(checks),), (cells.plan(checks),))


def _acceptance(material: Material) -> Section | None:
    charts, tables = [], []
    for run, key in zip(material.runs, figures.keys(run.name for run in material.runs), strict=True):
        chart = figures.acceptance(run.categories, key)
        if chart is not None:
            charts.append(chart)
            tables.append(cells.categories(run.categories, [series(row) for row in run.categories]))
    by_mode = cells.acceptance(material.measurements)
    tables += [by_mode] if by_mode is not None else []
    if not tables:
        return None
    text = "How many tokens each verified draft gave. It depends on the text, and so does the speed of drafting modes."
    return Section("acceptance", "Acceptance of drafts", (text,), tuple(charts), tuple(tables))


def _energy(points: Sequence[Measurement]) -> Section | None:
    table = cells.energy(points)
    if table is None:
        return None
    text = "Energy of the GPU over the timed region, as its driver counts it, over output tokens."
    return Section("energy", "Energy per token", (text,), tables=(table,))


def _terms() -> Section:
    return Section("terms", "What the words mean", tables=(cells.facts("Terms", TERMS),))


def _origins(runs: Sequence[SweepRun]) -> Iterator[Section]:
    """Where every number is from: a section for each run."""
    keys = figures.keys(run.name for run in runs)
    for run, key in zip(runs, keys, strict=True):
        yield origin(run, f"origin-{key}")


def origin(run: SweepRun, name: str) -> Section:
    """The machine, the requests and the commands of a run."""
    environments = run.environments.values()
    dates = sorted(each.date for each in run.measurements if each.date)
    dates = dates or sorted(environment["date"] for environment in environments if environment.get("date"))
    when = [("measured", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}")] if dates else []
    given = [environment["command"] for environment in environments if environment.get("command")]
    commands = [*given, *(line for lines in run.commands.values() for line in lines)]
    tables = [
        *(cells.facts("Requests", [*when, *workload.items()]) for workload in run.workloads),
        *(table for part, environment in run.environments.items() for table in _machine(run, part, environment)),
        *([cells.facts("Points that failed", run.failed.items())] if run.failed else []),
    ]
    text = (
        f"Every number of {run.name} was measured by nld-trt sweep and read from its folder: "
        "summary.json has the rows, points/ a file for each, environment.json the machine."
    )
    return Section(
        name, f"Where the numbers of {run.name} are from", (text,), tables=tuple(tables), code=tuple(commands)
    )


def _machine(run: SweepRun, part: str, environment: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of the machine of a part of a run, which is named where there are several."""
    of = f" of {part}" if len(run.environments) > 1 else ""
    machine = {key: value for key, value in environment.items() if key not in _NOT_OF_THE_MACHINE}
    if machine.get("memory_bytes"):
        machine["memory_bytes"] = human_bytes(machine["memory_bytes"])
    yield cells.facts(f"Machine{of}", machine.items())
    if environment.get("packages"):
        yield cells.facts(f"Packages{of}", sorted(environment["packages"].items()), folded=True)


def _overtaking(group: Group) -> Crossover | None:
    """Where AR overtakes the best of the other fixed modes."""
    ar = [each for each in group.points if each.is_ar]
    others = best_fixed(each for each in group.points if not each.is_ar)
    return crossover(ar, [*others.values()], _OTHER_MODES)


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"
