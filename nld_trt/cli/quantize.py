# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt quantize``: from a converted checkpoint to a quantized one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import checkpoint_argument
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.quantization.calibration_set import CalibrationSet
    from nld_trt.quantization.recipe import Recipe


@click.command("quantize")
@checkpoint_argument
@output_folder_option("Folder to write.")
@click.option("--int4", is_flag=True, help=f"Short for --qformat {names.SHORT_QFORMATS['int4']}.")
@click.option("--fp8", is_flag=True, help=f"Short for --qformat {names.SHORT_QFORMATS['fp8']}.")
@click.option("--nvfp4", is_flag=True, help=f"Short for --qformat {names.SHORT_QFORMATS['nvfp4']}.")
@click.option(
    "--qformat",
    default=None,
    metavar="NAME",
    help=f"A shipped recipe: {', '.join(names.QFORMATS)}.",
)
@click.option("--recipe", type=click.Path(path_type=Path), default=None, help="A ModelOpt PTQ recipe (YAML).")
@click.option("--quantize-head", is_flag=True, help="Quantize diffusion_head too. Default: it stays as it is.")
@click.option(
    "--calib-dataset", default=names.DEFAULT_CALIBRATION_SET, show_default=True, metavar="NAME|FILE",
    help=f"Calibration data: a shipped set ({', '.join(names.CALIBRATION_SETS)}), a .jsonl or a .txt file.",
)  # fmt: skip
@click.option(
    "--calib-size",
    type=int,
    default=names.DEFAULT_CALIBRATION_SIZE,
    show_default=True,
    help="Documents to calibrate on.",
)
@click.option(
    "--calib-seq-len",
    type=int,
    default=names.DEFAULT_CALIBRATION_SEQ_LEN,
    show_default=True,
    help="Longest document, in tokens.",
)
@click.option(
    "--calib-mix", default=",".join(map(str, names.DEFAULT_CALIBRATION_MIX)), show_default=True,
    metavar="C,B,D", help="Shares of calibration tokens in causal text, masked blocks and drafts with the adapter; "
    "text only: 1,0,0.",
)  # fmt: skip
@click.option(
    "--chat-template", metavar="NAME|FILE", default=None,
    help="Chat template for calibration: one of the checkpoint's by name, or a Jinja file. Default: the checkpoint's.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Draws documents, blocks and masks.")
@click.option("--force", is_flag=True, help="Replace an earlier result in the output folder.")
@json_option
def command(
    checkpoint: Path,
    output_dir: Path,
    *,
    qformat: str | None,
    recipe: Path | None,
    quantize_head: bool,
    force: bool,
    **options: Any,
) -> None:
    """Quantize the linear layers of a converted checkpoint with ModelOpt.

    The seven matrices of every layer are quantized; embedding, norms, diffusion_head and the draft adapter stay as
    they are. Formats that read activations are calibrated on causal text, on masked blocks and on drafts. One layer
    is in memory at a time. An interrupted run goes on at its last finished layer when the same command is run again.

    \b
    Examples:
      nld-trt quantize checkpoint -o checkpoint-int4 --int4
      nld-trt quantize checkpoint -o checkpoint-fp8 --fp8 --calib-dataset chats.jsonl --calib-size 256
      nld-trt quantize checkpoint -o checkpoint-rtn --qformat int4_rtn
    """
    from nld_trt.files import check_target
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.convert import refuse_overlap
    from nld_trt.model.manifest import MANIFEST_FILE

    chosen = chosen_recipe(qformat, recipe, {flag: options.pop(flag) for flag in names.SHORT_QFORMATS})
    refuse_overlap(checkpoint, output_dir)
    check_target(output_dir, force, MANIFEST_FILE)
    with output.stage("opening checkpoint"):
        source = Checkpoint.open_converted(checkpoint, verify=True)
    source.refuse_quantized()
    with output.stage("reading the recipe"):
        found = loaded(chosen)
        from nld_trt.quantization import description
        from nld_trt.quantization.plan import make_plan
        from nld_trt.quantization.quantize import choose_device, quantize

        plan = make_plan(found, source.config, head=quantize_head)
        device = choose_device(plan)
    shown = None
    if plan.reads_activations:
        with output.stage("reading calibration data"):
            shown = calibration_set(source, **options)
    for line in description.intended(plan, shown, device.type):
        output.note(line)
    manifest = quantize(source, plan, output_dir, calibration=shown, force=force, progress=output)
    output.result({"output_dir": str(output_dir), "manifest": manifest}, description.made(manifest, output_dir))
    output.note(f"next: nld-trt build {shlex.quote(str(output_dir))} -o ENGINE_DIR")


def chosen_recipe(qformat: str | None, recipe: Path | None, short: dict[str, bool]) -> str | Path:
    """A shipped name or a file, from whichever of the flags was given. Raises InputError unless it is one."""
    asked: dict[str, str | Path | None] = {"--qformat": qformat, "--recipe": recipe}
    asked |= {f"--{flag}": names.SHORT_QFORMATS[flag] if given else None for flag, given in short.items()}
    given = {flag: value for flag, value in asked.items() if value is not None}
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given)} were given; one format is needed" if given else "no quantization format was given",
            fix="Pass one of --int4, --fp8, --nvfp4, --qformat NAME or --recipe FILE.",
        )
    return next(iter(given.values()))


def loaded(chosen: str | Path) -> Recipe:
    """The recipe from a file, or the shipped one of that name."""
    from nld_trt.quantization.recipe import Recipe

    return Recipe.load(chosen) if isinstance(chosen, Path) else Recipe.shipped(chosen)


def calibration_set(
    checkpoint: Any,
    *,
    calib_dataset: str,
    calib_size: int,
    calib_seq_len: int,
    calib_mix: str,
    chat_template: str | None,
    seed: int,
) -> CalibrationSet:
    """Read the calibration data that the flags name."""
    from nld_trt.quantization.calibration import Mix
    from nld_trt.quantization.calibration_set import CalibrationSettings

    settings = CalibrationSettings(
        calib_dataset, calib_size, calib_seq_len, Mix.parse(calib_mix), seed, chat_template=chat_template
    )
    return settings.prepare(checkpoint)
