# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of a report, and the cells that they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from nld_trt.decode.figures import ACCEPTANCE_LENGTH, TOKENS_PER_FORWARD
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.measure.report.chart import number
from nld_trt.measure.report.compare import Comparison
from nld_trt.measure.report.document import Cell, Table
from nld_trt.measure.report.frontier import Speedup, best_fixed, by_series
from nld_trt.measure.report.measured import Measurement, family_title
from nld_trt.measure.report.plan import PlanCheck
from nld_trt.measure.report.published import PublishedSpeedup
from nld_trt.measure.report.scores import Scores
from nld_trt.measure.report.systems import PublishedAcceptance, PublishedRates

_NOTHING: Final = Cell("–")
# A column that rows have where the power of a GPU was measured.
ENERGY: Final = "joules_per_token"


def text(value: object) -> Cell:
    return _NOTHING if value is None or value == "" else Cell(str(value))


def figure(value: float | None, form: str = "") -> Cell:
    """A number, in a given form or with three digits."""
    return _NOTHING if value is None else Cell(format(value, form) if form else number(value), float(value))


def whole(value: int | None) -> Cell:
    return _NOTHING if value is None else Cell(str(value), float(value))


def every_point(measurements: Sequence[Measurement]) -> Table:
    """All points, each with its file."""
    optional = [
        (title, name, form)
        for title, name, form in (
            ("TTFT p50 ms", "ttft_ms_p50", ""),
            ("ITL p50 ms", "itl_ms_p50", ""),
            (TOKENS_PER_FORWARD.header, TOKENS_PER_FORWARD.name, ".2f"),
            (ACCEPTANCE_LENGTH.header, ACCEPTANCE_LENGTH.name, ".2f"),
            ("J/token", ENERGY, ""),
            ("requests/s arriving", "request_rate", ""),
        )
        if any(each.row.get(name) is not None for each in measurements)
    ]
    several = len({each.subject for each in measurements}) > 1
    titles = ["mode", "users", "tokens/s", "lowest", "highest", "tokens/s/user", "tokens/s/GPU"]
    columns = [*(["measured"] if several else []), *titles, *(title for title, _, _ in optional), "repeats", "file"]
    rows = [
        (
            *([text(each.subject)] if several else []),
            text(each.series),
            whole(each.users),
            figure(each.rate),
            *map(figure, each.spread),
            figure(each.per_user),
            figure(each.row.get("tps_per_gpu")),
            *(figure(each.row.get(name), form) for _, name, form in optional),
            whole(each.repeats),
            text(f"{each.run}/{each.source}"),
        )
        for each in measurements
    ]
    note = "tokens/s is the median of the repeats, beside the lowest and the highest of them."
    return _table("Every point", columns, rows, note)


def best_by_users(measurements: Sequence[Measurement], name: str) -> Table:
    """The best fixed mode at each number of users, and auto beside it where it was measured.

    Args:
        name: what the measurements are of, where a report has several; else empty.
    """
    auto = {each.users: each for each in measurements if each.is_auto}
    columns = ["users", "fastest fixed mode", "tokens/s"] + (["auto, tokens/s", "auto against it"] if auto else [])
    rows = [
        (
            whole(users),
            text(best.series),
            figure(best.rate),
            *(
                [figure(auto[users].rate), _change(auto[users].rate / best.rate - 1)]
                if users in auto and best.rate > 0
                else [_NOTHING] * (2 * bool(auto))
            ),
        )
        for users, best in best_fixed(measurements).items()
    ]
    return _table("The fastest mode by users" + (f", {name}" if name else ""), columns, rows)


def speedups(measured: Mapping[str, Sequence[Speedup]]) -> Table:
    several = len(measured) > 1
    rows = [
        (
            *([text(title)] if several else []),
            text(each.series),
            whole(each.users),
            figure(each.factor, ".2f"),
            figure(each.low, ".2f"),
            figure(each.high, ".2f"),
        )
        for title, found in measured.items()
        for each in found
    ]
    columns = [*(["measured"] if several else []), "mode", "users", "× AR", "at least", "at most"]
    note = "At least: the lowest repeat over AR's highest; at most: the highest over AR's lowest."
    return _table("Speed-up over AR, measured", columns, rows, note)


def published(found: Sequence[PublishedSpeedup]) -> Table:
    rows = [
        (
            text(each.title),
            figure(each.factor, ".2f"),
            figure(each.linear),
            figure(each.ar),
            text(each.stack),
            text("; ".join(each.sources) + (" (doubtful)" if each.doubtful else "")),
        )
        for each in found
    ]
    columns = ("platform", "× AR", "linear, tokens/s", "AR, tokens/s", "software", "source")
    note = (
        "Nemotron-Labs-Diffusion 8B at one user, blocks of 32, four categories of SPEED-Bench. "
        "Doubtful: figures of the source do not fit each other."
    )
    return _table("Speed-up over AR, published", columns, rows, note)


def published_systems(found: Sequence[PublishedRates]) -> Table:
    users = sorted({number for each in found for number in each.rates})
    rows = [
        (
            text(each.system),
            text(each.precision),
            text(PLATFORMS[each.platform].title),
            *(figure(each.rates.get(number)) for number in users),
            text(each.source),
        )
        for each in found
    ]
    columns = ("system", "precision", "platform", *(_users(number) for number in users), "source")
    note = "Tokens/s of all users on SPEED-Bench, SGLang. On B200, Nemotron-Labs-Diffusion is a pre-release checkpoint."
    return _table("Rates of the systems that are compared, published", columns, rows, note)


def published_acceptance(found: Sequence[PublishedAcceptance]) -> Table:
    rows = [
        (text(each.system), figure(each.over_all, ".2f"), figure(each.over_four, ".2f"), text(each.source))
        for each in found
    ]
    columns = ("system", "all categories", "coding, math, reasoning, multilingual", "source")
    return _table("Acceptance length on SPEED-Bench, published", columns, rows, "Drafts of 31 tokens.")


def models(groups: Iterable[Sequence[Measurement]], scores: Scores) -> Table:
    """A row for each mode of each model: accuracy if it was evaluated, tokens per forward, and rates by users.

    Args:
        groups: the points of each subject.
    """
    lines = [(points[0].subject, found) for points in groups for found in by_series(points).values()]
    users = sorted({each.users for _, found in lines for each in found})
    subjects = list(dict.fromkeys(subject for subject, _ in lines))
    rows = []
    for subject, found in lines:
        rates = {each.users: each.rate for each in found}
        rows.append(
            (
                text(family_title(subject.family)),
                text(subject.beside(subjects) or subject.model),
                text(found[0].series),
                *([figure(scores.of(found[0]), ".3f")] if scores.accuracies else []),
                figure(found[0].row.get(TOKENS_PER_FORWARD.name), ".2f"),
                *(figure(rates.get(number)) for number in users),
            )
        )
    accuracy = ["accuracy"] if scores.accuracies else []
    columns = ["family", "model", "mode", *accuracy, TOKENS_PER_FORWARD.header]
    columns += [f"tokens/s, {_users(number)}" for number in users]
    said = [f"Accuracy: {', '.join(scores.files)}."] * bool(scores.files)
    note = f"{TOKENS_PER_FORWARD.header.capitalize()}: at the fewest users."
    return _table("By model and mode", columns, rows, " ".join([*said, note]))


def plan(checks: Sequence[PlanCheck]) -> Table:
    several = len({each.measured.subject for each in checks}) > 1
    rows = [
        (
            *([text(each.measured.subject)] if several else []),
            text(each.measured.series),
            whole(each.measured.users),
            figure(each.planned.rate),
            figure(each.planned.low),
            figure(each.planned.high),
            figure(each.measured.rate),
            _change(each.error),
            text("yes" if each.within else "no"),
            text(" ".join(part for part in (each.planned.platform, each.planned.precision) if part)),
            whole(each.planned.context),
            text(each.planned.provenance),
        )
        for each in checks
    ]
    titles = ["mode", "users", "planned", "from", "to", "measured", "error", "in the range", "plan for", "context"]
    columns = [*(["measured on"] if several else []), *titles, "provenance"]
    return _table("Plan against measurement, tokens/s", columns, rows)


def acceptance(measurements: Sequence[Measurement]) -> Table | None:
    """Acceptance and tokens per forward of each point that has an acceptance length; None without any."""
    rows = [
        (
            text(each.subject),
            text(each.series),
            whole(each.users),
            figure(each.row[ACCEPTANCE_LENGTH.name], ".2f"),
            figure(each.row.get(TOKENS_PER_FORWARD.name), ".2f"),
        )
        for each in measurements
        if each.row.get(ACCEPTANCE_LENGTH.name) is not None
    ]
    columns = ("measured", "mode", "users", ACCEPTANCE_LENGTH.header, TOKENS_PER_FORWARD.header)
    return _table("Acceptance by mode", columns, rows) if rows else None


def categories(rows: Sequence[Mapping[str, Any]], series: Sequence[str]) -> Table:
    columns = ("category", "mode", "users", "requests", ACCEPTANCE_LENGTH.header, TOKENS_PER_FORWARD.header)
    lines = [
        (
            text(row["category"]),
            text(name),
            whole(row["concurrency"]),
            whole(row["requests"]),
            figure(row[ACCEPTANCE_LENGTH.name], ".2f"),
            figure(row[TOKENS_PER_FORWARD.name], ".2f"),
        )
        for row, name in zip(rows, series, strict=True)
    ]
    return _table("Acceptance by category of prompts", columns, lines)


def energy(measurements: Sequence[Measurement]) -> Table | None:
    """Energy per token of the rows that have it; None without any."""
    rows = [
        (text(each.subject), text(each.series), whole(each.users), figure(each.row[ENERGY]), figure(each.rate))
        for each in measurements
        if each.row.get(ENERGY) is not None
    ]
    return _table("Energy per token", ("measured", "mode", "users", "J/token", "tokens/s"), rows) if rows else None


def compared(comparison: Comparison) -> Table:
    first, second = comparison.first.name, comparison.second.name

    def rate(point: Measurement) -> tuple[Cell, Cell]:
        low, high = point.spread
        return figure(point.rate), Cell(f"{number(low)} … {number(high)}", low)

    rows = [
        (
            text(pair.first.series),
            whole(pair.first.users),
            *rate(pair.first),
            *rate(pair.second),
            _change(pair.change),
            text(pair.verdict),
            figure(pair.first.row.get(ACCEPTANCE_LENGTH.name), ".2f"),
            figure(pair.second.row.get(ACCEPTANCE_LENGTH.name), ".2f"),
        )
        for pair in comparison.pairs
    ]
    columns = (
        "mode", "users", f"{first}, tokens/s", f"{first}, repeats", f"{second}, tokens/s",
        f"{second}, repeats", "change", "verdict",
        f"acceptance, {first}", f"acceptance, {second}",
    )  # fmt: skip
    return _table("Point by point", columns, rows)


def facts(title: str, found: Iterable[tuple[str, object]], *, folded: bool = False) -> Table:
    """Names and values."""
    rows = [(text(name), text(_words(value))) for name, value in found if value not in (None, "", {}, [])]
    return _table(title, ("what", "value"), rows, folded=folded)


def _words(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items() if entry is not None)
    if isinstance(value, list | tuple):
        return "; ".join(str(_words(entry)) for entry in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"


def _change(part: float) -> Cell:
    return Cell(f"{part:+.1%}", part)


def _table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], note: str = "", *, folded: bool = False
) -> Table:
    return Table(title, tuple(columns), tuple(rows), note, folded)
