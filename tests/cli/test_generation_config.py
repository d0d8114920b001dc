# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What every command makes of a checkpoint's generation_config.json, from its conversion to its server."""

from __future__ import annotations

import json
import shutil

import pytest

from nld_trt.cli import run

QUESTION = "Convert 37 km to m."
STATED = {
    "eos_token_id": [11, 27], "do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 6,
    "repetition_penalty": 1.1, "transformers_version": "5.0.0",
}  # fmt: skip
TAKEN = "max_new_tokens 6, temperature 0.7, top_p 0.9"
IGNORED = "without effect in generation_config.json: repetition_penalty 1.1"
FACTS = {
    "max_new_tokens": 6, "temperature": 0.7, "top_k": None, "top_p": 0.9, "min_p": None,
    "ignored": ["repetition_penalty 1.1"],
}  # fmt: skip


@pytest.fixture
def ask(capsys):
    def ask(*arguments):
        """(exit status, stdout, stderr) of a command."""
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ask


@pytest.fixture(scope="module")
def release(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("defaults") / "release"
    shutil.copytree(root / "examples" / "nld-tiny", folder)
    (folder / "generation_config.json").write_text(json.dumps(STATED), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checkpoint(release):
    folder = release.parent / "checkpoint"
    assert run(["convert", str(release), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def engine(checkpoint):
    folder = checkpoint.parent / "engine"
    size = ("--max-seq-len", "128", "--max-batch-size", "2")
    assert run(["build", str(checkpoint), "-o", str(folder), *size]) == 0
    return folder


@pytest.mark.parametrize("form", ["nld", "ministral3"])
def test_convert_says_what_counts_and_what_does_not(release, ask, tmp_path, form):
    status, out, err = ask("convert", release, "-o", tmp_path / "out", "--to", form, "--json")
    assert status == 0
    assert f"defaults of requests, from generation_config.json: {TAKEN}\n{IGNORED}\n" in err
    assert json.loads(out)["generation"] == FACTS


def test_build_says_it_before_it_builds(checkpoint, ask, tmp_path):
    status, out, err = ask("build", checkpoint, "-o", tmp_path / "out", "--dry-run", "--json")
    assert status == 0
    assert f"defaults of requests, from generation_config.json: {TAKEN}\n{IGNORED}\n" in err
    assert json.loads(out)["generation"] == FACTS


@pytest.mark.parametrize("kind", ["release", "checkpoint", "engine"])
def test_inspect_lists_it(request, ask, kind):
    _, out, _ = ask("inspect", request.getfixturevalue(kind), "--json")
    facts = json.loads(out)
    assert facts["generation"] == FACTS
    assert facts.get("eos_token_id", facts.get("config", {}).get("eos_token_id")) == [11, 27]


def test_generate_takes_the_defaults_and_says_so(engine, ask):
    status, out, err = ask("generate", engine, QUESTION, "--json")
    assert status == 0
    assert f"defaults from generation_config.json: {TAKEN}\n" in err
    assert json.loads(out)["seed"] >= 0
    assert json.loads(out)["tokens"] <= 6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--temperature", "0"), "max_new_tokens 6"),
        (("--temperature", "0", "--max-new-tokens", "9"), None),
        (("--temperature", "0.5"), "max_new_tokens 6, top_p 0.9"),
        (("--top-p", "0.5", "--max-new-tokens", "9"), "temperature 0.7"),
        (("--mode", "diffusion"), "max_new_tokens 6, temperature 0.7"),
        (("--generation-config", "none", "--max-new-tokens", "9"), None),
    ],
)
def test_generate_names_the_defaults_that_take_part(engine, ask, flags, said):
    status, out, err = ask("generate", engine, QUESTION, *flags, "--json")
    assert status == 0
    lines = [line for line in err.splitlines() if "generation_config" in line]
    assert lines == ([f"defaults from generation_config.json: {said}"] if said else [])
    greedy = flags[:2] in (("--temperature", "0"), ("--generation-config", "none"))
    assert ("seed" not in json.loads(out)) == greedy


def test_lines_of_a_file_take_the_defaults(engine, ask, tmp_path):
    lines = [{"prompt": QUESTION}, {"prompt": QUESTION, "temperature": 0, "max_new_tokens": 3}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    files = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    status, _, err = ask("generate", engine, *files)
    plain, asked = map(json.loads, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert status == 0
    assert f"defaults from generation_config.json: {TAKEN}\n" in err
    assert ("seed" in plain, "seed" in asked) == (True, False)
    assert len(asked["output_ids"]) == 3


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_measurements_say_that_they_are_greedy(engine, ask, tmp_path, command):
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": QUESTION, "answer": "37000 m"}), encoding="utf-8")
    flags = ("--prompts", tmp_path / "prompts.jsonl", "--modes", "ar", "-o", tmp_path / "out")
    if command == "sweep":
        flags += ("--requests", "1", "--repeats", "1", "--warmup", "0", "--max-new-tokens", "4", "--no-plots")
    status, _, err = ask(command, engine, *flags)
    assert status == 0
    assert "measured greedily: temperature 0.7, top_p 0.9 of generation_config.json has no part in this" in err


@pytest.mark.parametrize(("flags", "source"), [((), "checkpoint"), (("--generation-config", "none"), "none")])
def test_a_repository_says_where_its_defaults_are_from(engine, ask, tmp_path, flags, source):
    status, _, err = ask("repo", engine, "-o", tmp_path / "repository", *flags)
    settings = json.loads((tmp_path / "repository" / "nld" / "1" / "model.json").read_text(encoding="utf-8"))
    assert status == 0
    assert settings["generation_config"] == source
    assert (f"defaults of requests, from generation_config.json: {TAKEN}" in err) == (source == "checkpoint")


def test_bad_values_end_every_command_with_their_name(release, ask, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(release, bad)
    (bad / "generation_config.json").write_text(json.dumps({"eos_token_id": [11, 10**9], "top_p": 2}), encoding="utf-8")
    for command in (("convert", bad, "-o", tmp_path / "out"), ("inspect", bad)):
        status, out, err = ask(*command)
        assert (status, out) == (2, "")
        assert "generation_config.json cannot be used\n  top_p is 2" in err
    (bad / "generation_config.json").write_text(json.dumps({"eos_token_id": [11, 10**9]}), encoding="utf-8")
    status, out, err = ask("convert", bad, "-o", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "eos_token_id has 1000000000; it must be a token id from 0 to vocab_size - 1" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"]
