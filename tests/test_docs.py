# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a reader is told is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nld_trt.cli import COMMANDS, cli
from nld_trt.model.family import FAMILIES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("bench/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_repository_resolve(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_that_pages_show_exist(page):
    for line in re.findall(r"^\s*(?:\$ )?nld-trt ([a-z].*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        # Another command, a comment or a pipe ends this one.
        words = re.split(r"[#|;]|&&", line)[0].split()
        assert words[0] in COMMANDS, line
        command = cli.get_command(None, words[0])
        if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
            command = command.commands[words[1]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} - known - {"--help"} == set(), line


def test_generated_pages_are_current():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{done.stdout}: run python docs/generate.py"


def test_every_command_is_mentioned_in_the_documentation():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "cli.md")
    assert [name for name in COMMANDS if f"nld-trt {name}" not in text] == []


def test_sections_of_the_model_page_that_the_code_cites_exist():
    titles = set(re.findall(r"^## (.+)$", (ROOT / "docs" / "model.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {
        (path.name, title.strip())
        for folder in ("nld_trt", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for title in re.findall(r"docs/model\.md, ([A-Z][\w -]*?)(?:[.,;:)]| and )", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert [f"{name} cites {title!r}" for name, title in sorted(cited) if title not in titles] == []


def test_files_that_the_architecture_names_exist():
    """A walk names files from its package on, or only by their last name after another file of one folder."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = {path.relative_to(ROOT / "nld_trt").as_posix() for path in (ROOT / "nld_trt").rglob("*.py")}
    named = {name for name in re.findall(r"`([a-z_/]+\.py)`", page) if not name.startswith("tests/")}
    assert named
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()


def rows(page: str, title: str) -> dict[str, list[str]]:
    """Cells of the first table of a page whose head has ``title``, by the first cell of the row."""
    table = next(part for part in page.split("\n\n") if part.startswith("|") and title in part.splitlines()[0])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_tables_of_families_have_a_row_for_each():
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    works, evidence = rows(page, "| convert |"), rows(page, "| evidence |")
    assert [*works] == [*evidence] == [*FAMILIES]
    assert {name: cells[-1] for name, cells in works.items()} == {
        name: ", ".join(family.modes) for name, family in FAMILIES.items()
    }
