# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages that follow from the code: the step contract, quantization support, the command line.

Tables inside other pages, between two comments with the table's name, are written too.

python docs/generate.py            # write
python docs/generate.py --check    # exit 1 if a page is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from nld_trt.cli import cli
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.support import kv_cache_support
from nld_trt.engine.support_table import SUPPORT, Support
from nld_trt.graph import contract
from nld_trt.graph.network.linear import EMITTERS
from nld_trt.graph.network.prescale import FOLDS, SCALES_ROWS
from nld_trt.graph.step.advance import ADVANCE
from nld_trt.graph.step.candidates import DRAFT_CANDIDATES
from nld_trt.graph.step.choose import CHOOSE_TOKENS_BY_ENSEMBLE
from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.plugin_form import PLUGIN_OPERATORS
from nld_trt.graph.step.tensors import TENSORS
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.model.family import FAMILIES
from nld_trt.model.quantized.formats import ALGORITHMS
from nld_trt.resources import data_folder
from nld_trt.serving import metrics
from nld_trt.serving.openai import metrics as front_metrics

HERE = Path(__file__).parent


def step_contract() -> str:
    lines = [
        "# Step contract",
        "",
        "Every input and output of an engine, generated from `nld_trt/graph/contract.py`. The axes `batch`, `width`,",
        "`window`, `slots`, `attended` and `capacity` change at run time; the others are fixed. `activation` is",
        "the precision of the engine. An output that *becomes* an input does so for rows that go on by themselves,",
        "where the next pass is launched on the results of this one.",
    ]
    for direction, title in (("input", "Inputs"), ("output", "Outputs")):
        lines += ["", f"## {title}", "", "| name | dtype | axes | meaning |", "|---|---|---|---|"]
        for binding in (each for each in contract.BINDINGS if each.direction == direction):
            note = " (on demand: `ort` always has it, compiled engines with --debug-outputs)" if binding.debug else ""
            note += " (engines with an Eagle3 head)" if "draft_head" in binding.parts else ""
            note += f" (becomes `{binding.carries}`)" if binding.carries else ""
            lines.append(
                f"| `{binding.name}` | {binding.dtype} | {', '.join(binding.axes)} | {binding.meaning}{note} |"
            )
    limits = contract.Limits(
        max_batch_size=8, max_seq_len=4096, max_block_length=32, prompt_chunk=512, max_quadratic_length=8
    )
    lines += [
        "",
        "## Phases",
        "",
        "Optimisation profiles of compiled engines, here for the default limits, blocks of 32 and quadratic passes of",
        "8 drafts, which are an option:",
        "",
    ]
    axes = ("batch", "width", "window", "slots", "capacity")
    lines += ["| phase | " + " | ".join(axes) + " |", "|---|" + "---|" * len(axes)]
    canvas = replace(limits, max_quadratic_length=0, max_canvas_length=limits.max_seq_len)
    for each in (limits, canvas):
        for phase in each.phases:
            ranges = contract.axis_ranges(each, phase)
            cells = [" / ".join(map(str, ranges[axis])) for axis in axes]
            lines.append(f"| {phase} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Cells are minimum / best / maximum. Engines of [families](families.md) that see the whole canvas have the",
        "phase `canvas` and no other: their passes are bidirectional, from slot 0 or, with a block cache, from the",
        "block on, and want the logits of one block. Where predictions stand one place before their token,",
        "`logit_rows` names the token, and the logits are those of the place before.",
        "",
        *decode_operators(),
    ]
    return "\n".join(lines)


def decode_operators() -> list[str]:
    """Inputs and outputs of the operators that end the graph, and the tensors that stay inside the engine."""
    lines = [
        "## Decode operators",
        "",
        "The operators that end the graph, in the order in which a forward runs them, generated from",
        "`nld_trt/graph/step`. `LogitStatistics` and `DecodeStep` are the plugins that stand for `ChooseTokens`,",
        "`BlockDenoise` and `SpecVerify`; the plugin `Advance` has the inputs and outputs of the function.",
        "",
        "| operator | inputs | outputs |",
        "|---|---|---|",
    ]
    operators = (DRAFT_CANDIDATES, CHOOSE_TOKENS_BY_ENSEMBLE, BLOCK_DENOISE, SPEC_VERIFY, ADVANCE)
    listed_once = {operator.name: operator for operator in (*operators, *PLUGIN_OPERATORS.values())}
    for operator in listed_once.values():
        names = (", ".join(f"`{name}`" for name in listed) for listed in (operator.inputs, operator.outputs))
        lines.append(f"| `{operator.name}` | {' | '.join(names)} |")
    lines += ["", "Tensors that no engine has as an input or output:", ""]
    lines += ["| name | dtype | axes | meaning |", "|---|---|---|---|"]
    bound = {binding.name for binding in contract.BINDINGS}
    for name, tensor in TENSORS.items():
        if name not in bound:
            lines.append(f"| `{name}` | {tensor.dtype} | {', '.join(tensor.axes)} | {tensor.meaning} |")
    return [*lines, ""]


_ACTIVATIONS = {
    "none": "as they are",
    "static": "FP8, scale from calibration",
    "per_token": "FP8, scale of each token",
    "fp4": "FP4 in groups of 16, FP8 scales as they come",
}
_WRITTEN = {"native": "yes", "fallback": "**fallback**", "refused": "**refused**"}


def support() -> str:
    lines = [
        "# Quantization support",
        "",
        "What each backend makes of each algorithm of a quantized checkpoint, generated from the table in",
        "`nld_trt/engine/support_table.py`, by which `nld-trt build` also refuses and proves. The names are those of",
        "`hf_quant_config.json`.",
        "",
        "| algorithm | weights | activations | " + " | ".join(f"`{name}`" for name in BACKENDS) + " |",
        "|---|---|---|" + "---|" * len(BACKENDS),
    ]
    for name, algorithm in ALGORITHMS.items():
        weights = EMITTERS[name]["tensorrt"].stored.name.upper()
        cells = [_cell(SUPPORT[name][backend]) for backend in BACKENDS]
        lines.append(f"| {name} | {weights} | {_ACTIVATIONS[algorithm.activations]} | {' | '.join(cells)} |")
    lines += [
        "",
        "- **yes**: matrix kernels read the quantized weights themselves, and the proof in `engine.json` found that of",
        "  every layer. An engine in which one layer's kernel does not is not published.",
        "- **fallback**: the result is right, and something of the saving is lost. `build` says so and goes on.",
        "- **not executed**: `trt` compiles the graph of `trt-rtx`. Nobody has run that; its proof decides on the GPU.",
        "  `torch` was run on the CPU, and its kernels in Triton's interpreter; no GPU has run its quantized layers.",
        "- A number is the least compute capability that has the types.",
        "",
        "## How",
        "",
        "Scales of 4-bit weights are rounded to the engine's precision, because no compiler here fuses others;",
        "scales of FP8 and statistics of activations are float32.",
        "",
        "| backend | algorithm | |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{backend}` | {name} | {SUPPORT[name][backend].how}{_groups(SUPPORT[name][backend])} |"
        for backend in BACKENDS
        for name in SUPPORT
        if SUPPORT[name][backend].executed
    ]
    lines += [
        "",
        "## Key/value caches",
        "",
        "Caches are in the engine's precision, also for a checkpoint that was made",
    ]
    lines += ["for others (`kv_cache_quant_algo`): `build` says so, and refuses it with `--kv-cache checkpoint`."]
    lines += ["", "| backend | why not quantized |", "|---|---|"]
    lines += [f"| `{backend}` | {reason} |" for backend, reason in kv_cache_support().items()]
    lines += [
        "",
        "## Pre-quantization scales",
        "",
        "AWQ multiplies the input of a layer by `pre_quant_scale`. Where it is exact, the build moves that factor into",
        "what makes the input; otherwise it stays a multiplication in the graph. It is never left out.",
        "",
        "| input of | moves into | if |",
        "|---|---|---|",
    ]
    for fold in FOLDS:
        readers = ", ".join(f"`{part}`" for part in fold.readers)
        lines.append(f"| {readers} | `{fold.maker}` | {'; '.join(_conditions(fold.readers, fold.maker))} |")
    return "\n".join(
        [*lines, "", "The head's stays a multiplication: the final norm is an output of debug engines.", ""]
    )


def _cell(found: Support) -> str:
    written = _WRITTEN[found.status] if found.executed else "not executed"
    return f"{written}, from {found.compute_capability}" if found.compute_capability else written


def _groups(found: Support) -> str:
    return f"; groups of {', '.join(map(str, found.group_sizes))}" if found.group_sizes else ""


def _conditions(readers: tuple[str, ...], maker: str) -> list[str]:
    conditions = []
    if len(readers) > 1:
        conditions.append("all of them have the same scale")
    if maker.endswith("v_proj"):
        conditions.append("the query heads that share a value head agree; the draft adapter's A is divided by it")
    if maker.endswith("_proj"):
        able = ["high precision", *sorted(filter(None, SCALES_ROWS))]
        conditions.append(f"`{maker}` is in {', '.join(able[:-1])} or {able[-1]}")
    return conditions


def command_line() -> str:
    lines = ["# Command line", "", "Generated from the commands' own `--help`.", ""]
    context = click.Context(cli, info_name="nld-trt", max_content_width=110, terminal_width=110)
    lines += ["```", cli.get_help(context), "```", ""]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=110, terminal_width=110)
        lines += [f"## {name}", "", "```", command.get_help(inner), "```", ""]
        if isinstance(command, click.Group):
            for part in command.list_commands(inner):
                lines += [f"### {name} {part}", "", "```", _help_of(command, part, inner), "```", ""]
    return "\n".join(lines)


def _help_of(group: click.Group, name: str, context: click.Context) -> str:
    command = group.get_command(context, name)
    assert command is not None
    return command.get_help(
        click.Context(command, info_name=name, parent=context, max_content_width=110, terminal_width=110)
    )


def chart_values() -> str:
    """The values of the Helm chart, with the meanings that its schema gives."""
    chart = data_folder("deploy") / "helm" / "nld-trt"
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for name, default, meaning in _values(schema, defaults):
        shown = "–" if default in ("", [], {}) else f"`{json.dumps(default).strip(chr(34))}`"
        lines.append(f"| `{name}` | {shown} | {meaning} |")
    return "\n".join(lines)


def _values(schema: Mapping[str, Any], defaults: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, default in defaults.items():
        found, path = schema["properties"][name], f"{above}{name}"
        # Objects that Kubernetes defines are values of their own.
        if isinstance(default, dict) and found.get("additionalProperties") is False and name != "resources":
            yield from _values(found, default, f"{path}.")
        else:
            yield path, default, found["description"]


def _with_sections(name: str) -> str:
    """The page called ``name`` with its tables as they should be."""
    page = (HERE / name).read_text(encoding="utf-8")
    for section, render in SECTIONS[name].items():
        before, start, rest = page.partition(f"<!-- {section} -->\n")
        _, end, after = rest.partition(f"<!-- /{section} -->")
        assert end, f"docs/{name} has no place for {section}"
        page = f"{before}{start}{render()}\n{end}{after}"
    return page


def families() -> str:
    """What differs between families, one column for each."""
    every = [*FAMILIES.values()]
    rows = {
        "releases": lambda family: ", ".join(family.releases),
        "`model_type`": lambda family: ", ".join(f"`{kind}`" for kind in family.model_types),
        "licence": lambda family: family.licence,
        "modes": lambda family: ", ".join(family.modes),
        "sees": lambda family: f"`{family.sees}`",
        "committed by": lambda family: f"{family.committed_by} passes",
        "predicts": lambda family: "the position after" if family.shifted else "its own position",
        "MASK": lambda family: "yes" if family.has_mask else "none",
        "rotary embedding": lambda family: {"plain": "plain", "yarn": "YaRN, scaled queries"}[family.rotary],
        "norms of heads": lambda family: "queries and keys" if family.q_k_norm else "none",
        "biases": lambda family: "q, k, v" if family.qkv_bias else "none",
        "block length": lambda family: str(family.defaults.get("block_size", "`block_size`")),
    }
    lines = ["| | " + " | ".join(f"`{family.name}`" for family in every) + " |", "|---|" + "---|" * len(every)]
    for name, cell in rows.items():
        cells = [cell(family) for family in every]
        if name == "predicts":
            cells = [found if family.has_mask else "-" for found, family in zip(cells, every, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


SECTIONS = {
    "families.md": {"families": families},
    "serving.md": {"metrics": metrics.markdown_table, "front metrics": front_metrics.markdown_table},
    "deploying.md": {"chart values": chart_values},
}
PAGES = {
    "step-contract.md": step_contract,
    "support.md": support,
    "cli.md": command_line,
    **{name: lambda name=name: _with_sections(name) for name in SECTIONS},
}


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = [
        name
        for name, render in PAGES.items()
        if not (HERE / name).is_file() or (HERE / name).read_text(encoding="utf-8") != render()
    ]
    if not check:
        for name in stale:
            (HERE / name).write_text(PAGES[name](), encoding="utf-8")
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
