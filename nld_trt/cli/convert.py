# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt convert``: from a released checkpoint to a checked one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option

# Facts for --json, notes on the source, what was written, and what to run next.
Written = tuple[dict[str, Any], list[str], str, str]


@click.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@output_folder_option("Folder to write.")
@click.option(
    "--to",
    "form",
    type=click.Choice(("nld", "ministral3")),
    default="nld",
    show_default=True,
    help="nld: what quantize and build read. ministral3: a stock transformers checkpoint, for AR decoding elsewhere.",
)
@click.option("--force", is_flag=True, help="Replace an earlier result in the output folder.")
@json_option
def command(checkpoint: Path, output_dir: Path, form: str, force: bool) -> None:
    """Check the released CHECKPOINT folder and write it in the form that the other commands read.

    The whole checkpoint is looked at: configuration, every tensor's name, shape and values, the draft adapter,
    tokenizer and chat template. Nothing is written when something is wrong. Memory stays below 1 GB at every model
    size.

    \b
    Examples:
      nld-trt convert Nemotron-Labs-Diffusion-8B -o checkpoint
      nld-trt convert Nemotron-Labs-Diffusion-8B -o ministral --to ministral3
    """
    from nld_trt.model.generation import GenerationDefaults

    facts, notes, text, following = _FORMS[form](checkpoint, output_dir, force)
    for line in (*notes, *GenerationDefaults.from_dict(facts["generation"]).notes):
        output.note(line)
    output.result({"output_dir": str(output_dir), "format": form, **facts}, text)
    output.note(f"next: {following}")


def _to_nld(checkpoint: Path, target: Path, force: bool) -> Written:
    from nld_trt.files import human_bytes
    from nld_trt.model.convert import convert

    manifest = convert(checkpoint, target, force=force, progress=output)
    adapter = manifest["adapter"]
    drafter = f"draft adapter of rank {adapter['rank']}" if adapter else "no draft adapter"
    size = human_bytes(sum(entry["bytes"] for entry in manifest["files"].values()))
    text = f"checkpoint in {target}: {manifest['parameters']:,} parameters, {size}, {drafter}"
    facts = {"manifest": manifest, "generation": manifest["generation"]}
    return facts, manifest["notes"], text, f"nld-trt build {target} -o ENGINE_DIR"


def _to_ministral3(checkpoint: Path, target: Path, force: bool) -> Written:
    from nld_trt.files import human_bytes
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.ministral3 import export_ministral3

    with output.stage("opening checkpoint"):
        source = Checkpoint.open(checkpoint)
    facts = export_ministral3(source, target, force=force, progress=output)
    left_out = "; the draft adapter has no place in it and was left out" if facts["adapter_left_out"] else ""
    text = f"{facts['architecture']} in {target}: {facts['tensors']} tensors, {human_bytes(facts['bytes'])}{left_out}"
    following = f'AutoModelForCausalLM.from_pretrained("{target}") with transformers 5.0 or later'
    return facts, facts["notes"], text, following


_FORMS = {"nld": _to_nld, "ministral3": _to_ministral3}
