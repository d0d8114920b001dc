# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt evaluate``: accuracy, tokens per forward, acceptance length and speed per mode, of one engine or two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._generation import note_greedy
from nld_trt.cli._options import backend_option, chat_template_option, engine_argument, request_options
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import Write, writing
from nld_trt.cli._scores import comparison_table, scores_table, side_by_side_table
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nld_trt.decode.batch import Batch
    from nld_trt.decode.engine import Engine
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.engine.session import EngineInfo, Session
    from nld_trt.measure.compare.comparison import Comparison
    from nld_trt.measure.score import Question, Score
    from nld_trt.measure.variant import Variant


@click.command("evaluate")
@engine_argument
@click.option(
    "--prompts", type=click.Path(path_type=Path), required=True, help="JSONL file: prompt or messages, answer, family."
)
@click.option(
    "--modes",
    default=None,
    help="Comma list of ar, diffusion, linear, linear-no-lora, quadratic. Default: all the engine has.",
)
@request_options("max_new_tokens")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Requests decoded together.")
@request_options("block_length")
@click.option("--threshold", type=float, default=None, help="Default: 0.9 in diffusion, 0 in linear.")
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
@click.option("-o", "--output", "output_file", type=click.Path(path_type=Path), help="Write the scores as JSON.")
@backend_option
@json_option
def command(
    engine_dir: Path,
    prompts: Path,
    modes: str | None,
    batch_size: int,
    limit: int | None,
    chat_template: str | None,
    against: Path | None,
    against_backend: str | None,
    output_file: Path | None,
    backend: str | None,
    **settings: Any,
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
    with writing(output_file) as write:
        _evaluate(
            engine_dir,
            prompts,
            modes,
            batch_size,
            limit,
            chat_template,
            against,
            against_backend,
            write,
            backend,
            **settings,
        )


def _evaluate(
    engine_dir: Path,
    prompts: Path,
    modes: str | None,
    batch_size: int,
    limit: int | None,
    chat_template: str | None,
    against: Path | None,
    against_backend: str | None,
    write: Write,
    backend: str | None,
    **settings: Any,
) -> None:
    if not prompts.exists() or prompts.is_dir():
        raise InputError(f"--prompts {prompts} is not a file")
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; it must be at least 1")
    if against is None and against_backend is not None:
        raise InputError(
            f"--against-backend is {against_backend}, and there is no engine to compare with",
            fix="Name its folder: --against ENGINE_DIR",
        )

    from nld_trt.decode.engine import Engine
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.measure.compare.comparison import check_comparable
    from nld_trt.measure.score import read_questions, requests_for
    from nld_trt.measure.variant import parse_variants

    with output.stage("opening engine"):
        engines = [Engine.open(engine_dir, backend=backend, chat_template=chat_template)]
    if against is not None:
        with output.stage("opening the engine to compare with"):
            reference = EngineFolder.open(against)
            check_comparable(engines[0].folder, reference, settings["block_length"])
            runs_it = against_backend or _same_backend(reference, engines[0].info.backend)
            engines.append(Engine.open(reference, backend=runs_it))
    folders, infos = [engine.folder for engine in engines], [engine.info for engine in engines]
    for folder, info in zip(folders, infos, strict=True):
        if against is not None:
            folder.info(info.backend, debug=True)  # refuses an engine whose logits cannot be had
        if not 1 <= batch_size <= info.limits.max_batch_size:
            raise InputError(
                f"--batch-size is {batch_size}; the engine in {folder.path} was built for "
                f"1 to {info.limits.max_batch_size}"
            )
    with prompts.open("rb") as lines:
        questions = read_questions(lines, engines[0].codec)[:limit]
    variants = [parse_variants(modes, info) for info in infos]
    for info, chosen in zip(infos, variants, strict=True):
        for variant in chosen:
            requests_for(questions, variant, info, **settings)

    for info in infos:
        note_greedy(info)
    comparison = None
    scores = [
        _scores(engine.decoder, questions, chosen, whose, batch_size=batch_size, **settings)
        for engine, chosen, whose in zip(engines, variants, ("", " (against)"), strict=False)
    ]
    block_length = settings["block_length"] or infos[0].default_block_length
    report = {
        **_identity(folders[0], infos[0]),
        "prompts": prompts.name,
        "batch_size": batch_size,
        "scores": [score.to_dict() for score in scores[0]],
    }
    if against is not None:
        with output.progress("comparing predictions", len(questions), "prompts") as advance:
            comparison = _compare(engines, questions, settings["max_new_tokens"], block_length, advance)
        report["against"] = {
            **_identity(folders[1], infos[1]),
            "scores": [score.to_dict() for score in scores[1]],
        }
        report["comparison"] = {"block_length": block_length, **comparison.to_dict()}
    write(report, lambda: _show(report, scores, comparison, folders, batch_size))


def _show(
    report: dict[str, Any],
    scores: Sequence[list[Score]],
    comparison: Comparison | None,
    folders: Sequence[EngineFolder],
    batch_size: int,
) -> None:
    if output.json:
        output.result(report)
        return
    title = f"{_title(report)}, batch {batch_size}"
    if comparison is None:
        output.table(*scores_table(scores[0]), title=title)
        return
    _warn_of_missing_adapters(folders)
    output.table(*side_by_side_table(*scores), title=f"{title}, against {_title(report['against'])}")
    output.table(*comparison_table(comparison), title=f"predictions on the answers of {_title(report['against'])}")


def _same_backend(folder: EngineFolder, name: str) -> str:
    """``name``, if the engine to compare with has that backend too."""
    built = folder.manifest.backends
    if name not in built:
        raise InputError(
            f"the engine in {folder.path} has no {name} backend, which runs the engine that it is compared with; "
            f"it has {', '.join(built)}",
            fix=f"Compare with what it has: --against-backend {next(iter(built))}",
        )
    return name


def _scores(
    decoder: Batch, questions: Sequence[Question], variants: Sequence[Variant], whose: str, **settings: Any
) -> list[Score]:
    """One score per variant. ``whose`` tells the two engines of a comparison apart in the progress lines."""
    from nld_trt.measure.score import evaluate

    scores = []
    for variant in variants:
        with output.progress(f"decoding {variant.name}{whose}", len(questions), "prompts") as advance:
            scores.append(evaluate(decoder, questions, variant, progress=advance, **settings))
    return scores


def _compare(
    engines: Sequence[Engine],
    questions: Sequence[Question],
    max_new_tokens: int | None,
    block_length: int,
    progress: Callable[[int], None],
) -> Comparison:
    """Compare the engines' predictions. Closes ``engines``: weights need not be in memory twice."""
    from nld_trt.measure.compare.comparison import compare

    candidate, reference = (_with_logits(engine) for engine in engines)
    return compare(
        reference, candidate, questions, max_new_tokens=max_new_tokens, block_length=block_length, progress=progress
    )


def _with_logits(engine: Engine) -> Session:
    """The engine's session, or one with debug outputs in its place."""
    info, session = engine.info, engine.session
    engine.close()
    if info.debug:
        return session
    del session
    return engine.folder.open_session(info.backend, debug=True)


def _identity(folder: EngineFolder, info: EngineInfo) -> dict[str, Any]:
    model, quantization = folder.manifest.model, folder.manifest.quantization
    return {
        "engine": model["name"],
        "model_sha256": model["sha256"],
        "quantization": quantization and quantization["algorithm"],
        "backend": info.backend,
        "precision": info.precision,
    }


def _title(report: Mapping[str, Any]) -> str:
    quantized = f" {report['quantization']}" if report["quantization"] else ""
    return f"{report['engine']}{quantized}, {report['backend']} {report['precision']}"


def _warn_of_missing_adapters(folders: Sequence[EngineFolder]) -> None:
    for folder in folders:
        if not folder.manifest.has_adapter and any(other.manifest.has_adapter for other in folders):
            output.warn(f"the engine in {folder.path} has no draft adapter: its linear mode drafts without, "
                        "and draft predictions are not compared")  # fmt: skip
