# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every text file is read and written as UTF-8, whatever the locale.

Triton's Python backend runs its models with an ASCII default, so a call that leaves the encoding out works in a
terminal and fails in the server. ruff's rule PLW1514 knows the types of few objects; this one goes by the names of
methods, and also sees the pipes of subprocesses.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.files import library_path, opened_path, path_of_library, read_json, write_json

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in (".", "nld_trt", "tests", "bench", "examples", "docs")
    for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
)


def mode_of(call: ast.Call, position: int, default: str) -> str | None:
    """The mode that a call opens with; None if the sources do not say."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    if not given:
        return default
    return str(given[0].value) if isinstance(given[0], ast.Constant) else None


def text_mode(position: int, default: str) -> Callable[[ast.Call], bool]:
    """Whether a call that takes its mode at ``position`` opens text."""

    def opens_text(call: ast.Call) -> bool:
        mode = mode_of(call, position, default)
        return mode is not None and re.fullmatch("[rwxat+]+", mode) is not None

    return opens_text


def compressed_text(call: ast.Call) -> bool:
    return "t" in (mode_of(call, 1, "rb") or "")


def text_pipe(call: ast.Call) -> bool:
    return any(
        keyword.arg in ("text", "universal_newlines") and getattr(keyword.value, "value", None) is True
        for keyword in call.keywords
    )


def names_a_file(call: ast.Call) -> bool:
    return any(keyword.arg == "filename" for keyword in call.keywords)


def always(call: ast.Call) -> bool:
    return True


# Name of a function or method, as it is called -> (whether such a call is about text, position of the encoding).
FUNCTIONS: dict[str, tuple[Callable[[ast.Call], bool], int]] = {
    "open": (text_mode(1, "r"), 3),
    "io.open": (text_mode(1, "r"), 3),
    "os.fdopen": (text_mode(1, "r"), 3),
    "gzip.open": (compressed_text, 3),
    "bz2.open": (compressed_text, 3),
    "lzma.open": (compressed_text, 99),
    "tempfile.NamedTemporaryFile": (text_mode(0, "w+b"), 2),
    "tempfile.TemporaryFile": (text_mode(0, "w+b"), 2),
    "tempfile.SpooledTemporaryFile": (text_mode(1, "w+b"), 3),
    "io.TextIOWrapper": (always, 1),
    "logging.FileHandler": (always, 2),
    "logging.basicConfig": (names_a_file, 99),
    "subprocess.getoutput": (always, 99),
    "subprocess.getstatusoutput": (always, 99),
    "os.popen": (always, 99),
}
METHODS: dict[str, tuple[Callable[[ast.Call], bool], int]] = {
    "read_text": (always, 0),
    "write_text": (always, 1),
    # Many classes have an open(); a path's takes the mode first, or nothing.
    "open": (text_mode(0, "r"), 2),
}
ANY_CALL = (text_pipe, 99)


def calls_without_encoding(source: str) -> Iterator[ast.Call]:
    """Calls in ``source`` whose text would be in the locale's encoding."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        method = name.rpartition(".")[2] if isinstance(call.func, ast.Attribute) else ""
        about_text, position = FUNCTIONS.get(name) or METHODS.get(method) or ANY_CALL
        if not about_text(call) and not text_pipe(call):
            continue
        given = [keyword.value for keyword in call.keywords if keyword.arg == "encoding"]
        given += call.args[position : position + 1]
        if not given or getattr(given[0], "value", "utf-8") in (None, "locale"):
            yield call


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_call_that_handles_text_names_its_encoding(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    found = [f"{path}:{call.lineno}: {ast.unparse(call)}" for call in calls_without_encoding(source)]
    assert not found, 'these need encoding="utf-8":\n' + "\n".join(found)


def test_the_linter_holds_the_rule_everywhere() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "PLW1514" in lint["select"]
    assert lint["preview"]
    assert not any("PLW" in rule for rules in lint["per-file-ignores"].values() for rule in rules)


@pytest.mark.parametrize(
    "source",
    [
        "open(p)", "open(p, 'w')", "open(p, mode='a')", "io.open(p)", "p.read_text()", "(a / b).write_text(t)",
        "p.open()", "p.open('w', newline='')", "subprocess.run(c, text=True)", "Popen(c, universal_newlines=True)",
        "os.fdopen(n)", "tempfile.NamedTemporaryFile('w')", "gzip.open(p, 'rt')", "io.TextIOWrapper(b)",
        "logging.FileHandler(p)", "logging.basicConfig(filename=p)", "p.read_text(encoding=None)",
        "open(p, encoding='locale')", "os.popen(c)", "subprocess.getoutput(c)",
    ],
)  # fmt: skip
def test_calls_in_the_locale_s_encoding_are_found(source: str) -> None:
    assert len(list(calls_without_encoding(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "open(p, 'rb')", "open(p, encoding='utf-8')", "open(p, 'r', -1, 'utf-8')", "p.read_text('utf-8')",
        "p.write_text(t, 'utf-8')", "p.open('rb')", "EngineFolder.open(p)", "subprocess.run(c)", "gzip.open(p)",
        "subprocess.run(c, text=False)", "tempfile.NamedTemporaryFile()", "os.fdopen(n, 'wb')",
        "subprocess.run(c, text=True, encoding='utf-8')", "logging.basicConfig(level=1)", "p.read_bytes()",
    ],
)  # fmt: skip
def test_other_calls_are_left_alone(source: str) -> None:
    assert not list(calls_without_encoding(source))


@given(st.text(st.characters(), max_size=20))
def test_any_text_survives_a_json_file(tmp_path_factory, text: str) -> None:
    """Half a surrogate pair too, which UTF-8 cannot hold: names of files have them, and so may JSON."""
    path = tmp_path_factory.getbasetemp() / "text.json"
    write_json(path, {"text": text})
    # json joins the two escapes of a pair that was written in halves.
    assert read_json(path)["text"] == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_any_path_survives_a_library(name: bytes) -> None:
    path = Path(os.fsdecode(b"/a/" + name))
    assert path_of_library(library_path(path)) == path


def test_library_is_not_asked_to_open_a_path_that_is_no_text() -> None:
    assert opened_path(Path("/a/\u00fc")) == "/a/\u00fc"
    with pytest.raises(InputError, match="bytes that are not UTF-8"):
        opened_path(Path(os.fsdecode(b"/a/\xff")))
