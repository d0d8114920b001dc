# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt quantize`` and ``inspect`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nld_trt.cli import run

SMALL = ("--calib-dataset", "nld-tiny", "--calib-size", "4", "--calib-seq-len", "96")


@pytest.fixture
def command(converted, tmp_path: Path, capsys):
    """Run quantize on nld-tiny: (exit status, stdout, stderr); the target is ``tmp_path / "out"``."""

    def ask(*arguments: object, checkpoint: Path | None = None) -> tuple[int, str, str]:
        source = checkpoint or converted("nld-tiny")
        status = run(["quantize", str(source), "-o", str(tmp_path / "out"), *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ask


def nothing_left(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.suffix not in (".jsonl", ".txt", ".yaml")]


@pytest.mark.parametrize(
    ("flag", "algorithm"), [("--fp8", "FP8"), pytest.param("--int4", "W4A16_AWQ", marks=pytest.mark.slow)]
)
def test_short_form_quantizes_and_says_what_it_did(command, flag: str, algorithm: str) -> None:
    status, out, err = command(flag, *SMALL)
    assert status == 0
    assert f"{algorithm} checkpoint in" in out
    assert "bits per weight" in out
    assert "peak memory" in out
    assert "calibrating on 4 documents" in err
    assert "diffusion_head stay as they are" in err
    assert "of 7 layers" in err
    assert " s left" in err


def test_json_is_one_object_and_the_rest_is_talk(command, tmp_path: Path) -> None:
    status, out, _ = command("--qformat", "int4_rtn", "--json")
    assert status == 0
    assert json.loads(out)["manifest"] == json.loads((tmp_path / "out" / "checkpoint.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_recipe_file_is_taken(command, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        (root / "quantize" / "int4_rtn.yaml").read_text(encoding="utf-8").replace("-1: 128", "-1: 32"), encoding="utf-8"
    )
    status, out, _ = command("--recipe", path, "--json")
    facts = json.loads(out)["manifest"]["quantization"]
    assert status == 0
    assert facts["recipe"] == "mine"
    assert facts["formats"][0]["group_size"] == 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no quantization format was given"),
        (("--int4", "--fp8"), "--int4 and --fp8 were given"),
        (("--qformat", "int3"), "no quantization format 'int3'"),
        (("--recipe", "absent.yaml"), "is not a file"),
        (("--int4", "--calib-mix", "0.5,0.5"), "not a calibration mix"),
        (("--int4", "--calib-mix", "0,0.5,0.5"), "at least 0.1 are needed"),
        (("--int4", "--calib-size", "0"), "--calib-size is 0"),
        (("--int4", "--calib-seq-len", "1"), "--calib-seq-len is 1"),
        (("--int4", "--seed", "-1"), "--seed is -1"),
        (("--int4", "--calib-dataset", "absent"), "absent"),
    ],
)
def test_bad_usage_is_refused_by_name(command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = command(*arguments)
    assert status == 2
    assert out == ""
    assert said in err
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"), [("empty.jsonl", ""), ("short.txt", "a"), ("blank.jsonl", '{"text": ""}\n'), ("no.jsonl", "{}\n")]
)
def test_calibration_data_that_holds_nothing_is_refused(command, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    status, _, err = command("--int4", "--calib-dataset", path)
    assert status == 2
    assert name in err
    assert nothing_left(tmp_path)


def test_release_that_was_not_converted_is_refused(command, root: Path) -> None:
    status, _, err = command("--int4", checkpoint=root / "examples" / "nld-tiny")
    assert status == 2
    assert "nld-trt convert" in err


def test_quantized_checkpoint_is_refused(command, quantized) -> None:
    status, _, err = command("--fp8", checkpoint=quantized("int4_rtn"))
    assert status == 2
    assert "already quantized (MIXED_PRECISION)" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_nvfp4_without_a_gpu_names_the_alternative(command, tmp_path: Path) -> None:
    status, _, err = command("--nvfp4", *SMALL)
    assert status == 2
    assert "--qformat w4a16_nvfp4" in err
    assert nothing_left(tmp_path)


def test_checkpoint_without_a_tokenizer_says_what_is_missing(command, converted) -> None:
    status, _, err = command("--int4", checkpoint=converted("tiny-a"))
    assert status == 2
    assert "tokenizer.json" in err


def test_formats_without_calibration_need_no_tokenizer(command, converted) -> None:
    assert command("--qformat", "fp8_pc_pt", checkpoint=converted("tiny-a"))[0] == 0


def test_interruption_is_told_and_resumed(command, tmp_path: Path, monkeypatch) -> None:
    from nld_trt.quantization.workplace import Workplace

    store = Workplace.store

    def interrupt(self, part, tensors):
        store(self, part, tensors)
        if part == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Workplace, "store", interrupt)
    status, _, err = command("--qformat", "int4_rtn")
    assert status == 130
    assert f"3 finished layers are kept in {tmp_path / '.out.quantizing'}" in err
    assert [path.name for path in tmp_path.iterdir()] == [".out.quantizing"]
    monkeypatch.setattr(Workplace, "store", store)
    status, _, err = command("--qformat", "int4_rtn")
    assert status == 0
    assert "resuming at layer 3 of 6" in err


def test_interruption_before_the_first_layer_leaves_nothing(command, tmp_path: Path, monkeypatch) -> None:
    from nld_trt.quantization.workplace import Workplace

    def interrupt(self, part, tensors):
        raise KeyboardInterrupt

    monkeypatch.setattr(Workplace, "store", interrupt)
    assert command("--qformat", "int4_rtn")[0] == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_settings_that_were_cut_off_begin_anew(command, tmp_path: Path) -> None:
    (tmp_path / ".out.quantizing").mkdir()
    (tmp_path / ".out.quantizing" / "settings.json").write_text('{"recipe": ', encoding="utf-8")
    assert command("--qformat", "int4_rtn")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_second_run_into_the_same_folder_is_refused(command, tmp_path: Path, monkeypatch, capsys, converted) -> None:
    from nld_trt.quantization.workplace import Workplace

    store, seen = Workplace.store, []

    def meanwhile(self, part, tensors):
        store(self, part, tensors)
        if not seen:
            arguments = ["quantize", str(converted("nld-tiny")), "-o", str(tmp_path / "out"), "--qformat", "fp8_pc_pt"]
            seen.append((run(arguments), capsys.readouterr().err))

    monkeypatch.setattr(Workplace, "store", meanwhile)
    assert command("--qformat", "int4_rtn")[0] == 0
    status, err = seen[0]
    assert status == 2
    assert "is being written by another process" in err
    assert "process: " in err
    facts = json.loads((tmp_path / "out" / "checkpoint.json").read_text(encoding="utf-8"))["quantization"]
    assert facts["recipe"] == "int4_rtn"


def test_inspect_shows_the_audit(quantized, capsys) -> None:
    assert run(["inspect", str(quantized("fp8")), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "quantized converted checkpoint"
    assert facts["quantization"]["algorithm"] == "FP8"
    assert facts["quantization"]["problems"] == []
    assert not facts["quantization"]["head_quantized"]


def test_calibration_is_rendered_by_the_template_that_was_chosen(converted, tmp_path: Path) -> None:
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.quantization.calibration_set import CalibrationSettings

    other = tmp_path / "other.jinja"
    other.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", encoding="utf-8")
    checkpoint = Checkpoint.open(converted("nld-tiny"))
    plain, chosen = (
        CalibrationSettings("nld-tiny", size=4, seq_len=96, chat_template=template).prepare(checkpoint).sha256
        for template in (None, str(other))
    )
    assert plain != chosen


def test_chat_template_that_is_not_there_is_refused(command, tmp_path: Path) -> None:
    status, _, err = command("--fp8", *SMALL, "--chat-template", "nope")
    assert status == 2
    assert "the chat template 'nope' is neither a file nor one of the checkpoint's" in err
    assert nothing_left(tmp_path)
