# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt sweep``: measure modes, block lengths and batch sizes of one engine."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._generation import note_greedy
from nld_trt.cli._options import backend_option, chat_template_option, engine_argument
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.sweep.point import Grid
    from nld_trt.model.text.codec import Codec


@click.command("sweep")
@engine_argument
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    required=True,
    help="JSONL file with prompts: real text, not random tokens.",
)
@output_folder_option("Results folder; an earlier sweep in it is continued.")
@click.option(
    "--modes",
    default=None,
    help="Comma list of ar, diffusion, linear, linear-no-lora, quadratic. Default: all the engine has.",
)
@click.option(
    "--block-length", "block_lengths", default=None,
    help="Comma list. Default: the checkpoint's; in quadratic mode no more than the engine was built for.",
)  # fmt: skip
@click.option("--concurrency", default="1", show_default=True, help="Comma list of requests in flight.")
@click.option("--threshold", type=float, default=0.9, show_default=True, help="Commit confidence in diffusion.")
@click.option(
    "--requests", type=int, default=16, show_default=True, help="Requests per repeat; the prompts are reused in order."
)
@click.option("--max-new-tokens", type=int, default=128, show_default=True, help="Limit per request.")
@click.option("--ignore-eos", is_flag=True, help="Generate exactly --max-new-tokens, so that all points do equal work.")
@click.option("--warmup", type=int, default=2, show_default=True, help="Untimed requests before each point.")
@click.option(
    "--repeats", type=int, default=3, show_default=True, help="Timed repeats of each point; rates are their median."
)
@chat_template_option
@click.option("--plots/--no-plots", default=None, help="Draw PNG plots. Default: when matplotlib is installed.")
@click.option("--no-resume", is_flag=True, help="Measure points again that are already in the results folder.")
@click.option("--dry-run", is_flag=True, help="List the points, and stop.")
@backend_option
@json_option
def command(
    engine_dir: Path,
    prompts: Path,
    output_dir: Path,
    dry_run: bool,
    plots: bool | None,
    **options: Any,
) -> None:
    """Measure an engine over modes x block lengths x concurrency.

    Every point is written as soon as it ends; the same command continues an interrupted sweep. The timed
    region is prefill, decoding and detokenization; loading and warm-up are outside.

    \b
    Example:
      nld-trt sweep engine --prompts examples/nld-tiny/eval.jsonl -o results --concurrency 1,4,8
    """
    if not prompts.is_file():
        raise InputError(f"--prompts {prompts} is not a file")
    for name, least in (("requests", 1), ("repeats", 1), ("warmup", 0)):
        if options[name] < least:
            raise InputError(f"--{name} is {options[name]}; it must be at least {least}")

    from nld_trt import optional
    from nld_trt.measure.sweep.run import results_of

    if plots:
        optional.require("matplotlib", wanted_by="sweep --plots")
    with nullcontext() if dry_run else results_of(output_dir):
        _sweep(engine_dir, prompts, output_dir, dry_run=dry_run, plots=plots, **options)


def _sweep(
    engine_dir: Path,
    prompts: Path,
    output_dir: Path,
    *,
    modes: str | None,
    block_lengths: str | None,
    concurrency: str,
    threshold: float,
    requests: int,
    max_new_tokens: int,
    ignore_eos: bool,
    warmup: int,
    repeats: int,
    chat_template: str | None,
    plots: bool | None,
    no_resume: bool,
    dry_run: bool,
    backend: str | None,
) -> None:
    from nld_trt.decode.batch import Decoder
    from nld_trt.engine.backend import BACKENDS
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.files import sha256_of
    from nld_trt.machine import environment
    from nld_trt.measure.score import read_questions
    from nld_trt.measure.sweep import report
    from nld_trt.measure.sweep.point import Workload, grid
    from nld_trt.measure.sweep.run import Sweep
    from nld_trt.measure.variant import parse_variants
    from nld_trt.model.text.codec import Codec

    with output.stage("opening engine"):
        folder = EngineFolder.open(engine_dir)
        codec = Codec.open(folder.path, chat_template)
        session = folder.open_session(backend)
    info = session.info
    decoder = Decoder(session, codec)
    variants = parse_variants(modes, info)
    lengths = None if block_lengths is None else _numbers("--block-length", block_lengths)
    levels = _numbers("--concurrency", concurrency)
    chosen = grid(variants, lengths, threshold, levels, info, named=modes is not None)
    workload = Workload(prompts.name, sha256_of(prompts), requests, max_new_tokens, ignore_eos, warmup, repeats)
    model = folder.manifest.model
    facts = environment.facts()
    device, gpus = environment.device_of(facts, gpu=BACKENDS[info.backend].device == "gpu")
    sweep = Sweep(
        folder=output_dir,
        workload=workload,
        points=chosen.points,
        variants={variant.name: variant for variant in variants},
        engine_identity=f"{model['sha256']} {info} {device}{_identity(codec, chat_template)}",
    )
    with prompts.open("rb") as lines:
        questions = read_questions(lines, decoder.codec)
    sweep.check(questions, info)
    if dry_run:
        labels = [point.label + ("" if sweep.finished(point) is None else " (finished)") for point in chosen.points]
        listed = [f"{len(labels)} point{'s' * (len(labels) > 1)}:", *(f"  {label}" for label in labels)]
        output.result({"points": labels, "left_out": chosen.left_out}, "\n".join([*listed, *_left_out(chosen)]))
        return
    for line in _left_out(chosen):
        output.note(line)
    note_greedy(info)
    sweep.prepare(facts)
    rows = sweep.run(decoder, questions, model, device, gpus, resume=not no_resume, progress=output)
    title = f"{model['name']}, {info.backend} {info.precision}, {device}"
    # Before anything that could fail: drawing, and the folder's disk.
    output.table(*report.terminal_table(rows), title=title)
    drawn: list[str] = []
    if plots or (plots is None and find_spec("matplotlib") is not None):
        from nld_trt.measure.sweep.plots import draw

        with output.stage("drawing plots"):
            drawn = [path.name for path in draw(rows, output_dir, title)]
    if output.json:
        output.result({"output_dir": str(output_dir), "rows": rows, "left_out": chosen.left_out, "plots": drawn})
        return
    output.note(
        f"* most tokens/s; results in {output_dir}: summary.csv, summary.json, {', '.join(drawn) or 'no plots'}"
    )


def _identity(codec: Codec | None, chat_template: str | None) -> str:
    """What a template that was asked for adds to the identity of a measured engine: it makes other prompts."""
    if codec is None or chat_template is None:
        return ""
    source = "".join(template.source for template in codec.templates.values())
    return f" {hashlib.sha256(source.encode()).hexdigest()}"


def _left_out(grid: Grid) -> list[str]:
    """Lines that name what cannot be measured, and why; none where everything can."""
    lines = [f"  {label}: {reason}" for label, reason in grid.left_out.items()]
    return ["left out:", *lines] if lines else []


def _numbers(flag: str, text: str) -> list[int]:
    """A comma list of whole numbers, without repeats."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InputError(
            f"{flag} is {text!r}; it must be whole numbers with commas between them, such as 1,2,4"
        ) from None
