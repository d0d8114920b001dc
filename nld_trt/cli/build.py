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

if TYPE_CHECKING:
    from nld_trt.engine.backend import BuildPlan
    from nld_trt.engine.build_config import BuildConfig


@click.command("build")
@checkpoint_argument
@click.option("-o", "--output-dir", type=click.Path(path_type=Path), required=True, help="Engine folder to write.")
@click.option(
    "--backend", "backends", type=click.Choice(names.BACKENDS), multiple=True,
    help="Library that runs the engine. Repeatable. Default: the platform's, else ort.",
)  # fmt: skip
@click.option(
    "--platform", "platforms", type=click.Choice(names.PLATFORMS), multiple=True,
    help="Machine to compile for. Repeatable. Default: every GPU that the backend can compile for.",
)  # fmt: skip
@click.option(
    "-c", "--config", "config_file", type=click.Path(path_type=Path), help="YAML file with these settings; flags win."
)
@click.option(
    "--precision", type=click.Choice(names.PRECISIONS), default=None, help="Default: fp32 for ort, bf16 for the others."
)
@click.option(
    "--max-batch-size", type=int, default=None, help=f"Rows decoded together. [default: {names.DEFAULT_MAX_BATCH_SIZE}]"
)
@click.option(
    "--max-seq-len",
    "--max-model-len",
    type=int,
    default=None,
    help=f"Prompt + generated tokens. [default: {names.DEFAULT_MAX_SEQ_LEN}, or the model's]",
)
@click.option("--block-length", type=int, default=None, help="Longest block. [default: the checkpoint's block_size]")
@click.option(
    "--prompt-chunk",
    type=int,
    default=None,
    help=f"Prompt tokens per prefill forward. [default: {names.DEFAULT_PROMPT_CHUNK}]",
)
@click.option(
    "--quadratic-length", type=int, default=None,
    help="Drafts per pass of --mode quadratic, whose passes have k + k*k tokens. [default: 0, without this mode]",
)  # fmt: skip
@click.option("--lora/--no-lora", default=None, help="Include the draft adapter. Default: when the checkpoint has one.")
@click.option(
    "--plugins/--no-plugins", default=None,
    help="trt: run the decode operators as this project's CUDA kernels, or as standard operators. Default: kernels.",
)  # fmt: skip
@click.option(
    "--kv-cache", type=click.Choice(names.KV_CACHES), default=None,
    help="Precision of cached keys and values. auto (default), engine: the engine's; auto says so where the checkpoint "
    "was made for another. checkpoint: that of the checkpoint, or no engine.",
)  # fmt: skip
@click.option("--debug-outputs", is_flag=True, help="Add logits and hidden states to the outputs, for comparisons.")
@click.option("--force", is_flag=True, help="Replace an engine folder that exists.")
@click.option("--dry-run", is_flag=True, help="Show what would be built, and stop.")
@json_option
def command(
    checkpoint: Path,
    output_dir: Path,
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
      nld-trt build checkpoint -o engine --config build_configs/nld-8b-dgx-spark-bf16.yaml
    """
    from nld_trt.engine.build import build_engine, check_plans
    from nld_trt.engine.manifest import FILE_NAME
    from nld_trt.engine.plan import make_plans
    from nld_trt.engine.support import cache_note, fallbacks
    from nld_trt.files import check_target, human_bytes
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.text.files import TOKENIZER_FILE

    asked = settings(config_file, **flags)
    check_target(output_dir, force, FILE_NAME)
    with output.stage("opening checkpoint"):
        source = Checkpoint.open_converted(checkpoint, verify=not dry_run)
    plans = make_plans(source, asked, debug=debug_outputs)
    check_plans(source, plans)
    resolved: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "output_dir": str(output_dir),
        "plans": [plan_facts(plan) for plan in plans],
        "generation": source.generation.to_dict(),
        "fallbacks": {plan.backend: fallbacks(plan.backend, source) for plan in plans},
    }
    if not any(path.name == TOKENIZER_FILE for path in source.companions()):
        output.warn(f"{checkpoint} has no {TOKENIZER_FILE}: the engine will take token ids, and no texts")
    for name, lines in resolved["fallbacks"].items():
        for line in lines:
            output.warn(f"{name} has no kernels for {line}")
    for line in source.generation.notes:
        output.note(line)
    if note := cache_note(plans, source):
        output.note(note)
    if dry_run:
        output.result(resolved, "\n".join(["would build:", *(f"  {describe(plan)}" for plan in plans)]))
        return
    for plan in plans:
        output.note(describe(plan))
    manifest = build_engine(source, plans, output_dir, force=force, stage=output.stage)
    size = sum(record.size for record in manifest.files.values())
    output.result(
        {**resolved, "manifest": manifest.to_dict()},
        f"engine in {output_dir}: {', '.join(manifest.backends)}, {human_bytes(size)}",
    )
    engine = shlex.quote(str(output_dir))
    output.note(f'next: nld-trt generate {engine} "PROMPT", or nld-trt repo {engine} -o REPO_DIR')


def settings(config_file: Path | None, **flags: Any) -> BuildConfig:
    """Flags over file over defaults; a flag that was not given is None or empty."""
    from nld_trt.engine.build_config import BuildConfig

    base = BuildConfig() if config_file is None else BuildConfig.from_yaml(config_file)
    return replace(base, **{name: value for name, value in flags.items() if value not in (None, ())})


def plan_facts(plan: BuildPlan) -> dict[str, Any]:
    return {
        "backend": plan.backend,
        "precision": plan.precision,
        "compute_capabilities": list(plan.compute_capabilities),
        "adapter": plan.adapter,
        "plugins": plan.plugins,
        "kv_cache": plan.kv_cache,
        **plan.limits.to_dict(),
    }


def describe(plan: BuildPlan) -> str:
    """One line for the terminal."""
    limits = plan.limits
    targets = "".join(f" sm_{target.replace('.', '')}" for target in plan.compute_capabilities)
    return (
        f"{plan.backend}{targets} {plan.precision}: batch {limits.max_batch_size}, {limits.max_seq_len} tokens, "
        f"block {limits.max_block_length}, prompt chunk {limits.prompt_chunk}, "
        f"{_quadratic(limits.max_quadratic_length)}"
        f"{'with' if plan.adapter else 'without'} draft adapter{', decode plugins' if plan.plugins else ''}"
    )


def _quadratic(drafts: int) -> str:
    from nld_trt.graph.contract import quadratic_width

    return f"quadratic {drafts} (passes of {quadratic_width(drafts)} tokens), " if drafts else ""
