# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Help is there for everything, and loads click and no other library, so that it comes at once."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from nld_trt import optional
from nld_trt.cli import COMMANDS, LazyGroup, cli

# Optional libraries, and those of the base installation. Their absence is felt, and not only seen.
BLOCKED = sorted(
    {*optional.EXTRAS, "jinja2", "ml_dtypes", "numpy", "onnx", "onnxruntime", "rich", "safetensors", "tokenizers"}
)

# Runs nld-trt with imports refused, then lists on stderr which libraries and which of our modules were loaded.
CHILD = """
import sys

AT_START = {name.partition(".")[0] for name in sys.modules}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} was imported for --help")

sys.meta_path.insert(0, Refuse())
from nld_trt.cli import main
try:
    main(sys.argv[1:])
finally:
    outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - AT_START
    ours = {name for name in sys.modules if name.startswith("nld_trt")}
    print(*sorted(outside | ours), file=sys.stderr)
"""


def run_help(*arguments: str) -> tuple[str, set[str]]:
    """(stdout, modules that the command loaded) of a fresh interpreter."""
    command = [sys.executable, "-c", f"BLOCKED = {BLOCKED!r}\n{CHILD}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


def commands() -> list[click.Command]:
    context = click.Context(cli, **cli.context_settings)
    assert isinstance(cli, LazyGroup)
    return [cli, *(command for name in cli.list_commands(context) if (command := cli.get_command(context, name)))]


def parts() -> list[click.Command]:
    """The commands of commands that are groups."""
    return [part for group in commands()[1:] if isinstance(group, click.Group) for part in group.commands.values()]


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_loads_click_and_no_other_library(command: str | None) -> None:
    text, loaded = run_help(*([command] if command else []), "--help")
    assert text.startswith("Usage: nld-trt")
    assert {name.partition(".")[0] for name in loaded} == {"nld_trt", "click"}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_table_of_contents_loads_no_command(flag: str) -> None:
    _, loaded = run_help(flag)
    ours = {name for name in loaded if name.startswith("nld_trt")}
    assert ours <= {"nld_trt", "nld_trt.cli", "nld_trt.errors", "nld_trt.optional", "nld_trt.cli._output"}


def test_commands_are_listed_in_the_order_of_the_work() -> None:
    text, _ = run_help("--help")
    assert [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line[2:3].strip()] == [*COMMANDS]


def test_every_command_has_help_with_an_example() -> None:
    for command in commands():
        text = command.help or ""
        assert text.strip(), command.name
        assert command is cli or f"nld-trt {command.name}" in text, f"{command.name} shows no example"


def test_every_part_of_a_group_has_help_with_an_example() -> None:
    for part in parts():
        assert re.search(rf"nld-trt \w+ {part.name}", part.help or ""), f"{part.name} shows no example"


def test_command_names_are_the_table_s() -> None:
    assert [command.name for command in commands()[1:]] == [*COMMANDS]


def test_every_option_is_documented() -> None:
    undocumented = [
        f"{command.name} {option.opts[0]}"
        for command in [*commands(), *parts()]
        for option in command.params
        if isinstance(option, click.Option) and not (option.help or option.hidden)
    ]
    assert not undocumented


def test_options_are_written_with_dashes() -> None:
    options = [it for command in [*commands(), *parts()] for it in command.params if isinstance(it, click.Option)]
    names = [name for option in options for name in [*option.opts, *option.secondary_opts]]
    assert not [name for name in names if "_" in name or (name != name.lower() and len(name) > 2)]


def test_completion_offers_commands_from_the_table_without_importing_them() -> None:
    code = (
        "import sys\nfrom nld_trt.cli import cli\nimport click\n"
        "items = cli.shell_complete(click.Context(cli), 'bu')\n"
        "assert [(i.value) for i in items] == ['build'], items\n"
        "assert 'nld_trt.cli.build' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
