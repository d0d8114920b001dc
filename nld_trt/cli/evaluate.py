# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt evaluate``: accuracy, tokens per forward, acceptance length and speed per mode, of one engine or two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import (
    backend_option,
    chat_template_option,
    engine_argument,
    modes_option,
    prompts_option,
    request_options,
    thresholds_in_words,
)
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import writing
from nld_trt.cli._scores import comparison_table, scores_table, side_by_side_table
from nld_trt.cli._spelling import output_file_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.evaluation import Evaluation


@click.command("evaluate")
@engine_argument
@prompts_option("JSONL file: prompt or messages, answer, family.")
@modes_option(names.VARIANTS)
@request_options("max_new_tokens")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Requests decoded together.")
@request_options("block_length")
@click.option("--threshold", type=float, default=None, show_default=thresholds_in_words(), help="As in generate.")
@click.option("--limit", type=int, default=None, help="Use only the first so many prompts.")
@chat_template_option
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    default=None,
    help="Engine folder to compare with: its scores, and how far the predictions of ENGINE_DIR are from its own.",
)
@click.option(
    "--against-backend",
    type=click.Choice(names.BACKENDS),
    default=None,
    help="Backend that runs the engine given with --against. Default: the one that runs ENGINE_DIR.",
)
@output_file_option("Write the scores as JSON.")
@backend_option
@json_option
def command(
    engine_dir: Path, prompts: Path, limit: int | None, output_file: Path | None, against: Path | None, **options: Any
) -> None:
    """Score an engine on prompts with known answers, once per decoding mode.

    An answer is right when its text equals the expected one exactly. Speed is generated tokens over
    wall time, prefill included. "linear" uses the draft adapter, "linear-no-lora" does not.

    With --against, a second engine is scored beside it, and both predict the second one's own answers token by
    token: KL divergence and top-1 agreement of causal, bidirectional and draft passes say what a change such as
    quantization cost in each of them.

    \b
    Examples:
      nld-trt evaluate engine --prompts examples/nld-tiny/eval.jsonl
      nld-trt evaluate engine-fp16 --prompts examples/nld-tiny/eval.jsonl --against engine
    """
    _check(prompts, limit, against, options["against_backend"])
    from nld_trt.decode.engine import Engine
    from nld_trt.measure.evaluation import EvaluationSettings, evaluate_engines, open_reference
    from nld_trt.measure.questions import read_questions_file

    backend, chat_template, against_backend = (
        options.pop(name) for name in ("backend", "chat_template", "against_backend")
    )
    settings = EvaluationSettings(**options)
    with writing(output_file) as write:
        with output.stage("opening engine"):
            engine = Engine.open(engine_dir, backend=backend, chat_template=chat_template, progress=output)
        reference = None
        if against is not None:
            with output.stage("opening the engine to compare with"):
                reference = open_reference(against, engine, against_backend, settings, output)
        questions = read_questions_file(prompts, engine.codec)[:limit]
        found = evaluate_engines(engine, questions, settings, against=reference, progress=output)
        report = {**found.to_dict(), "prompts": prompts.name}
        write(report, lambda: _show(found, report))


def _check(prompts: Path, limit: int | None, against: Path | None, against_backend: str | None) -> None:
    """Refuse what is wrong without a look at any engine."""
    if not prompts.exists() or prompts.is_dir():
        raise InputError(f"--prompts {prompts} is not a file")
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; it must be at least 1")
    if against is None and against_backend is not None:
        raise InputError(
            f"--against-backend is {against_backend}, and there is no engine to compare with",
            fix="Name its folder: --against ENGINE_DIR",
        )


def _show(found: Evaluation, report: dict[str, Any]) -> None:
    if output.json:
        output.result(report)
        return
    candidate, reference = found.candidate, found.reference
    title = f"{candidate.title}, batch {found.batch_size}"
    if reference is None or found.comparison is None:
        output.table(*scores_table(candidate.scores), title=title)
        return
    for line in found.warnings():
        output.warn(line)
    output.table(*side_by_side_table(candidate.scores, reference.scores), title=f"{title}, against {reference.title}")
    output.table(*comparison_table(found.comparison), title=f"predictions on the answers of {reference.title}")
