# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt build``: compile an engine folder from a converted checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import checkpoint_argument
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import Option, output_folder_option

if TYPE_CHECKING:
    from nld_trt.engine.build_config import BuildConfig


@click.command("build")
@checkpoint_argument
@output_folder_option("Engine folder to write.")
@click.option(
    "--backend", "backends", type=click.Choice(names.BACKENDS), multiple=True,
    help=f"Library that runs the engine. Repeatable. Default: the platform's, else {names.ORT}.",
)  # fmt: skip
@click.option(
    "--platform", "platforms", type=click.Choice(names.PLATFORMS), multiple=True,
    help="Machine to compile for. Repeatable. Default: every GPU that the backend can compile for.",
)  # fmt: skip
@click.option(
    "-c", "--config", "config_file", type=click.Path(path_type=Path), help="YAML file with these settings; flags win."
)
@click.option(
    "--precision", type=click.Choice(names.PRECISIONS), default=None,
    help=f"Default: {names.FP32} on CPUs, {names.BF16} on GPUs.",
)  # fmt: skip
@click.option(
    "--max-batch-size",
    type=int,
    default=None,
    show_default=str(names.DEFAULT_MAX_BATCH_SIZE),
    help="Rows decoded together.",
)  # fmt: skip
@click.option(
    "--max-seq-len",
    cls=Option,
    aliases=["--max-model-len"],
    type=int,
    default=None,
    show_default=f"{names.DEFAULT_MAX_SEQ_LEN}, or the model's",
    help="Prompt + generated tokens.",
)
@click.option(
    "--block-length", type=int, default=None, show_default="the checkpoint's block_size", help="Longest block."
)
@click.option(
    "--prompt-chunk",
    type=int,
    default=None,
    show_default=str(names.DEFAULT_PROMPT_CHUNK),
    help="Prompt tokens per prefill forward.",
)
@click.option(
    "--quadratic-length", type=int, default=None, show_default="0, without this mode",
    help=f"Drafts per pass of --mode {names.QUADRATIC}, whose passes have k + k*k tokens.",
)  # fmt: skip
@click.option("--lora/--no-lora", default=None, help="Include the draft adapter. Default: when the checkpoint has one.")
@click.option(
    "--plugins/--no-plugins", default=None,
    help="trt: run the decode operators as this project's CUDA kernels, or as standard operators. Default: kernels.",
)  # fmt: skip
@click.option(
    "--kv-cache", type=click.Choice(names.KV_CACHES), default=None,
    show_default=names.DEFAULT_KV_CACHE,
    help="Precision of cached keys and values. auto, engine: the engine's; auto says so where the checkpoint was made "
    "for another. checkpoint: that of the checkpoint, or no engine.",
)  # fmt: skip
@click.option(
    "--head", type=click.Choice(names.HEADS), default=None, show_default=names.DEFAULT_HEAD,
    help=f"Precision of the head. auto: for {names.ORT}, 4 bits where the checkpoint's layers have them; else the "
    "checkpoint's. checkpoint: that of the checkpoint.",
)  # fmt: skip
@click.option("--debug-outputs", is_flag=True, help="Add logits and hidden states to the outputs, for comparisons.")
@click.option("--force", is_flag=True, help="Replace an engine folder that exists.")
@click.option("--dry-run", is_flag=True, help="Show what would be built, and stop.")
@json_option
def command(
    checkpoint: Path,
    output_dir: Path,
    *,
    config_file: Path | None,
    debug_outputs: bool,
    force: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Build an engine folder from a converted checkpoint.

    Without flags this is the embedded engine, which runs on any CPU. One folder can hold several backends.

    \b
    Examples:
      nld-trt build checkpoint -o engine
      nld-trt build checkpoint -o engine --backend ort --backend trt-rtx
      nld-trt build checkpoint -o engine --platform dgx-spark --max-batch-size 4
      nld-trt build checkpoint -o engine --config build_configs/dgx-spark.yaml
    """
    from nld_trt.engine.build import Build
    from nld_trt.engine.manifest import FILE_NAME
    from nld_trt.engine.plan import make_plans
    from nld_trt.files import check_target, human_bytes
    from nld_trt.model.checkpoint import Checkpoint

    asked = settings(config_file, **flags)
    check_target(output_dir, force, FILE_NAME)
    with output.stage("opening checkpoint"):
        source = Checkpoint.open_converted(checkpoint, verify=not dry_run)
    build = Build.checked(source, make_plans(source, asked, debug=debug_outputs))
    resolved = {"checkpoint": str(checkpoint), "output_dir": str(output_dir), **build.to_dict()}
    for line in build.warnings():
        output.warn(line)
    for line in build.notes():
        output.note(line)
    if dry_run:
        output.result(resolved, "\n".join(["would build:", *(f"  {plan.summary}" for plan in build.plans)]))
        return
    for plan in build.plans:
        output.note(plan.summary)
    manifest = build.run(output_dir, force=force, progress=output)
    size = human_bytes(sum(record.size for record in manifest.files.values()))
    output.result(
        {**resolved, "manifest": manifest.to_dict()},
        f"engine in {output_dir}: {', '.join(manifest.backends)}, {size}",
    )
    engine = shlex.quote(str(output_dir))
    output.note(f'next: nld-trt generate {engine} "PROMPT", or nld-trt repo {engine} -o REPO_DIR')


def settings(config_file: Path | None, **flags: Any) -> BuildConfig:
    """Return the settings of the file with the flags in their place; a flag that was not given is None or empty."""
    from nld_trt.engine.build_config import BuildConfig

    base = BuildConfig() if config_file is None else BuildConfig.from_yaml(config_file)
    return replace(base, **{name: value for name, value in flags.items() if value not in (None, ())})
