# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt convert``: from a released checkpoint to a checked one."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import click

from nld_trt import names
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option
from nld_trt.errors import InputError

# Facts for --json, notes on the source, what was written, and what to run next.
Written = tuple[dict[str, Any], list[str], str, str]


@click.command("convert")
@click.argument("checkpoint")
@output_folder_option("Folder to write.")
@click.option(
    "--to",
    "form",
    type=click.Choice(("nld", "ministral3")),
    default="nld",
    show_default=True,
    help="nld: what quantize and build read. ministral3: a stock transformers checkpoint, for AR decoding elsewhere.",
)
@click.option(
    "--draft", type=click.Path(path_type=Path), default=None, metavar="HEAD_FOLDER",
    help=f"Eagle3 head that was trained for this checkpoint: engines then have --mode {names.EAGLE3}.",
)  # fmt: skip
@click.option("--revision", default=None, help="Branch, tag or commit of a model on the hub. Default: main.")
@click.option("--force", is_flag=True, help="Replace an earlier result in the output folder.")
@json_option
def command(
    checkpoint: str, output_dir: Path, form: str, draft: Path | None, revision: str | None, force: bool
) -> None:
    """Check a released CHECKPOINT and write it in the form that the other commands read.

    CHECKPOINT is one of Nemotron-Labs-Diffusion, or of a family that it is compared with (docs/families.md). It is a
    folder, or the id of a model on the Hugging Face hub, OWNER/NAME or OWNER/NAME@REVISION, which is downloaded into
    the hub's own cache. A folder of that name comes first; a path with ./ in front is never an id.

    The whole checkpoint is looked at: configuration, every tensor's name, shape and values, the draft adapter,
    tokenizer and chat template. Nothing is written when something is wrong. Memory stays below 1 GB at every model
    size.

    \b
    Examples:
      nld-trt convert Nemotron-Labs-Diffusion-8B -o checkpoint
      nld-trt convert nvidia/Nemotron-Labs-Diffusion-8B -o checkpoint
      nld-trt convert Nemotron-Labs-Diffusion-8B -o ministral --to ministral3
      nld-trt convert Qwen3-8B -o checkpoint --draft Qwen3-8B_eagle3
    """
    from nld_trt.files import check_target
    from nld_trt.model.generation import GenerationDefaults

    write, marker = _FORMS[form]
    if draft is not None and write is not _to_nld:
        raise InputError(f"--draft goes with --to nld, and --to is {form}", fix="Leave --draft out.")
    # Before a download, which may take hours.
    check_target(output_dir, force, marker)
    facts, notes, text, following = write(_folder(checkpoint, revision), output_dir, force, draft)
    for line in (*notes, *GenerationDefaults.from_dict(facts["generation"]).notes):
        output.note(line)
    output.result({"output_dir": str(output_dir), "format": form, **facts}, text)
    output.note(f"next: {following}")


def _folder(checkpoint: str, revision: str | None) -> Path:
    """The folder that was named, or the snapshot of the model on the hub that was."""
    from nld_trt.model.hub import HubModel, look_up

    model = HubModel.parse(checkpoint)
    if model is None:
        if revision is not None:
            raise InputError(
                f"--revision goes with a model on the hub, and {checkpoint} is a path", fix="Leave --revision out."
            )
        return Path(checkpoint)
    if revision is not None:
        if model.revision is not None:
            raise InputError(f"{checkpoint} names a revision, and so does --revision {revision}", fix="Leave out one.")
        model = replace(model, revision=revision)
    with output.stage(f"looking up {model}"):
        found = look_up(model)
    if found.names:
        scale, unit = (1e9, "GB") if found.size > 2e9 else (1e6, "MB")
        total = max(1, ceil(found.size / scale))
        with output.stage(f"downloading {model}", total=total, unit=unit) as stage:
            found.fetch(lambda count: stage.advance(count / scale))
    output.detail(f"revision {found.model.revision} of {model.repository}, in {found.folder}")
    return found.folder


def _to_nld(checkpoint: Path, target: Path, force: bool, draft: Path | None) -> Written:
    from nld_trt.files import human_bytes
    from nld_trt.model.convert import convert
    from nld_trt.model.family import FAMILIES, NLD

    manifest = convert(checkpoint, target, draft=draft, force=force, progress=output)
    adapter, head = manifest["adapter"], manifest.get("draft_head")
    drafter = f"draft adapter of rank {adapter['rank']}" if adapter else "no draft adapter"
    last = drafter if manifest["family"] == NLD else f"of the family {FAMILIES[manifest['family']].title}"
    if head is not None:
        last += f", Eagle3 head of {head['parameters']:,} parameters"
    size = human_bytes(sum(entry["bytes"] for entry in manifest["files"].values()))
    text = f"checkpoint in {target}: {manifest['parameters']:,} parameters, {size}, {last}"
    facts = {"manifest": manifest, "generation": manifest["generation"]}
    return facts, manifest["notes"], text, f"nld-trt build {shlex.quote(str(target))} -o ENGINE_DIR"


def _to_ministral3(checkpoint: Path, target: Path, force: bool, draft: Path | None) -> Written:
    from nld_trt.files import human_bytes
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.ministral3 import export_ministral3

    with output.stage("opening checkpoint"):
        source = Checkpoint.open(checkpoint)
    facts = export_ministral3(source, target, force=force, progress=output)
    left_out = "; the draft adapter has no place in it and was left out" if facts["adapter_left_out"] else ""
    text = f"{facts['architecture']} in {target}: {facts['tensors']} tensors, {human_bytes(facts['bytes'])}{left_out}"
    quoted = json.dumps(str(target), ensure_ascii=False)
    following = f"AutoModelForCausalLM.from_pretrained({quoted}) with transformers 5.0 or later"
    return facts, facts["notes"], text, following


# How each form is written, and the file by which an earlier result in the output folder is known.
_FORMS = {"nld": (_to_nld, "checkpoint.json"), "ministral3": (_to_ministral3, "config.json")}
