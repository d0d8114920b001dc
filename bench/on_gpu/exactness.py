# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 1: the engine computes what it should.

Every golden case token for token in FP32, and how many in BF16; the text of linear and of quadratic is that of AR; a
row's tokens do not depend on the batch; logits against those of ONNX Runtime on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.jsonl import run_lines
from nld_trt.decode.request import Request
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import Session, execute
from on_gpu.engines import GOLDENS, golden_engine
from on_gpu.settings import Settings
from tests.golden_cases import NAMES, differences, golden_cases, request_line

_ROWS = 8
_TOKENS = 24
_BLOCKS = (4, 8, 16)


def run(settings: Settings) -> dict[str, Any]:
    count = 60 if settings.quick else 2000
    found: dict[str, Any] = {"golden_cases": _goldens(settings, names.FP32)}
    if settings.on_gpu and not settings.quick:
        found["golden_cases_bf16"] = _goldens(settings, names.BF16)
    folder = golden_engine("tiny-a", names.FP32, settings)
    session = folder.open_session(names.TORCH)
    found["modes"] = _modes(session, count)
    found["rows"] = _rows(session, count // 10)
    found["logits"] = _logits(folder, golden_engine("tiny-a", names.FP32, settings, names.ORT), max(count // 100, 4))
    exact = [not each["different"] for each in found["golden_cases"].values()]
    exact += [not found["modes"]["different"], not found["rows"]["different"]]
    return {**found, "passed": all(exact) and found["logits"]["relative_error"] <= found["logits"]["allowed"]}


def _goldens(settings: Settings, precision: str) -> dict[str, Any]:
    found = {}
    for name in NAMES:
        session = golden_engine(name, precision, settings).open_session(names.TORCH)
        cases = golden_cases(GOLDENS, name)
        for rows in (_ROWS,) if settings.quick else (1, _ROWS):
            results = list(run_lines(map(request_line, cases), Batch(session, max_rows=rows)))
            wrong = differences(cases, results)
            found[f"{name}, {rows} rows"] = {"cases": len(cases), "different": len(wrong), "ids": wrong[:20]}
    return found


def _requests(session: Session, count: int, mode: str, seed: int = 0) -> list[Request]:
    """Random prompts, the same for every mode."""
    rng, vocab = np.random.default_rng(seed), session.info.config.vocab_size
    mask = session.info.config.mask_token_id
    made = []
    for _ in range(count):
        tokens = rng.integers(0, vocab, rng.integers(1, 64))
        prompt = tuple(int(token) for token in np.where(tokens == mask, (mask + 1) % vocab, tokens))
        block = int(rng.choice(_BLOCKS))
        made.append(
            Request(
                prompt_ids=prompt,
                mode=mode,  # type: ignore[arg-type]
                max_new_tokens=_TOKENS,
                block_length=None if mode == names.AR else block,
                temperature=0.0,
            )
        )
    return made


def _tokens(session: Session, requests: Sequence[Request], rows: int) -> list[tuple[int, ...]]:
    results = dict(generate(Batch(session, max_rows=rows), requests))
    return [tuple(results[index].tokens) for index in range(len(requests))]


def _modes(session: Session, count: int) -> dict[str, Any]:
    expected = _tokens(session, _requests(session, count, names.AR), _ROWS)
    different = {
        mode: sum(
            found != wanted
            for found, wanted in zip(_tokens(session, _requests(session, count, mode), _ROWS), expected, strict=True)
        )
        for mode in names.NLD_SPECULATIVE
    }
    return {"cases": count, "different": sum(different.values()), "by_mode": different}


def _rows(session: Session, count: int) -> dict[str, Any]:
    """Requests of all modes in one batch, against each by itself."""
    requests = [request for mode in names.NLD_MODES for request in _requests(session, count // 4 + 1, mode, seed=1)]
    together, alone = (_tokens(session, requests, rows) for rows in (_ROWS, 1))
    return {"cases": len(requests), "different": sum(a != b for a, b in zip(together, alone, strict=True))}


def _logits(ours: EngineFolder, reference: EngineFolder, count: int) -> dict[str, Any]:
    """The largest difference of logits, over the largest logit, in causal and bidirectional passes."""
    sessions = [ours.open_session(names.TORCH, debug=True), reference.open_session(names.ORT, debug=True)]
    rng, worst = np.random.default_rng(2), 0.0
    for _ in range(count):
        width, cached, causal = int(rng.integers(1, 17)), int(rng.integers(0, 200)), bool(rng.integers(0, 2))
        prompt = rng.integers(0, ours.manifest.config.vocab_size, cached + width)
        logits = [_logits_of(session, prompt, cached, causal) for session in sessions]
        worst = max(worst, float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[1]).max()))
    return {"passes": count, "relative_error": worst, "allowed": 1e-3}


def _logits_of(session: Session, tokens: np.ndarray, cached: int, causal: bool) -> np.ndarray:
    """Logits of the tokens after the first ``cached``, which are prefilled in chunks."""
    chunk = session.info.limits.prompt_chunk
    session.reserve(1, len(tokens) + session.info.limits.max_block_length)
    places = [*range(0, cached, chunk), cached]
    for start, stop in pairwise(places):
        _pass(session, tokens[start:stop], start, True, 1)
    width = len(tokens) - cached
    return _pass(session, tokens[cached:], cached, causal, width)["logits"][0, :width].copy()


def _pass(session: Session, tokens: np.ndarray, cached: int, causal: bool, window: int) -> Any:
    width = len(tokens)
    buffers = session.step(1, width, window)
    for name, array in buffers.inputs.items():
        if name not in ("sampled_slots", "attended_slots"):
            array[...] = 0
    plain = {
        "tokens": tokens, "cache_length": cached, "valid_count": width, "causal": causal, "eos_token_id": -1,
        "logit_rows": np.arange(window) if window > 1 else width - 1, "top_p": 1.0, "ensemble": 1.0, "drafted_ids": -1,
    }  # fmt: skip
    for name, value in plain.items():
        buffers.inputs[name][...] = value
    execute(session, buffers)
    return buffers.outputs
