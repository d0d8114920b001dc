# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that decode open their engine as a Python caller does."""

from __future__ import annotations

import pytest

from nld_trt import Engine, InputError
from nld_trt.cli import run
from nld_trt.cli._output import output


@pytest.mark.parametrize(
    ("words", "backend"),
    [
        (["generate", "ENGINE", "Hello", "--backend", "ort"], "ort"),
        (["generate", "ENGINE", "--input", "PROMPTS", "--output", "OUT"], None),
        (["evaluate", "ENGINE", "--prompts", "PROMPTS", "--backend", "ort"], "ort"),
        (["bench", "loop", "ENGINE", "--backend", "ort"], "ort"),
        (["sweep", "ENGINE", "--prompts", "PROMPTS", "-o", "OUT"], None),
    ],
)
def test_command_opens_its_engine_through_the_python_interface(words, backend, tmp_path, monkeypatch, capsys):
    opened = []

    def refuse(folder, **options):
        opened.append((folder, options.get("backend"), options["progress"]))
        raise InputError("not this time")

    monkeypatch.setattr(Engine, "open", refuse)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "x"}\n', encoding="utf-8")
    paths = {"ENGINE": tmp_path / "engine", "PROMPTS": prompts, "OUT": tmp_path / "out"}
    assert run([str(paths.get(word, word)) for word in words]) == 2
    assert opened == [(tmp_path / "engine", backend, output)]
    assert "not this time" in capsys.readouterr().err
