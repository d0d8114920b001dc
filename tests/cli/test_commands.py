# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The commands as a user runs them, on nld-tiny and the goldens."""

from __future__ import annotations

import json

import pytest

from nld_trt.cli import run
from nld_trt.engine.ort.session import OrtSession

QUESTION = "Convert 37 km to m."
SMALL = ("--max-seq-len", "256", "--max-batch-size", "4")


@pytest.fixture(scope="module")
def built(converted, tmp_path_factory):
    """An engine folder of nld-tiny made by the command itself."""
    target = tmp_path_factory.mktemp("command") / "engine"
    assert run(["build", str(converted("nld-tiny")), "-o", str(target), *SMALL]) == 0
    return target


@pytest.fixture(scope="module")
def prompts(root, tmp_path_factory):
    lines = (root / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def ask(capsys, *arguments):
    """(exit status, stdout, stderr) of a command."""
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear"])
def test_generate_streams_the_answer_and_a_summary(built, capsys, mode):
    status, out, err = ask(capsys, "generate", built, QUESTION, "--mode", mode)
    assert status == 0
    assert "37000 m" in out
    assert f"[{mode}, " in err
    assert "tokens per forward" in err


def test_generate_json_is_one_object(built, capsys):
    status, out, _ = ask(capsys, "generate", built, QUESTION, "--json")
    values = json.loads(out)
    assert status == 0
    assert values["finish_reason"] == "stop"
    assert values["tokens"] == len(values["output_ids"])
    assert values["acceptance_length"] > 1


def test_a_seed_repeats_a_sampled_answer_and_every_summary_shows_it(built, capsys):
    flags = ("--temperature", 4, "--top-k", 50, "--top-p", 0.95, "--min-p", 0.01, "--acceptance", "match")
    _, out, _ = ask(capsys, "generate", built, QUESTION, *flags, "--json")
    values = json.loads(out)
    status, out, err = ask(capsys, "generate", built, QUESTION, *flags, "--seed", values["seed"])
    assert status == 0
    assert out == values["text"] + "\n"
    assert f"seed {values['seed']}" in err
    _, _, err = ask(capsys, "generate", built, QUESTION)
    assert "seed" not in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--temperature", "nan"), "temperature is nan"),
        (("--temperature", "-1"), "temperature is -1.0"),
        (("--top-p", "0"), "top_p is 0.0"),
        (("--seed", "-4"), "seed is -4"),
        (("--mode", "diffusion", "--top-k", "3"), "top_k is 3; diffusion"),
    ],
)
def test_wrong_sampling_flag_is_refused_by_name(built, capsys, flags, message):
    status, out, err = ask(capsys, "generate", built, QUESTION, *flags)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("json_flag", [(), ("--json",)])
def test_logits_that_are_not_finite_end_generate_with_status_1(built, capsys, monkeypatch, json_flag):
    launch = OrtSession.launch

    def overflow(self, buffers):
        launch(self, buffers)
        buffers.outputs["finite"][:] = buffers.inputs["causal"]

    monkeypatch.setattr(OrtSession, "launch", overflow)
    status, out, err = ask(capsys, "generate", built, QUESTION, *json_flag)
    assert status == 1
    assert "logits are not finite in a draft pass" in err
    assert "Rebuild with another --precision" in err
    if json_flag:
        assert json.loads(out)["finish_reason"] == "error"


def test_stop_string_ends_the_text_before_it(built, capsys):
    _, out, _ = ask(capsys, "generate", built, QUESTION, "--stop", "The answer")
    assert "so 37 km" in out
    assert "The answer" not in out


def test_batch_form_reports_bad_lines_and_exits_1(built, capsys, tmp_path):
    requests, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_text(json.dumps({"id": "a", "prompt": QUESTION}) + '\n{"id": "b"}\n', encoding="utf-8")
    status, _, _ = ask(capsys, "generate", built, "--input", requests, "--output", results)
    first, second = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    assert status == 1
    assert "37000 m" in first["text"]
    assert second["id"] == "b"
    assert "error" in second


@pytest.fixture
def shouting(tmp_path_factory):
    """A chat template that asks another question than the user."""
    path = tmp_path_factory.mktemp("template") / "shouting.jinja"
    start, end = "<|im_start|>", "<|im_end|>\\n"
    path.write_text(
        f"{{{{ '{start}system\\n{end}{start}user\\nConvert 2 km to m.{end}{start}assistant\\n<think></think>' }}}}",
        encoding="utf-8",
    )
    return path


def test_generate_takes_another_template_without_a_rebuild(built, capsys, shouting):
    status, out, _ = ask(capsys, "generate", built, QUESTION, "--chat-template", shouting)
    assert (status, "2000 m" in out) == (0, True)
    status, out, _ = ask(capsys, "generate", built, QUESTION, "--chat-template", "default")
    assert (status, "37000 m" in out) == (0, True)


def test_requests_take_messages_and_the_template_that_was_asked_for(built, capsys, tmp_path, shouting):
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": QUESTION},
    ]
    requests, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps({"messages": messages}) for messages in (turns, turns[2:])]
    requests.write_text("\n".join(lines), encoding="utf-8")
    assert ask(capsys, "generate", built, "--input", requests, "--output", results)[0] == 0
    texts = [json.loads(line)["text"] for line in results.read_text(encoding="utf-8").splitlines()]
    assert len(texts) == 2
    assert "37000 m" in texts[1]
    arguments = ("--input", requests, "--output", results, "--chat-template", shouting)
    assert ask(capsys, "generate", built, *arguments)[0] == 0
    assert all("2000 m" in json.loads(line)["text"] for line in results.read_text(encoding="utf-8").splitlines())


def test_evaluate_asks_with_the_template_that_was_given(built, prompts, capsys, shouting):
    flags = ("--prompts", prompts, "--modes", "ar", "--max-new-tokens", 40, "--limit", 2)
    _, out, _ = ask(capsys, "evaluate", built, *flags, "--chat-template", shouting, "--json")
    assert json.loads(out)["scores"][0]["accuracy"] == 0


def test_a_sweep_with_another_template_is_another_measurement(built, prompts, capsys, tmp_path, shouting):
    sweep = ("sweep", built, "--prompts", prompts, "--modes", "ar", "--max-new-tokens", 4, "-o", tmp_path / "s",
             "--requests", 1, "--warmup", 0, "--repeats", 1, "--no-plots")  # fmt: skip
    for flags, measured in (((), True), (("--chat-template", shouting), True), (("--chat-template", shouting), False)):
        status, _, err = ask(capsys, *sweep, *flags)
        assert (status, "point 1/1" in err) == (0, measured)


def test_a_batch_with_every_kind_of_bad_line_loses_those_lines_only(built, capsys, tmp_path):
    good = {"prompt": QUESTION, "max_new_tokens": 2}
    bad = ['{"id": 1' + "0" * 4999 + "}", "[" * 100_000, '{"prompt": "\\ud800"}', "\0", '{"messages": [[]]}', "{"]
    lines = [json.dumps(good), *bad, json.dumps(good)]
    requests, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_bytes("\n".join(lines).encode() + b"\n\xff\n")
    status, _, err = ask(capsys, "generate", built, "--input", requests, "--output", results)
    answers = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert status == 1
    assert "Traceback" not in err
    assert ["error" in answer for answer in answers] == [False, *[True] * len(bad), False, True]


def test_an_argument_that_is_no_unicode_is_refused(built, capsys):
    for flags in ((), ("--raw",)):
        status, _, err = ask(capsys, "generate", built, "\udcff", *flags)
        assert (status, "is not UTF-8" in err) == (2, True)


def test_an_engine_without_a_tokenizer_is_built_with_a_word(converted, capsys, tmp_path):
    status, _, err = ask(capsys, "build", converted("tiny-a"), "-o", tmp_path / "e", "--max-seq-len", 64, "--dry-run")
    assert status == 0
    assert "has no tokenizer.json: the engine will take token ids, and no texts" in err


def test_evaluate_scores_every_mode(built, prompts, capsys, tmp_path):
    scores = tmp_path / "scores.json"
    status, out, _ = ask(capsys, "evaluate", built, "--prompts", prompts, "-o", scores)
    assert status == 0
    report = json.loads(scores.read_text(encoding="utf-8"))
    assert [score["mode"] for score in report["scores"]] == ["ar", "diffusion", "linear", "linear-no-lora"]
    assert all(score["mode"] in out for score in report["scores"])
    by_mode = {score["mode"]: score for score in report["scores"]}
    assert by_mode["linear"]["accuracy"] == by_mode["ar"]["accuracy"]
    assert by_mode["ar"]["tokens_per_forward"] == 1.0


def test_sweep_writes_its_files_and_resumes(built, prompts, capsys, tmp_path):
    folder = tmp_path / "results"
    command = ("sweep", built, "--prompts", prompts, "-o", folder, "--modes", "ar,linear", "--requests", 2,
               "--max-new-tokens", 8, "--repeats", 1, "--warmup", 0, "--concurrency", "1,2")  # fmt: skip
    status, out, _ = ask(capsys, *command)
    assert status == 0
    assert "tokens/s" in out
    names = {path.name for path in folder.iterdir()}
    assert {
        "summary.csv",
        "summary.json",
        "environment.json",
        "points",
        "by_mode.png",
        "pareto.png",
        "over_load.png",
    } == names
    _, _, err = ask(capsys, *command)
    assert "point " not in err


def test_sweep_uses_the_longest_block_of_an_engine_that_was_built_for_less(converted, prompts, capsys, tmp_path):
    engine = tmp_path / "engine"
    assert run(["build", str(converted("nld-tiny")), "-o", str(engine), *SMALL, "--block-length", "4"]) == 0
    arguments = ("--prompts", prompts, "-o", tmp_path / "r", "--max-new-tokens", 8, "--modes", "linear", "--dry-run")
    status, out, _ = ask(capsys, "sweep", engine, *arguments)
    assert status == 0
    assert "linear_b4_c1" in out


def test_an_id_with_half_a_surrogate_pair_comes_back(built, capsys, tmp_path):
    requests, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_text(r'{"id": "\ud800", "prompt_ids": [5], "max_new_tokens": 1}', encoding="utf-8")
    status, _, _ = ask(capsys, "generate", built, "--input", requests, "--output", results)
    assert status == 0
    assert json.loads(results.read_text(encoding="utf-8"))["id"] == "\ud800"


def test_an_engine_without_the_adapter_is_another_measurement(converted, built, prompts, capsys, tmp_path):
    bare = tmp_path / "engine"
    assert run(["build", str(converted("nld-tiny")), "-o", str(bare), *SMALL, "--no-lora"]) == 0
    command = ("--prompts", prompts, "-o", tmp_path / "r", "--modes", "linear", "--requests", 1, "--repeats", 1,
               "--max-new-tokens", 4, "--warmup", 0, "--no-plots")  # fmt: skip
    for engine in (built, bare):
        _, _, err = ask(capsys, "sweep", engine, *command)
        assert "point 1/1" in err


def test_sweep_dry_run_lists_points_and_writes_nothing(built, prompts, capsys, tmp_path):
    status, out, _ = ask(
        capsys, "sweep", built, "--prompts", prompts, "-o", tmp_path / "r", "--dry-run", "--modes", "ar"
    )
    assert status == 0
    assert "ar_c1" in out
    assert not (tmp_path / "r").exists()


def test_inspect_knows_each_kind(built, converted, goldens, capsys):
    kinds = {}
    for path in (built, converted("nld-tiny"), goldens / "tiny-a"):
        status, out, _ = ask(capsys, "inspect", path, "--json")
        assert status == 0
        kinds[path.name] = json.loads(out)["kind"]
    assert list(kinds.values()) == ["engine", "converted checkpoint", "release checkpoint"]


def test_build_dry_run_writes_nothing(converted, capsys, tmp_path):
    status, out, _ = ask(capsys, "build", converted("tiny-a"), "-o", tmp_path / "e", "--dry-run", "--json")
    assert status == 0
    assert json.loads(out)["plans"][0]["backend"] == "ort"
    assert list(tmp_path.iterdir()) == []


def test_flags_win_over_the_config_file(converted, capsys, tmp_path):
    config = tmp_path / "build.yaml"
    config.write_text("backends: [ort]\nmax_batch_size: 2\nmax_seq_len: 100\n", encoding="utf-8")
    arguments = ("build", converted("tiny-a"), "-o", tmp_path / "e", "--config", config, "--max-batch-size", 3)
    _, out, _ = ask(capsys, *arguments, "--dry-run", "--json")
    plan = json.loads(out)["plans"][0]
    assert (plan["max_batch_size"], plan["max_seq_len"]) == (3, 100)


def test_underscores_are_understood(converted, capsys, tmp_path):
    status, _, _ = ask(
        capsys, "build", converted("tiny-a"), "--output_dir", tmp_path / "e", "--max_seq_len", 64, "--dry_run"
    )
    assert status == 0


REFUSALS = {
    "no prompt": (("generate", "{engine}"), "PROMPT or --input"),
    "no engine": (("generate", "{tmp}", "hi"), "nld-trt build"),
    "prompt over capacity": (("generate", "{engine}", "hi", "--max-new-tokens", "9999"), "--max-seq-len"),
    "block over profile": (("generate", "{engine}", "hi", "--block-length", "64"), "--block-length"),
    "bad threshold": (("generate", "{engine}", "hi", "--threshold", "high"), "'high'"),
    "release given to build": (("build", "{golden}", "-o", "{tmp}/e"), "nld-trt convert"),
    "engine exists": (("build", "{checkpoint}", "-o", "{engine}"), "--force"),
    "no room for a token": (("build", "{checkpoint}", "-o", "{tmp}/e", "--max-seq-len", "1"), "at least 2"),
    "bf16 on ort": (("build", "{checkpoint}", "-o", "{tmp}/e", "--precision", "bf16"), "bf16"),
    "unknown yaml key": (("build", "{checkpoint}", "-o", "{tmp}/e", "-c", "{yaml}"), "max_batch"),
    "platform without backend": (
        ("build", "{checkpoint}", "-o", "{tmp}/e", "--backend", "ort", "--platform", "dgx-spark"), "dgx-spark"
    ),
    "flag that a requests file would ignore": (
        ("generate", "{engine}", "--input", "{prompts}", "--output", "{tmp}/o", "--max-new-tokens", "4"),
        "--max-new-tokens goes with a PROMPT",
    ),
    "system message of a raw prompt": (("generate", "{engine}", "hi", "--raw", "--system", "x"), "raw prompt"),
    "template that is none": (("generate", "{engine}", "hi", "--chat-template", "{yaml}x"), "templates are default"),
    "template of a raw prompt": (("generate", "{engine}", "hi", "--raw", "--chat-template", "default"), "--raw leaves"),
    "template that cannot be compiled": (
        ("repo", "{engine}", "-o", "{tmp}/r", "--chat-template", "{broken}"), "is not a template"
    ),
    "template for evaluate that is no text": (
        ("evaluate", "{engine}", "--prompts", "{prompts}", "--chat-template", "{binary}"), "is not UTF-8"
    ),
    "block of zero": (("generate", "{engine}", "hi", "--block-length", "0"), "block_length is 0"),
    "prompts that are no text": (("evaluate", "{engine}", "--prompts", "{binary}"), "line 1"),
    "scores into no folder": (
        ("evaluate", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/none/s.json"), "does not exist"
    ),
    "sweep of too many tokens": (
        ("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/r", "--max-new-tokens", "9999"), "9999"
    ),
    "sweep with no threshold": (
        ("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/r", "--threshold", "nan"), "threshold is nan"
    ),
    "empty list": (("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/r", "--concurrency", ","), "','"),
    "inspect nothing": (("inspect", "{tmp}"), "neither"),
    "unknown mode in evaluate": (("evaluate", "{engine}", "--prompts", "{prompts}", "--modes", "warp"), "warp"),
    "concurrency over engine": (
        ("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/r", "--concurrency", "99"), "99"
    ),
    "sweep into another folder": (("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{golden}"), "not a sweep"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_exits_2_with_the_fix_and_writes_nothing(built, converted, goldens, prompts, capsys, tmp_path, case):
    arguments, message = REFUSALS[case]
    yaml = tmp_path.parent / f"{tmp_path.name}.yaml"
    yaml.write_text("max_batch: 3\n", encoding="utf-8")
    binary = yaml.with_suffix(".jsonl")
    binary.write_bytes(b"\xff\xfe\x00\n")
    broken = yaml.with_suffix(".jinja")
    broken.write_text("{% if %}", encoding="utf-8")
    names = {
        "engine": built, "checkpoint": converted("nld-tiny"), "golden": goldens / "tiny-a", "tmp": tmp_path,
        "prompts": prompts, "yaml": yaml, "binary": binary, "broken": broken,
    }  # fmt: skip
    status, out, err = ask(capsys, *(argument.format(**names) for argument in arguments))
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
