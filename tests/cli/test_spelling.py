# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One spelling for each flag is shown, and earlier spellings still work."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from nld_trt.cli import COMMANDS, cli, run
from nld_trt.cli._spelling import Option

CLI_PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by how it is called."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        parts = command.commands if isinstance(command, click.Group) else {"": command}
        found |= {f"{name} {part}".strip(): made for part, made in parts.items()}
    return found


LEAVES = leaves()

# Spellings that an earlier version showed, and what shows now.
EARLIER = {
    ("convert", "--output-dir"): "--output",
    ("quantize", "--output-dir"): "--output",
    ("build", "--output-dir"): "--output",
    ("build", "--max-model-len"): "--max-seq-len",
    ("repo", "--output-dir"): "--output",
    ("repo", "--max-tokens"): "--max-new-tokens",
    ("sweep", "--output-dir"): "--output",
    ("synthetic", "--output-dir"): "--output",
    ("bench kernels", "--output-file"): "--output",
    ("bench loop", "--output-file"): "--output",
}


def parsed(called: str, *arguments: str) -> dict[str, object]:
    command = LEAVES[called]
    context = click.Context(command, **cli.context_settings)
    return command.make_parser(context).parse_args([*arguments])[0]


def words(text: str) -> set[str]:
    return set(re.findall(r"--[\w-]+", text))


@pytest.mark.parametrize(("called", "flag"), EARLIER, ids=" ".join)
def test_earlier_spelling_is_accepted(called: str, flag: str) -> None:
    shown = EARLIER[called, flag]
    assert parsed(called, flag, "7") == parsed(called, shown, "7")
    assert parsed(called, flag.replace("-", "_").replace("__", "--"), "7") == parsed(called, shown, "7")


@pytest.mark.parametrize("called", LEAVES)
def test_aliases_are_not_shown(called: str) -> None:
    command = LEAVES[called]
    aliases = {alias for it in command.params if isinstance(it, Option) for alias in it.aliases}
    assert {flag for name, flag in EARLIER if name == called} <= aliases
    help_text = command.get_help(click.Context(command, **cli.context_settings))
    title = rf"^##+ {re.escape(called)}$"
    [section] = re.findall(rf"{title}\n(.*?)(?=^##|\Z)", CLI_PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert not aliases & (words(help_text) | words(section))
    assert not aliases & {opt for it in command.params for opt in (*it.opts, *it.secondary_opts)}


@pytest.mark.parametrize("called", LEAVES)
def test_each_option_shows_one_long_spelling(called: str) -> None:
    options = [it for it in LEAVES[called].params if isinstance(it, click.Option) and not it.hidden]
    assert [it.opts for it in options if sum(opt.startswith("--") for opt in it.opts) != 1] == []


@pytest.mark.parametrize("called", LEAVES)
def test_output_is_spelled_alike(called: str) -> None:
    options = [it for it in LEAVES[called].params if isinstance(it, click.Option)]
    about_output = [it.opts for it in options if "-o" in it.opts or any(opt.startswith("--output") for opt in it.opts)]
    assert all(opts == ["-o", "--output"] for opts in about_output)


@pytest.mark.parametrize("called", LEAVES)
def test_limit_of_an_answer_is_spelled_alike(called: str) -> None:
    shown = {opt for it in LEAVES[called].params for opt in it.opts}
    assert "--max-tokens" not in shown


def test_the_last_of_two_spellings_wins() -> None:
    assert parsed("convert", "--output-dir", "a", "-o", "b")["output_dir"] == "b"
    assert parsed("convert", "-o", "b", "--output-dir", "a")["output_dir"] == "a"


@pytest.mark.parametrize("variable", ["NLD_TRT_SYNTHETIC_OUTPUT", "NLD_TRT_SYNTHETIC_OUTPUT_DIR"])
def test_environment_variables_follow_the_flags(variable: str, tmp_path, monkeypatch, capsys) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "notes.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setenv(variable, str(occupied))
    assert run(["synthetic", "3b"]) == 2
    assert str(occupied) in capsys.readouterr().err


def test_a_missing_output_is_asked_for_by_the_shown_spelling(tmp_path, capsys) -> None:
    assert run(["convert", str(tmp_path)]) == 2
    assert "'-o' / '--output'" in capsys.readouterr().err
