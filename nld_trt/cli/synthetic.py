# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt synthetic``: random weights in a release's shape."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from nld_trt import names
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option


@click.command("synthetic")
@click.argument("size", type=click.Choice(names.MODEL_SIZES, case_sensitive=False))
@output_folder_option("Folder to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives other weights.")
@click.option("--no-adapter", is_flag=True, help="Leave the draft adapter out, as base models do.")
@click.option(
    "--draft-head", is_flag=True, help=f"Add an Eagle3 head, for --mode {names.EAGLE3}, to a model that takes one."
)
@click.option("--force", is_flag=True, help="Replace an earlier checkpoint in the output folder.")
@json_option
def command(size: str, output_dir: Path, seed: int, no_adapter: bool, draft_head: bool, force: bool) -> None:
    """Write a checkpoint of random weights with the shapes, dtypes and bytes of a released model.

    For trying out what conversion, quantization, compilation and serving take of memory, disk and time, without a
    download. What such a model says is noise. It is written tensor by tensor and has no tokenizer.

    \b
    Example:
      nld-trt synthetic 8b -o synthetic-8b
    """
    from nld_trt.errors import InputError
    from nld_trt.model.inventory import parameter_count
    from nld_trt.model.synthetic import write_synthetic

    if seed < 0:
        raise InputError(f"--seed is {seed}; it must be at least 0")
    config = write_synthetic(
        size, output_dir, seed, adapter=not no_adapter, draft_head=draft_head, force=force, progress=output
    )
    parameters = parameter_count(config)
    output.result(
        {"output_dir": str(output_dir), "size": size.lower(), "parameters": parameters, "seed": seed},
        f"random {size.lower()} checkpoint in {output_dir}: {parameters:,} parameters",
    )
    output.note(f"next: nld-trt convert {shlex.quote(str(output_dir))} -o CHECKPOINT_DIR")
