# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""SDAR over a stock Qwen3 model: the weights, the mask of blocks, and its decoding written out as a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from tests.stock_models import edit_config, make_stock

MASK = 383
EOS = (2, 7)


@dataclass(frozen=True)
class Answer:
    """Tokens of an answer, and how many passes each of its blocks was denoised in."""

    tokens: list[int]
    passes: list[int]


def make_sdar(folder: Path, block_length: int = 4) -> tuple[Any, Checkpoint]:
    """A random model of transformers and the converted SDAR checkpoint of its weights."""
    model = make_stock("qwen3", folder / "release")
    (folder / "release" / "generation_config.json").unlink()
    edit_config(
        folder / "release", model_type="sdar", architectures=["SDARForCausalLM"], mask_token_id=MASK,
        block_size=block_length, eos_token_id=[*EOS],
    )  # fmt: skip
    convert(folder / "release", folder / "converted")
    return model, Checkpoint.open_converted(folder / "converted")


@torch.no_grad()
def block_logits(model: Any, ids: Sequence[int], block_length: int) -> torch.Tensor:
    """Logits [S, V] where a token sees its block and all that is before it; blocks begin at the first token."""
    places = torch.arange(len(ids))
    seen = places[None] // block_length <= places[:, None] // block_length
    mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill(~seen, float("-inf"))
    return model(torch.tensor([list(ids)]), attention_mask=mask).logits[0]


def decode(
    model: Any,
    prompt: Sequence[int],
    block_length: int,
    max_new_tokens: int,
    threshold: float | None = None,
    choose: Callable[[torch.Tensor], torch.Tensor] | None = None,
    quota: int = 1,
) -> Answer:
    """The answer, computed without a cache: every pass reads all tokens up to the end of its block.

    Args:
        choose: the tokens [B] of logits [B, V]; the most likely ones unless told.
        quota: masks that a pass fills at least.
    """
    done, tokens, passes = len(prompt) // block_length * block_length, list(prompt), []
    while True:
        known = tokens[done:]
        block = known + [MASK] * (block_length - len(known))
        passes.append(0)
        while MASK in block:
            logits = block_logits(model, tokens[:done] + block, block_length)[done:]
            probabilities = logits.softmax(-1)
            logits[:, MASK] = float("-inf")
            choice = logits.argmax(-1) if choose is None else choose(logits)
            confidence = [
                float(probabilities[slot, choice[slot]]) if token == MASK else -1.0 for slot, token in enumerate(block)
            ]
            order = sorted(range(block_length), key=confidence.__getitem__, reverse=True)
            taken = {slot for slot in order[:quota] if block[slot] == MASK}
            if threshold is not None:
                taken |= {slot for slot in range(block_length) if confidence[slot] >= threshold}
            for slot in taken:
                block[slot] = int(choice[slot])
            passes[-1] += 1
        tokens = tokens[:done] + block
        done += block_length
        answer = tokens[len(prompt) :]
        ends = next((place for place, token in enumerate(answer, 1) if token in EOS), len(answer) + 1)
        if min(ends, max_new_tokens) <= len(answer):
            return Answer(answer[: min(ends, max_new_tokens)], passes)
