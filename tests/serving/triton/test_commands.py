# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt repo`` and ``nld-trt client`` as a user runs them."""

from __future__ import annotations

import json

import pytest

from nld_trt.cli import run
from nld_trt.model.text.codec import Codec

PROMPT = "Convert 37 km to m."


def test_repo_writes_what_it_says(served_engine, tmp_path, capsys) -> None:
    target = tmp_path / "r"
    arguments = ["repo", str(served_engine.path), "-o", str(target), "--name", "mine", "--mode", "ar", "--raw"]
    assert run([*arguments, "--ignore-penalties", "--json"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert facts["model"] == "mine"
    assert facts["linked"] == len(served_engine.manifest.files) + 1
    assert json.loads((target / "mine" / "1" / "model.json").read_text(encoding="utf-8")) == facts["settings"]
    assert facts["settings"]["defaults"]["mode"] == "ar"
    assert f"nld-trt serve {target}" in captured.err
    assert run(arguments) == 2
    assert "--force" in capsys.readouterr().err


def test_inspect_describes_the_repository(repository, capsys) -> None:
    assert run(["inspect", str(repository), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "Triton model repository"
    assert facts["models"]["nld"]["decoupled"]


@pytest.mark.triton
def test_client_streams_the_answer_and_a_summary(server, direct, capsys) -> None:
    assert run(["client", server.triton.grpc_url, PROMPT, "--mode", "linear", "--max-new-tokens", "30"]) == 0
    captured = capsys.readouterr()
    assert captured.out == direct(PROMPT, max_tokens=30).text + "\n"
    assert captured.err.startswith("[linear, 30 tokens, ")
    assert "acceptance length" in captured.err


@pytest.mark.triton
def test_client_sends_a_conversation(server, direct, served_engine, tmp_path, capsys) -> None:
    turns = [
        {"role": "user", "content": "é"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": PROMPT},
    ]
    messages, tools = tmp_path / "messages.json", tmp_path / "tools.json"
    messages.write_text(json.dumps(turns, ensure_ascii=False), encoding="utf-8")
    tools.write_text("[]", encoding="utf-8")
    flags = ("--messages", str(messages), "--tools", str(tools), "--max-new-tokens", "30")
    assert run(["client", server.triton.grpc_url, *flags]) == 0
    expected = direct(list(Codec.open(served_engine.path).encode_chat(turns)), max_tokens=30)
    assert capsys.readouterr().out == expected.text + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either a PROMPT or --messages FILE"),
        ((PROMPT, "--messages", "{file}"), "give either a PROMPT or --messages FILE"),
        (("--messages", "{file}"), "messages is {}; it must be a list"),
        ((PROMPT, "--tools", "{file}"), "tools is {}; it must be a list of objects"),
        (("--messages", "{file}.none"), "cannot read"),
        (("\udcff",), "'[PROMPT]': '\\udcff' is not UTF-8"),
        ((PROMPT, "--system", "\udcff"), "'--system': '\\udcff' is not UTF-8"),
    ],
)
def test_client_refuses_prompts_without_a_server(tmp_path, capsys, arguments, message) -> None:
    file = tmp_path / "messages.json"
    file.write_text("{}", encoding="utf-8")
    assert run(["client", "localhost:9", *(argument.format(file=file) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.triton
def test_client_json_is_one_object(server, direct, capsys) -> None:
    flags = ["--mode", "diffusion", "--threshold", "null", "--block-length", "8", "--max-new-tokens", "20", "--json"]
    assert run(["client", server.triton.grpc_url, PROMPT, *flags]) == 0
    values = json.loads(capsys.readouterr().out)
    expected = direct(PROMPT, mode="diffusion", threshold=None, block_length=8, max_tokens=20)
    assert (values["text"], values["nfe"]) == (expected.text, expected.nfe)


@pytest.mark.triton
def test_client_samples_and_reports_the_seed(server, direct, capsys) -> None:
    flags = [
        "--mode",
        "linear",
        "--temperature",
        "4",
        "--top-k",
        "50",
        "--seed",
        "12",
        "--max-new-tokens",
        "20",
        "--json",
    ]
    assert run(["client", server.triton.grpc_url, PROMPT, *flags]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["text"] == direct(PROMPT, temperature=4.0, top_k=50, seed=12, max_tokens=20).text
    assert values["seed"] == 12


@pytest.mark.triton
def test_client_shows_the_server_s_refusal(server, capsys) -> None:
    assert run(["client", server.triton.grpc_url, PROMPT, "--block-length", "33"]) == 1
    assert "block_length is 33" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "1e39", "temperature is 1e+39"),
        ("--seed", "-1", "seed is -1; it must be a whole number"),
        ("--top-k", "4294967301", "top_k is 4294967301"),
        ("--ensemble", "nan", "ensemble is nan"),
    ],
)
def test_client_refuses_settings_without_a_server(capsys, option, value, message) -> None:
    assert run(["client", "localhost:9", PROMPT, option, value]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "0", "-1", "inf"])
def test_client_refuses_a_timeout_that_is_no_time(capsys, seconds: str) -> None:
    assert run(["client", "localhost:1", "a", "--timeout", seconds]) == 2
    assert f"the timeout is {float(seconds):g} s; it must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "0", "-1"])
@pytest.mark.parametrize("flag", ["--timeout", "--shutdown-timeout", "--patience"])
def test_serve_refuses_a_time_that_is_none(repository, capsys, flag: str, seconds: str) -> None:
    assert run(["serve", str(repository), flag, seconds]) == 2
    assert f"{flag} is {float(seconds):g}; it must be above 0" in capsys.readouterr().err
