# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt evaluate``: accuracy, tokens per forward, acceptance length and speed, per mode."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nld_trt.cli._options import backend_option, engine_argument
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.decode.evaluation import Score


@click.command("evaluate")
@engine_argument
@click.option("--prompts", type=click.Path(path_type=Path), required=True, help="JSONL file: prompt, answer, family.")
@click.option(
    "--modes", default=None, help="Comma list of ar, diffusion, linear, linear-no-lora. Default: all the engine has."
)
@click.option("--max-new-tokens", type=int, default=None, help="Limit per answer. Default: up to 512, as many as fit.")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Requests decoded together.")
@click.option("--block-length", type=int, default=None, help="Tokens per block. Default: the checkpoint's.")
@click.option("--threshold", type=float, default=None, help="Default: 0.9 in diffusion, 0 in linear.")
@click.option("--limit", type=int, default=None, help="Use only the first so many prompts.")
@click.option("-o", "--output", "output_file", type=click.Path(path_type=Path), help="Write the scores as JSON.")
@backend_option
@json_option
def command(
    engine_dir: Path,
    prompts: Path,
    modes: str | None,
    max_new_tokens: int | None,
    batch_size: int,
    block_length: int | None,
    threshold: float | None,
    limit: int | None,
    output_file: Path | None,
    backend: str | None,
) -> None:
    """Score an engine on prompts with known answers, once per decoding mode.

    An answer is right when its text equals the expected one exactly. Speed is generated tokens over
    wall time, prefill included. "linear" uses the draft adapter, "linear-no-lora" does not.

    \b
    Example:
      nld-trt evaluate engine --prompts examples/nld-tiny/eval.jsonl
    """
    if not prompts.is_file():
        raise InputError(f"--prompts {prompts} is not a file")
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; it must be at least 1")

    from nld_trt.decode.decoder import Decoder
    from nld_trt.decode.evaluation import evaluate, read_questions
    from nld_trt.decode.text import Codec
    from nld_trt.decode.variant import parse_variants
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.files import publish_file, write_json

    with output.stage("opening engine"):
        folder = EngineFolder.open(engine_dir)
        decoder = Decoder(folder.open_session(backend), Codec.open(folder.path))
    info = decoder.session.info
    if not 1 <= batch_size <= info.limits.max_batch_size:
        raise InputError(f"--batch-size is {batch_size}; the engine was built for 1 to {info.limits.max_batch_size}")
    with prompts.open("rb") as lines:
        questions = read_questions(lines, decoder.codec)[:limit]
    variants = parse_variants(modes, info)
    scores = []
    # Opened first: an output file that cannot be written is refused before the work.
    with nullcontext() if output_file is None else publish_file(output_file) as work:
        for variant in variants:
            with output.stage(f"{variant.name}: {len(questions)} prompts"):
                scores.append(
                    evaluate(
                        decoder,
                        questions,
                        variant,
                        max_new_tokens=max_new_tokens,
                        batch_size=batch_size,
                        block_length=block_length,
                        threshold=threshold,
                    )
                )
        report = {
            "engine": folder.manifest.model["name"],
            "model_sha256": folder.manifest.model["sha256"],
            "backend": info.backend,
            "precision": info.precision,
            "prompts": prompts.name,
            "batch_size": batch_size,
            "block_length": info.default_block_length if block_length is None else block_length,
            "scores": [score.to_dict() for score in scores],
        }
        if work is not None:
            write_json(work, report)
    if output.json:
        output.result(report)
        return
    output.table(
        *scores_table(scores), title=f"{report['engine']}, {info.backend} {info.precision}, batch {batch_size}"
    )


def scores_table(scores: list[Score]) -> tuple[list[str], list[list[str]]]:
    """Column titles and rows, in the order of the scores."""

    def optional(value: float | None, form: str) -> str:
        return "-" if value is None else form.format(value)

    columns = ["mode", "accuracy", "tokens per forward", "acceptance length", "passes per block", "tokens/s"]
    rows = [
        [
            score.mode,
            optional(score.accuracy, "{:.3f}"),
            f"{score.tokens_per_forward:.2f}",
            optional(score.acceptance_length, "{:.2f}"),
            optional(score.denoise_passes_per_block, "{:.2f}"),
            f"{score.tokens_per_second:.0f}",
        ]
        for score in scores
    ]
    return columns, rows
