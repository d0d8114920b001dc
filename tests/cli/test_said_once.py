# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The command line says nothing a second time: names and defaults come from where they are defined."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import click
import pytest

import nld_trt.cli
from nld_trt import names
from nld_trt.cli import COMMANDS, cli
from nld_trt.measure.variant import VARIANTS
from nld_trt.resources import data_folder

SOURCES = sorted(Path(nld_trt.cli.__file__).parent.glob("*.py"))
# Lines of a command's function without its help text. More than that is work, which belongs below the command line.
MOST_LINES = 40

# The short forms of recipes are flags' names.
VALUES = {
    *names.MODES, *names.VARIANTS, *names.BACKENDS, *names.ACCEPTANCE_RULES, *names.PRECISIONS, *names.PLATFORMS,
    *names.QFORMATS,
} - set(names.SHORT_QFORMATS)  # fmt: skip


def functions() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        found |= command.commands if isinstance(command, click.Group) else {name: command}
    return found


FUNCTIONS = functions()


def texts(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_names_are_not_spelled_out(path: Path) -> None:
    assert [(line, text) for line, text in texts(path) if text in VALUES] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_defaults_are_not_written_into_texts(path: Path) -> None:
    assert [(line, text) for line, text in texts(path) if "[default" in text] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_commands_check_call_and_print(name: str) -> None:
    callback = inspect.unwrap(FUNCTIONS[name].callback)
    [function] = ast.parse(textwrap.dedent(inspect.getsource(callback))).body
    help_text = function.body[0]
    length = function.end_lineno - function.lineno + 1 - (help_text.end_lineno - help_text.lineno + 1)
    assert length <= MOST_LINES, f"{callback.__name__} of {inspect.getsourcefile(callback)}"


def test_recipes_are_those_that_are_shipped() -> None:
    assert set(names.QFORMATS) == {path.stem for path in data_folder("quantize").glob("*.yaml")}
    assert set(names.SHORT_QFORMATS.values()) <= set(names.QFORMATS)


def test_calibration_sets_are_those_that_are_shipped() -> None:
    shipped = {path.stem for path in data_folder("quantize").glob("calibration/*.jsonl")}
    assert set(names.CALIBRATION_SETS) == shipped
    assert names.DEFAULT_CALIBRATION_SET in names.CALIBRATION_SETS


def test_variants_are_those_that_are_measured() -> None:
    assert [*VARIANTS] == [*names.VARIANTS]
