# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Modes of families: what a network was not trained for is refused by name wherever it can be asked for."""

from __future__ import annotations

import pytest

from nld_trt import names
from nld_trt.cli import run
from nld_trt.decode.jsonl import parse_request
from nld_trt.decode.request import Request, modes_of
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.graph.contract import Limits
from nld_trt.measure.variant import SWEPT, parse_variants
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.release_config import release_config
from nld_trt.model.releases import PRESETS, Geometry
from nld_trt.model.synthetic import write_synthetic
from nld_trt.model.text.conversation import Conversation

CONFIG = ModelConfig.from_hf(release_config(PRESETS["qwen3-8b"]))
INFO = EngineInfo(CONFIG, Limits(2, 64, 1, 32), "ort", "fp32", has_adapter=False)
PROMPT = (1, 2, 3)
OTHERS = [mode for mode in names.NLD_MODES if mode != names.AR]
REFUSED = "which Qwen3 was not trained for; it decodes in ar"


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> EngineFolder:
    """A tiny engine of a family without MASK."""
    folder = tmp_path_factory.mktemp("qwen3")
    write_synthetic(Geometry(64, 96, 1, 1e6, 4, 2, 32, 256, family_name="qwen3"), folder / "release")
    convert(folder / "release", folder / "converted")
    plan = BuildPlan("ort", "fp32", Limits(2, 64, 1, 32), adapter=False)
    build_engine(Checkpoint.open_converted(folder / "converted"), [plan], folder / "engine")
    return EngineFolder.open(folder / "engine")


@pytest.mark.parametrize("mode", OTHERS)
def test_a_request_in_another_mode_is_refused(mode):
    with pytest.raises(InputError, match=REFUSED):
        Request(PROMPT, mode).resolved(INFO)


@pytest.mark.parametrize("mode", [None, names.AR, names.AUTO])
def test_no_mode_and_auto_mean_the_only_one(mode):
    resolved = Request(PROMPT, mode).resolved(INFO)
    assert (resolved.mode, resolved.block_length, resolved.auto) == (names.AR, 1, False)


def test_a_line_of_a_requests_file_needs_no_mode():
    assert parse_request({"prompt_ids": [1, 2]}, None).resolved(INFO).mode == names.AR


def test_a_thinking_budget_needs_no_mode():
    asked = Request(PROMPT, max_thinking_tokens=3, end_think_token_id=9)
    assert asked.resolved(INFO).max_thinking_tokens == 3


def test_no_token_is_kept_from_being_generated_or_from_ending_an_answer():
    assert CONFIG.mask_token_id is None
    assert Request(PROMPT, eos_token_id=100).resolved(INFO).eos_token_ids == (100,)


def test_modes_and_what_is_measured_are_those_of_the_family():
    assert modes_of(INFO) == (names.AR,)
    assert [variant.name for variant in parse_variants(None, INFO, known=SWEPT)] == [names.AR]
    assert [variant.name for variant in parse_variants("auto,ar", INFO, known=SWEPT)] == [names.AR]
    with pytest.raises(InputError, match=REFUSED):
        parse_variants("ar,linear", INFO)


def test_plan_knows_forwards_and_no_rate_where_none_was_published(capsys):
    assert run(["plan", "sdar-8b", "--platform", "h100"]) == 0
    shown = capsys.readouterr().out
    assert "no number: diffusion: how many tokens a forward of SDAR makes" in shown
    assert "ms of a forward  rows  new tokens" in shown
    assert run(["plan", "sdar-8b", "--platform", "h100", "--mode", "linear"]) == 2
    assert "which SDAR was not trained for; it decodes in diffusion" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--mode", "linear"], ["--mode", "diffusion"]])
def test_commands_refuse_it_and_leave_nothing(engine, tmp_path, capsys, words):
    assert run(["repo", str(engine.path), "-o", str(tmp_path / "repo"), *words]) == 2
    assert REFUSED in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()
    assert run(["plan", "qwen3-8b", "--platform", "h100", *words]) == 2
    assert REFUSED in capsys.readouterr().err


def test_a_repository_serves_the_only_mode_by_default(engine, tmp_path):
    assert run(["repo", str(engine.path), "-o", str(tmp_path / "repo")]) == 0
    settings = read_json(tmp_path / "repo" / "nld" / "1" / "model.json")
    assert settings["defaults"]["mode"] == names.AR
    benchmark = (tmp_path / "repo" / "aiperf.yaml").read_text(encoding="utf-8")
    assert "endpoint.extra.mode: [ar]" in benchmark


def test_plan_has_no_blocks_where_there_are_none(capsys):
    assert run(["plan", "qwen3-4b", "--platform", "h100"]) == 0
    shown = capsys.readouterr().out
    assert "\nar " in shown
    assert "linear" not in shown
    assert "better than blocks" not in shown
    assert run(["plan", "qwen3-4b", "--platform", "h100", "--block-length", "8"]) == 2
    assert "which has no blocks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "changes", "text"),
    [
        (
            "ministral-8b",
            {"max_seq_len": 40000},
            "attention of Mistral forgets tokens after 32768",
        ),
        ("qwen3-8b", {"max_block_length": 8}, "block_length is 8; Qwen3 decodes in ar, which has no blocks"),
    ],
)
def test_engines_that_would_compute_something_else_are_refused(tmp_path, preset, changes, text):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "vocab_size": 256}
    family = PRESETS[preset].family_name
    write_synthetic(Geometry(**sizes, rope_theta=1e6, family_name=family), tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    limits = Limits(**{"max_batch_size": 1, "max_seq_len": 64, "max_block_length": 1, "prompt_chunk": 32, **changes})
    longer = ModelConfig.from_dict({**checkpoint.config.to_dict(), "max_position_embeddings": 131072})
    with pytest.raises(InputError, match=text):
        build_engine(_with(checkpoint, longer), [BuildPlan("ort", "fp32", limits, adapter=False)], tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def _with(checkpoint: Checkpoint, config: ModelConfig) -> Checkpoint:
    return Checkpoint(**{**vars(checkpoint), "config": config})


def test_an_image_in_a_request_is_refused():
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(InputError, match=r"messages\[0\]\.content\[1\] is an image \(type 'image_url'\)"):
        Conversation.parse({"messages": [{"role": "user", "content": content}]})
