# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt plan``: what a model will need and do on a GPU, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import whole_numbers
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.planning.plan import Question


@click.command("plan")
@click.argument("model", required=False, metavar="MODEL")
@click.option(
    "--platform", "platforms", multiple=True,
    help=f"GPU to plan for: {', '.join(names.PLANNED_PLATFORMS)}. Repeatable.",
)  # fmt: skip
@click.option("--compare", is_flag=True, help="Plan for all platforms, side by side.")
@click.option(
    "--precision", type=click.Choice(names.PLANNED_PRECISIONS), default=None,
    help=f"Of the layers' weights. Default: the checkpoint's, or {names.BF16}.",
)  # fmt: skip
@click.option(
    "--mode", "modes", type=click.Choice(names.SERVED_MODES), multiple=True,
    help=f"Repeatable. Default: those of {', '.join(names.DEFAULT_PLANNED_MODES)} that MODEL has.",
)  # fmt: skip
@click.option(
    "--block-length", type=click.IntRange(min=2), default=None,
    help=f"Longest block. Default: the engine's, or {names.DEFAULT_PLANNED_BLOCK}.",
)  # fmt: skip
@click.option(
    "--users", default=None,
    help="Comma list of users who decode together. "
    f"Default: those of {','.join(map(str, names.DEFAULT_PLANNED_USERS))} that fit.",
)  # fmt: skip
@click.option(
    "--context", type=click.IntRange(min=0), default=names.DEFAULT_PLANNED_CONTEXT, show_default=True,
    help="Cached tokens of each user, on average over an answer.",
)  # fmt: skip
@click.option(
    "--max-seq-len", type=click.IntRange(min=1), default=None,
    help=f"Prompt and answer that a row has room for. Default: the engine's, or {names.DEFAULT_MAX_SEQ_LEN}.",
)  # fmt: skip
@click.option(
    "--acceptance", default=names.DEFAULT_WORKLOAD, show_default=True, metavar="NAME|NUMBER|FILE",
    help=f"What drafts are accepted: {', '.join(names.WORKLOADS)}, a mean length at blocks of 32, or a file of counts.",
)  # fmt: skip
@click.option(
    "--tokens-per-forward", type=click.FloatRange(min=0, min_open=True), default=None, metavar="NUMBER",
    help="Tokens of an answer that a forward makes in modes with blocks or canvases, as sweep or evaluate has "
    "measured it. Default: from --acceptance, where something was published.",
)  # fmt: skip
@click.option(
    "--backend", type=click.Choice(names.BACKENDS), default=None,
    help="Backend to plan for. Default: the first that GPU and engine have.",
)  # fmt: skip
@click.option(
    "--calibrate", type=click.Path(path_type=Path), default=None, metavar="FILE",
    help="Take times of forwards from a report of bench loop --table, or correct the law by one of bench loop.",
)  # fmt: skip
@click.option("--validate", is_flag=True, help="Compare the laws with published and measured speeds instead.")
@json_option
def command(model: str | None, *, platforms: tuple[str, ...], compare: bool, validate: bool, **settings: Any) -> None:
    """Predict memory and speed of MODEL on a GPU, before anything is built.

    MODEL is a released size (3b, 8b, 14b), a checkpoint, a quantized one, or an engine. Times of forwards follow a law
    for each GPU that was fitted to measurements, and every number says where it is from: computed, measured here,
    published, fitted, or a data sheet. Where nothing is known there is no number. The range is that of the laws' errors
    on other platforms' measurements (--validate). Prompts and a server's own work are not counted.

    \b
    Examples:
      nld-trt plan 14b --platform dgx-spark --precision int4 --users 1,8 --max-seq-len 16384
      nld-trt plan 8b --compare --acceptance coding
      nld-trt plan engine --platform h100 --calibrate bench.json
    """
    from nld_trt.planning import tables
    from nld_trt.planning.plan import plans_on

    if validate:
        _validate(model, platforms, compare)
        return
    chosen = _platforms(model, platforms, compare)
    assert model is not None
    question = _question(model, **settings)
    if question.calibration is not None and len(chosen) > 1:
        raise InputError("--calibrate is a measurement of one GPU", fix="Name one --platform.")
    plans, refused = plans_on(chosen, question)
    found = tables.plan_data(question, plans, refused)
    lines = tables.plan_lines(plans[0]) if len(chosen) == 1 else tables.compare_lines(plans, refused)
    output.result(found, "\n".join(lines))


def _validate(model: str | None, platforms: tuple[str, ...], compare: bool) -> None:
    """Compare the laws with every figure, and show the errors."""
    from nld_trt.planning import tables
    from nld_trt.planning.validation import validate

    if model is not None or platforms or compare:
        raise InputError("--validate compares the laws of all platforms", fix="Leave MODEL and platforms out.")
    found = validate()
    output.result(found.to_dict(), "\n".join(tables.validation_lines(found)))


def _platforms(model: str | None, platforms: tuple[str, ...], compare: bool) -> tuple[str, ...]:
    """The platforms that were asked for, each once."""
    if model is None:
        raise InputError("plan needs a MODEL", fix=f"Pass {', '.join(names.MODEL_SIZES)}, a checkpoint or an engine.")
    if compare and platforms:
        raise InputError("--compare is for all platforms, and --platform was given too", fix="Leave one of them out.")
    if not compare and not platforms:
        raise InputError(
            "plan needs a GPU", fix=f"Add --compare, or --platform with one of {', '.join(names.PLANNED_PLATFORMS)}."
        )
    unknown = [name for name in platforms if name not in names.PLANNED_PLATFORMS]
    if unknown:
        raise InputError(
            f"plan has no platform {', '.join(map(repr, unknown))}; available: {', '.join(names.PLANNED_PLATFORMS)}"
        )
    return names.PLANNED_PLATFORMS if compare else tuple(dict.fromkeys(platforms))


def _question(
    model: str, *, precision: str | None, modes: tuple[str, ...], users: str | None, max_seq_len: int | None,
    acceptance: str, calibrate: Path | None, **settings: Any,
) -> Question:  # fmt: skip
    """Read and check what was asked."""
    from nld_trt.measure.simulate.published import acceptance_shape
    from nld_trt.planning.model import planned_model
    from nld_trt.planning.plan import Question
    from nld_trt.planning.times import Calibration

    counts = names.DEFAULT_PLANNED_USERS if users is None else whole_numbers("--users", users)
    if min(counts) < 1:
        raise InputError(f"--users has {min(counts)}; at least 1 user decodes")
    planned = planned_model(model, precision)
    offered = planned.family.modes
    return Question(
        model=planned,
        modes=tuple(dict.fromkeys(map(planned.family.offered, modes)))
        or tuple(mode for mode in names.DEFAULT_PLANNED_MODES if mode in offered),
        users=tuple(sorted(counts)),
        users_stated=users is not None,
        max_seq_len=max_seq_len,
        acceptance=acceptance_shape(acceptance),
        calibration=None if calibrate is None else Calibration.read(calibrate),
        **settings,
    ).within_limits()
