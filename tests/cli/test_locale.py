# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Commands where the locale is not UTF-8: text is read, printed and written whole."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import click
import pytest

from nld_trt.cli import run
from nld_trt.cli._options import TEXT
from nld_trt.cli._output import Output, accept_every_character
from tests.conftest import run_in_ascii

PROMPT = "Sort these numbers: 42 17 é 日本😀"


@pytest.fixture(scope="module")
def answer(non_ascii_engine):
    """What `generate` prints where everything is UTF-8."""
    command = [
        sys.executable,
        "-m",
        "nld_trt",
        "-q",
        "generate",
        str(non_ascii_engine),
        PROMPT,
        "--max-new-tokens",
        "30",
    ]
    done = subprocess.run(command, env={**os.environ, "PYTHONUTF8": "1"}, capture_output=True, check=True)
    text = done.stdout.decode("utf-8")
    assert "é😀" in text
    return text


def test_a_pipe_that_is_not_utf_8_shows_escapes(non_ascii_engine, answer) -> None:
    done = run_in_ascii(["-q", "generate", str(non_ascii_engine), PROMPT, "--max-new-tokens", "30"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii") == answer.encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_an_encoding_that_the_user_chose_is_kept(non_ascii_engine, answer, encoding) -> None:
    arguments = ["-q", "generate", str(non_ascii_engine), PROMPT, "--max-new-tokens", "30"]
    done = run_in_ascii(arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout == answer.encode(encoding.partition(":")[0], "backslashreplace")


def test_json_has_the_whole_text_in_every_locale(non_ascii_engine, answer) -> None:
    done = run_in_ascii(["generate", str(non_ascii_engine), PROMPT, "--max-new-tokens", "30", "--json"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("ascii"))["text"] + "\n" == answer


def test_request_files_are_utf_8_in_every_locale(non_ascii_engine, answer, tmp_path) -> None:
    requests, results = tmp_path / "anfräge.jsonl", tmp_path / "résultats.jsonl"
    requests.write_text(
        json.dumps({"id": "日本", "prompt": PROMPT, "max_new_tokens": 30}, ensure_ascii=False), encoding="utf-8"
    )
    done = run_in_ascii(["generate", str(non_ascii_engine), "--input", str(requests), "--output", str(results)])
    assert done.returncode == 0, done.stderr
    (line,) = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    assert (line["id"], line["text"] + "\n") == ("日本", answer)


def test_a_repository_says_its_command_in_utf_8(non_ascii_engine, tmp_path) -> None:
    target = tmp_path / "dépôt\n2"
    done = run_in_ascii(["repo", str(non_ascii_engine), "-o", str(target)], ["inspect", str(target)])
    assert done.returncode == 0, done.stderr
    manifest = json.loads((target / "nld" / "manifest.json").read_text(encoding="utf-8"))
    assert str(target) in manifest["command"]
    assert "dépôt" in (target / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("text", ["plain", "é 日本 😀", "half a pair: \ud800", "a file's name: \udcff"])
def test_what_is_printed_as_json_reads_back(monkeypatch, encoding, text) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    accept_every_character()
    Output(json=True).result({"text": text})
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == {"text": text}


def test_bytes_of_a_name_that_are_no_text_are_printed_as_they_are(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    accept_every_character()
    Output().stream("a\udcffb")
    assert raw.getvalue() == b"a\xffb"


def test_text_given_in_another_locale_s_bytes_is_read_as_utf_8() -> None:
    assert TEXT.convert("é".encode().decode("ascii", "surrogateescape"), None, None) == "é"
    assert TEXT.convert("é", None, None) == "é"


def test_bytes_that_are_no_text_are_refused(capsys) -> None:
    with pytest.raises(click.BadParameter, match="is not UTF-8"):
        TEXT.convert("a\udcff", None, None)
    assert run(["generate", "engine", "a\udcff"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err
