# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt quantize``: from a converted checkpoint to a quantized one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._options import checkpoint_argument
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.quantization.calibration_set import CalibrationSet
    from nld_trt.quantization.plan import Plan
    from nld_trt.quantization.recipe import Recipe

# Short form -> shipped recipe.
SHORT_FORMS = {"int4": "int4_awq", "fp8": "fp8", "nvfp4": "nvfp4"}


@click.command("quantize")
@checkpoint_argument
@click.option("-o", "--output-dir", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--int4", is_flag=True, help="Short for --qformat int4_awq.")
@click.option("--fp8", is_flag=True, help="Short for --qformat fp8.")
@click.option("--nvfp4", is_flag=True, help="Short for --qformat nvfp4.")
@click.option(
    "--qformat",
    default=None,
    metavar="NAME",
    help="A shipped recipe: int4_awq, int4_rtn, fp8, fp8_pc_pt, w4a16_nvfp4, nvfp4.",
)
@click.option("--recipe", type=click.Path(path_type=Path), default=None, help="A ModelOpt PTQ recipe (YAML).")
@click.option("--quantize-head", is_flag=True, help="Quantize diffusion_head too. Default: it stays as it is.")
@click.option(
    "--calib-dataset", default="general", show_default=True, metavar="NAME|FILE",
    help="Calibration data: a shipped set (general, nld-tiny), a .jsonl or a .txt file.",
)  # fmt: skip
@click.option("--calib-size", type=int, default=128, show_default=True, help="Documents to calibrate on.")
@click.option("--calib-seq-len", type=int, default=512, show_default=True, help="Longest document, in tokens.")
@click.option(
    "--calib-mix", default=None, metavar="C,B,D",
    help="Shares of calibration tokens in causal text, masked blocks and drafts with the adapter. "
    "[default: 0.5,0.25,0.25; text only: 1,0,0]",
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
    qformat: str | None,
    recipe: Path | None,
    quantize_head: bool,
    force: bool,
    int4: bool,
    fp8: bool,
    nvfp4: bool,
    **calibration: Any,
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
    from nld_trt.files import check_target, human_bytes
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.convert import refuse_overlap
    from nld_trt.model.manifest import MANIFEST_FILE

    chosen = chosen_recipe(qformat, recipe, {"int4": int4, "fp8": fp8, "nvfp4": nvfp4})
    refuse_overlap(checkpoint, output_dir)
    check_target(output_dir, force, MANIFEST_FILE)
    with output.stage("opening checkpoint"):
        source = Checkpoint.open_converted(checkpoint, verify=True)
    source.refuse_quantized()
    with output.stage("reading the recipe"):
        found = loaded(chosen)
        from nld_trt.quantization.plan import make_plan
        from nld_trt.quantization.quantize import choose_device, quantize

        plan = make_plan(found, source.config, head=quantize_head)
        device = choose_device(plan)
    shown = None
    if plan.reads_activations:
        with output.stage("reading calibration data"):
            shown = calibration_set(source, **calibration)
    describe(plan, shown, device.type)
    parts = source.config.num_hidden_layers + 1
    with output.progress("quantizing", parts, "layers") as advance:
        manifest = quantize(
            source,
            plan,
            output_dir,
            calibration=shown,
            force=force,
            report=output.note,
            progress=lambda part, share, earlier: advance(share, earlier),
        )
    facts = manifest["quantization"]
    run, size = facts["run"], sum(entry["bytes"] for entry in manifest["files"].values())
    peak = run["peak_resident_bytes"]
    output.result(
        {"output_dir": str(output_dir), "manifest": manifest},
        f"{facts['algorithm']} checkpoint in {output_dir}: {human_bytes(size)}, {facts['bits_per_weight']:.2f} bits "
        f"per weight, {run['seconds']} s" + (f", peak memory {human_bytes(peak)}" if peak else ""),
    )
    output.note(f"next: nld-trt build {shlex.quote(str(output_dir))} -o ENGINE_DIR")


def chosen_recipe(qformat: str | None, recipe: Path | None, short: dict[str, bool]) -> str | Path:
    """A shipped name or a file, from whichever of the flags was given. Raises InputError unless it is one."""
    asked: dict[str, str | Path | None] = {"--qformat": qformat, "--recipe": recipe}
    asked |= {f"--{flag}": SHORT_FORMS[flag] if given else None for flag, given in short.items()}
    given = {flag: value for flag, value in asked.items() if value is not None}
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given)} were given; one format is needed" if given else "no quantization format was given",
            fix="Pass one of --int4, --fp8, --nvfp4, --qformat NAME or --recipe FILE.",
        )
    return next(iter(given.values()))


def loaded(chosen: str | Path) -> Recipe:
    from nld_trt.quantization.recipe import Recipe

    return Recipe.load(chosen) if isinstance(chosen, Path) else Recipe.shipped(chosen)


def calibration_set(
    checkpoint: Any,
    *,
    calib_dataset: str,
    calib_size: int,
    calib_seq_len: int,
    calib_mix: str | None,
    chat_template: str | None,
    seed: int,
) -> CalibrationSet:
    from nld_trt.quantization.calibration import DEFAULT_MIX, Mix
    from nld_trt.quantization.calibration_set import CalibrationSettings

    mix = DEFAULT_MIX if calib_mix is None else Mix.parse(calib_mix)
    settings = CalibrationSettings(calib_dataset, calib_size, calib_seq_len, mix, seed, chat_template=chat_template)
    return settings.prepare(checkpoint)


def describe(plan: Plan, shown: CalibrationSet | None, device: str) -> None:
    """What is about to be done, in notes."""
    output.note(f"{plan.recipe.name}: {plan.recipe.description.strip()}")
    kept = "embedding and norms" if plan.head else "embedding, norms and diffusion_head"
    output.note(f"{len(plan.formats)} linear layers on {device}; {kept} stay as they are")
    if plan.regrouped:
        sizes = sorted(set(plan.regrouped.values()))
        output.note(
            f"{len(plan.regrouped)} layers take groups of {', '.join(map(str, sizes))}: their input features are no "
            "multiple of the recipe's"
        )
    if shown is None:
        output.note("no calibration data is needed")
        return
    summary = shown.summary
    output.note(
        f"calibrating on {summary.documents} documents, {summary.tokens} tokens: {summary.causal_tokens} causal, "
        f"{summary.bidirectional_tokens} in masked blocks, {summary.draft_tokens} in drafts"
    )
    if summary.documents < shown.settings.size:
        output.note(f"the data set has {summary.documents} usable documents; {shown.settings.size} were asked for")
