# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where commands put their results: tried before the work, shown before they are written."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from nld_trt.cli import run
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError

SHORT = ("--repeats", "3", "--context", "8", "--block-length", "4")
SMALL = ("--modes", "ar", "--max-new-tokens", "4")


@pytest.fixture(scope="module")
def built(converted, tmp_path_factory):
    target = tmp_path_factory.mktemp("output") / "engine"
    flags = ("--max-seq-len", "256", "--max-batch-size", "2")
    assert run(["build", str(converted("nld-tiny")), "-o", str(target), *flags]) == 0
    return target


@pytest.fixture(scope="module")
def prompts(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text(
        "\n".join((root / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()[:2]) + "\n",
        encoding="utf-8",
    )
    return path


# Command -> its arguments, with the file or folder of its results at the end.
COMMANDS = {
    "evaluate": lambda engine, prompts: ["evaluate", engine, "--prompts", prompts, *SMALL, "-o"],
    "bench loop": lambda engine, prompts: ["bench", "loop", engine, *SHORT, "-o"],
    "generate": lambda engine, prompts: ["generate", engine, "--input", prompts, "--output"],
    "sweep": lambda engine, prompts: ["sweep", engine, "--prompts", prompts, *SMALL, "--no-plots", "-o"],
}


def call(name: str, engine: Path, prompts: Path, target: Path | str, *flags: str) -> int:
    return run([str(argument) for argument in [*COMMANDS[name](engine, prompts), target, *flags]])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["file/x", "/proc/self/x", "taken"])
def test_place_that_cannot_be_written_is_refused_before_the_work(
    built, prompts, tmp_path, monkeypatch, capsys, name, place
) -> None:
    monkeypatch.setattr(EngineFolder, "open", lambda path: pytest.fail("the engine was opened"))
    (tmp_path / "file").touch()
    taken = tmp_path / "taken"
    if name == "sweep":
        taken.touch()
    else:
        taken.mkdir()
    assert call(name, built, prompts, tmp_path / place) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert {path.name for path in tmp_path.iterdir()} == {"file", "taken"}


@pytest.mark.parametrize("name", ["evaluate", "bench loop"])
def test_result_is_shown_although_it_cannot_be_written_in_the_end(
    built, prompts, tmp_path, monkeypatch, capsys, name
) -> None:
    def broken(source, target) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(os, "replace", broken)
    assert call(name, built, prompts, tmp_path / "x.json", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["backend"] == "ort"
    assert "x.json cannot be written any more: broken" in captured.err


@pytest.mark.parametrize("name", ["evaluate", "bench loop"])
def test_result_is_written_although_nobody_reads_it(built, prompts, tmp_path, monkeypatch, name) -> None:
    class Gone:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise OSError(5, "the terminal is gone")

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(OSError, match="the terminal is gone"):
        call(name, built, prompts, tmp_path / "x.json", "--json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["backend"] == "ort"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("name", ["evaluate", "bench loop", "generate"])
def test_result_goes_through_a_link_and_keeps_the_files_mode(built, prompts, tmp_path, capsys, name) -> None:
    (tmp_path / "real.json").touch()
    (tmp_path / "real.json").chmod(0o664)
    (tmp_path / "link.json").symlink_to("real.json")
    before = os.umask(0o077)
    try:
        call(name, built, prompts, tmp_path / "link.json")
    finally:
        os.umask(before)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o664
    assert (tmp_path / "real.json").stat().st_size > 0


def test_refused_sweep_leaves_no_folder(built, prompts, tmp_path) -> None:
    assert call("sweep", built, prompts, tmp_path / "a" / "results", "--block-length", "x") == 2
    assert list(tmp_path.iterdir()) == []


def test_table_of_a_sweep_is_shown_before_its_plots(built, prompts, tmp_path, monkeypatch, capsys) -> None:
    plots = pytest.importorskip("nld_trt.measure.sweep.plots")
    pytest.importorskip("matplotlib")

    def broken(rows, folder, title):
        raise InputError("no plots today")

    monkeypatch.setattr(plots, "draw", broken)
    arguments = ["sweep", str(built), "--prompts", str(prompts), *SMALL, "--requests", "1", "--repeats", "1"]
    assert run([*arguments, "--warmup", "0", "--plots", "-o", str(tmp_path / "results")]) == 2
    captured = capsys.readouterr()
    assert "no plots today" in captured.err
    assert "tokens/s" in captured.out


@pytest.mark.parametrize("command", ["build", "quantize"])
def test_folder_that_cannot_be_made_is_refused_before_the_checkpoint_is_read(
    converted, tmp_path, monkeypatch, capsys, command
) -> None:
    from nld_trt.model.checkpoint import Checkpoint

    monkeypatch.setattr(Checkpoint, "open_converted", lambda path, **options: pytest.fail("the checkpoint was read"))
    (tmp_path / "file").touch()
    flags = ["--qformat", "int4_rtn"] if command == "quantize" else []
    assert run([command, str(converted("nld-tiny")), "-o", str(tmp_path / "file" / "out"), *flags]) == 2
    assert "Cannot create a folder" in capsys.readouterr().err


@pytest.fixture
def piped():
    """Makes the path of a pipe that holds a text, as a shell does for ``<(command)``."""
    opened = []

    def make(text: str) -> str:
        reader, writer = os.pipe()
        opened.append(reader)
        os.write(writer, text.encode())
        os.close(writer)
        return f"/dev/fd/{reader}"

    yield make
    for descriptor in opened:
        os.close(descriptor)


def test_requests_and_template_can_come_from_pipes(built, tmp_path, piped) -> None:
    lines = piped('{"messages": [{"role": "user", "content": "a"}], "max_new_tokens": 2}\n')
    template = piped("{{ messages[0].content }}")
    target = tmp_path / "out.jsonl"
    command = ["generate", str(built), "--input", lines, "--chat-template", template, "--output", str(target)]
    assert run(command) == 0
    assert len(json.loads(target.read_text(encoding="utf-8"))["output_ids"]) == 2


NEXT = {
    "convert": lambda source, target: ["convert", source, "-o", target],
    "build": lambda source, target: ["build", source, "-o", target, "--max-seq-len", "256"],
    "repo": lambda source, target: ["repo", source, "-o", target],
}


def test_commands_that_notes_give_can_be_pasted(root, tmp_path, capsys) -> None:
    source, folder = root / "examples" / "nld-tiny", tmp_path / "a folder 'of' \"mine\" $HOME ü"
    for name, arguments in NEXT.items():
        target = folder / name
        assert run([str(word) for word in arguments(source, target)]) == 0
        note = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("next: "))
        assert str(target) in shlex.split(note)
        source = target
