# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages that follow from the code: the step contract and the command line.

python docs/generate.py            # write
python docs/generate.py --check    # exit 1 if a page is stale
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nld_trt.cli import cli
from nld_trt.graph import contract

HERE = Path(__file__).parent


def step_contract() -> str:
    lines = [
        "# Step contract",
        "",
        "Every input and output of an engine, generated from `nld_trt/graph/contract.py`. The axes `batch`, `width`,",
        "`window` and `capacity` change at run time; the others are fixed by the checkpoint. `activation` is the",
        "precision of the engine.",
    ]
    for direction, title in (("input", "Inputs"), ("output", "Outputs")):
        lines += ["", f"## {title}", "", "| name | dtype | axes | meaning |", "|---|---|---|---|"]
        for binding in contract.bindings(direction, debug=True):  # type: ignore[arg-type]
            note = " (debug engines only)" if binding.debug else ""
            lines.append(
                f"| `{binding.name}` | {binding.dtype} | {', '.join(binding.axes)} | {binding.meaning}{note} |"
            )
    limits = contract.Limits(max_batch_size=8, max_seq_len=4096, max_block_length=32, prompt_chunk=512)
    lines += [
        "",
        "## Phases",
        "",
        "Optimisation profiles of compiled engines, here for the default limits and blocks of 32:",
        "",
    ]
    axes = ("batch", "width", "window", "capacity")
    lines += ["| phase | " + " | ".join(axes) + " |", "|---|" + "---|" * len(axes)]
    for phase in contract.PHASES:
        ranges = contract.axis_ranges(limits, phase)
        cells = [" / ".join(map(str, ranges[axis])) for axis in axes]
        lines.append(f"| {phase} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Cells are minimum / best / maximum.", ""])


def command_line() -> str:
    lines = ["# Command line", "", "Generated from the commands' own `--help`.", ""]
    context = click.Context(cli, info_name="nld-trt", max_content_width=110, terminal_width=110)
    lines += ["```", cli.get_help(context), "```", ""]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=110, terminal_width=110)
        lines += [f"## {name}", "", "```", command.get_help(inner), "```", ""]
    return "\n".join(lines)


PAGES = {"step-contract.md": step_contract, "cli.md": command_line}


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = [
        name for name, render in PAGES.items() if not (HERE / name).is_file() or (HERE / name).read_text() != render()
    ]
    if not check:
        for name in stale:
            (HERE / name).write_text(PAGES[name]())
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
