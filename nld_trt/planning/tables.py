# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Plans and their validation as lines of text and as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nld_trt import names
from nld_trt.files.records import human_bytes
from nld_trt.planning.plan import Plan, Question
from nld_trt.planning.rates import MOST_USERS
from nld_trt.planning.validation import GOAL_LARGEST, GOAL_MEDIAN, Validation

# A number, and perhaps its unit or a second one.
_NUMBER: Final = re.compile(r"[+-]?\d[\d.]*(%| |$)")


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table as lines: words to the left, and columns of numbers to the right."""
    cells = [[*map(str, row)] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [_NUMBER.match(cell) is not None for cell in cells[-1]]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def plan_data(question: Question, plans: Sequence[Plan], refused: Sequence[str]) -> dict[str, Any]:
    """The result of ``plan --json``. ``memory`` and ``build`` of one platform are its own; of several, by name."""
    memories = {plan.platform.name: plan.memory.to_dict() for plan in plans}
    builds = {plan.platform.name: None if plan.build is None else plan.build.to_dict() for plan in plans}
    alone = len(plans) + len(refused) == 1

    def named(plan: Plan, entry: dict[str, Any]) -> dict[str, Any]:
        return {"platform": plan.platform.name, "precision": plan.precision, **entry}

    return {
        "model": question.model.shape.name,
        "acceptance": question.acceptance.source,
        "points": [point for plan in plans for point in plan.points()],
        "forwards": [named(plan, each.to_dict()) for plan in plans for each in plan.forwards],
        "memory": memories[plans[0].platform.name] if alone else memories,
        "crossover": [named(plan, each.to_dict()) for plan in plans for each in plan.crossovers],
        "build": builds[plans[0].platform.name] if alone else builds,
        "backends": {plan.platform.name: plan.backend for plan in plans},
        "platforms": {plan.platform.name: plan.platform.facts() for plan in plans},
        "notes": {plan.platform.name: list(plan.notes) for plan in plans},
        "unknown": {plan.platform.name: list(plan.unknown) for plan in plans},
        "refused": list(refused),
    }


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan for the terminal."""
    shape, memory = plan.question.model.shape, plan.memory
    yield f"{shape.name}, {plan.precision}, {plan.backend} on {plan.platform.title}"
    yield ""
    yield (
        f"memory: {_size(memory.total)} of {_size(memory.capacity)} for {memory.users} rows of {memory.max_seq_len} "
        "tokens"
    )
    found = memory.to_dict()
    parts = ("weights", "caches", "activations", "reserve")
    yield from _indented(columns(("", "", "from"), [(part, _size(found[part]), found["provenance"][part])
                                                    for part in parts]))  # fmt: skip
    fitting = "; ".join(f"{each['users']} of {each['max_seq_len']}" for each in found["largest"])
    yield f"  most rows that fit, by tokens of each: {fitting}"
    yield _build_line(plan)
    yield ""
    yield from columns(
        ("ms of a forward", "rows", "new tokens", "bound", "from"),
        [(f"{each.seconds * 1e3:.2f}", each.rows, each.width, each.bound, each.provenance) for each in plan.forwards],
    )
    yield ""
    if plan.rates:
        yield from rate_lines([plan])
        yield ""
    yield from _crossover_lines(plan)
    for text in plan.unknown:
        yield f"no number: {text}"
    for text in plan.notes:
        yield f"note: {text}"


def rate_lines(plans: Sequence[Plan]) -> list[str]:
    """Tokens per second of all plans as one table."""
    rows = [
        (
            *((plan.platform.name,) if len(plans) > 1 else ()),
            _as(rate.mode, str(rate.way)),
            rate.users,
            f"{rate.tokens_per_second:.0f}",
            f"{rate.range[0]:.0f} to {rate.range[1]:.0f}",
            f"{rate.tokens_per_second / rate.users:.1f}",
            rate.bound,
            rate.provenance,
        )
        for plan in plans
        for rate in plan.rates
    ]
    header = ("mode", "users", "tokens/s", "range", "per user", "bound", "from")
    return columns(("platform", *header) if len(plans) > 1 else header, rows)


def compare_lines(plans: Sequence[Plan], refused: Sequence[str]) -> Iterator[str]:
    """Several plans side by side."""
    question = plans[0].question
    yield f"{question.model.shape.name}, {plans[0].precision}, {question.length} tokens a row"
    yield ""
    rows = [
        (
            plan.platform.name,
            plan.backend,
            plan.memory.users,
            f"{_size(plan.memory.total)} of {_size(plan.memory.capacity)}",
            plan.memory.most_users,
            _users(plan),
        )
        for plan in plans
    ]
    yield from columns(("platform", "backend", "users", "memory", "most users", "ar is better from"), rows)
    yield ""
    yield from rate_lines(plans)
    if refused:
        yield ""
        yield from (f"no plan: {text}" for text in refused)


def validation_lines(found: Validation) -> Iterator[str]:
    """The comparison with published and measured speeds."""
    yield from columns(
        ("figures", "count", "median error", "in sample", f"{GOAL_LARGEST:.0%} or more"),
        [(name, count, f"{error:.1%}", f"{known:.1%}", large) for name, count, error, known, large in found.summary()],
    )
    yield ""
    met = "met" if found.median() <= GOAL_MEDIAN else "missed"
    yield f"goal: median at most {GOAL_MEDIAN:.0%}: {met}; no error of {GOAL_LARGEST:.0%} without a reason: " + (
        "met" if not found.unexplained else f"missed by {len(found.unexplained)}"
    )
    yield "fitted to all: " + ", ".join(f"{name} {value:.4g}" for name, value in found.overheads.to_dict().items())
    for one_row in (True, False):
        low, high = found.spread(one_row=one_row)
        yield f"measured over predicted, {'one row' if one_row else 'more rows'}: {low:.3f} to {high:.3f}"
    yield ""
    reasons: dict[str, int] = {}
    rows = []
    for each in found.compared:
        figure = each.figure
        mark = reasons.setdefault(each.reason, len(reasons) + 1) if each.reason else ""
        rows.append((
            f"{figure.model} {figure.platform} {figure.precision}", figure.group, figure.mode, figure.block_length,
            figure.users, figure.context, f"{figure.value:g} {figure.unit}", f"{float(f'{each.predicted:.4g}'):g}",
            f"{each.error:+.1%}", f"{each.in_sample_error:+.1%}", mark,
        ))  # fmt: skip
    yield from columns(
        ("model", "group", "mode", "block", "users", "context", "measured", "predicted", "error", "in sample", "why"),
        rows,
    )
    yield ""
    yield from (f"{number}: {reason}" for reason, number in reasons.items())


def _as(mode: str, way: str) -> str:
    return way if way.startswith(mode) else f"{mode}: {way}"


def _build_line(plan: Plan) -> str:
    build = plan.build
    if build is None:
        return f"build: no {plan.backend} build of {plan.precision} was measured at a real size"
    here = "" if build.here is None else f"; this machine has {_size(build.here)}"
    short = " and is too small" if build.fits_here is False else ""
    minutes = f"about {build.seconds / 60:.0f} minutes of processor time"
    return (
        f"build: {minutes}, peak {_size(build.peak_bytes)}{here}{short}\n"
        f"  measured here, scaled by weights: {build.source}"
    )


def _crossover_lines(plan: Plan) -> Iterator[str]:
    for each in plan.crossovers:
        from_users = f"beyond {MOST_USERS} users" if each.users is None else f"with {each.users} or more users"
        yield f"ar is better than blocks of {each.block_length} {from_users} ({each.provenance})"


def _users(plan: Plan) -> str:
    """From how many users on no block length is better than ar."""
    found = [each.users for each in plan.crossovers]
    if not found:
        return "1" if names.AR in plan.question.model.family.modes else "-"
    return f"more than {MOST_USERS}" if None in found else str(max(users for users in found if users is not None))


def _size(size: float) -> str:
    return human_bytes(int(size))


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
