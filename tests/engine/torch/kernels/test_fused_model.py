# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Requests through the network as a GPU runs it, kernel for kernel, on the CPU."""

from __future__ import annotations

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.jsonl import run_lines
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from tests.block_causal import decode, make_sdar
from tests.conftest import GOLDEN_LIMITS
from tests.engine.gpu.kernels.libraries import library
from tests.engine.torch.kernels.interpreted import open_interpreted
from tests.golden_cases import differences, golden_cases, request_line

__all__ = ["library"]

MODES = ("ar", "diffusion", "linear_spec", "linear_spec_lora")


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory) -> EngineFolder:
    target = tmp_path_factory.mktemp("engine") / "torch"
    build_engine(golden("tiny-a"), [BuildPlan("torch", "fp32", GOLDEN_LIMITS, adapter=True)], target)
    return EngineFolder.open(target)


@pytest.fixture
def open_session(folder, library):
    """Opens a session and the launcher of its decode kernels."""
    path = folder.path / folder.manifest.backends["torch"].files["weights"]
    return lambda *, debug=False: open_interpreted(path, folder.info("torch", debug=debug), library)


@pytest.fixture
def opened(open_session):
    return open_session()


def short_cases(goldens, mode: str, count: int):
    """The cases of a mode with the fewest forwards: a forward takes a good part of a second in the interpreter."""
    cases = [case for case in golden_cases(goldens, "tiny-a") if case["mode"] == mode and case["nfe"] is not None]
    return sorted(cases, key=lambda case: (case["nfe"], len(case["prompt_ids"])))[:count]


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.slow) if mode == "diffusion" else mode for mode in MODES]
)
def test_golden_cases_match_token_for_token(goldens, opened, mode):
    session, launcher = opened
    cases = short_cases(goldens, mode, 2)
    assert cases
    assert differences(cases, list(run_lines(map(request_line, cases), Batch(session)))) == []
    assert set(launcher.launched) == {"LogitStatistics", "DecodeStep", "Advance"}


@pytest.mark.slow
def test_golden_cases_of_all_modes_match_in_one_batch(goldens, opened):
    session, _ = opened
    cases = [case for mode in MODES for case in short_cases(goldens, mode, 4)]
    assert differences(cases, list(run_lines(map(request_line, cases), Batch(session)))) == []


# Requests whose tokens are sampled, or verified by more than the AR prediction: fields of a request by name.
SAMPLED = {
    "ar": {"mode": "ar"},
    "ar with filters": {"mode": "ar", "top_k": 20, "top_p": 0.9},
    "diffusion": {"mode": "diffusion", "block_length": 4},
    "linear": {"mode": "linear", "block_length": 4},
    "linear by rejection": {"mode": "linear", "block_length": 4, "acceptance": "reject"},
    "quadratic by an ensemble": {"mode": "quadratic", "block_length": 2, "ensemble": 0.5},
}


QUICK = ("linear by rejection", "quadratic by an ensemble")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLED]
)
def test_sampled_tokens_are_those_of_the_cpu(folder, opened, name):
    session, _ = opened
    request = Request(prompt_ids=(3, 14, 15, 92), max_new_tokens=6, temperature=0.8, seed=7, **SAMPLED[name])
    found, expected = (dict(generate(Batch(each), [request]))[0] for each in (session, folder.open_session("torch")))
    assert found.tokens == expected.tokens
    assert len(found.tokens) > 1


def test_block_causal_answers_are_those_of_the_loop(library, tmp_path):
    model, checkpoint = make_sdar(tmp_path)
    limits = Limits(max_batch_size=2, max_seq_len=64, max_block_length=4, prompt_chunk=4)
    build_engine(checkpoint, [BuildPlan("torch", "fp32", limits, adapter=False)], tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    path = folder.path / folder.manifest.backends["torch"].files["weights"]
    session, _ = open_interpreted(path, folder.info("torch"), library)
    # Chunks of a prompt, a prompt that is shorter than a block, and rows in different phases.
    requests = [
        Request(tuple(range(20, 20 + length)), max_new_tokens=tokens, threshold=0.02)
        for length, tokens in ((9, 3), (3, 3))
    ]
    results = dict(generate(Batch(session), requests))
    for number, request in enumerate(requests):
        expected = decode(model, request.prompt_ids, 4, request.max_new_tokens, 0.02)
        assert results[number].tokens == expected.tokens


def test_debug_outputs_change_no_sampled_token(open_session):
    request = Request(prompt_ids=(3, 14, 15), max_new_tokens=3, temperature=0.8, top_k=20, seed=7, mode="ar")
    sessions = [open_session(debug=debug)[0] for debug in (True, False)]
    with_logits, without = (dict(generate(Batch(session), [request]))[0].tokens for session in sessions)
    assert with_logits == without
