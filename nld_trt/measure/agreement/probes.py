# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts that reach the positions where servers go wrong: short ones, and some around a change of the query scale."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt.model.config import ModelConfig
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import Conversation

# Short questions of several kinds, of which as many are asked as samples are wanted.
QUESTIONS: Final = (
    "Convert 37 km to m.",
    "Sort these numbers: 42 17 88 35",
    "What is the capital of France? Answer in one sentence.",
    "Count from one to twenty in words.",
    "Write a Python function that reverses a list.",
    "Name three colours and say what each of them is used for.",
    "Translate into German: The lamp is green.",
    "Explain in two sentences why the sky is blue.",
)
_AGAIN: Final = " Be brief."
_UNITS: Final = {("km", "m"): 1000, ("m", "cm"): 100, ("kg", "g"): 1000, ("l", "ml"): 1000, ("euros", "cents"): 100}


@dataclass(frozen=True)
class Range:
    """Positions that are looked at together.

    Attributes:
        name: for tables.
        length: tokens that a prompt has at most; None for a question alone.
    """

    name: str
    length: int | None


@dataclass(frozen=True)
class Probe:
    """One prompt: a conversation, and what it is as text and as token ids.

    Attributes:
        ids: of the text, as a tokenizer makes them that adds what its settings say.
    """

    messages: Sequence[Mapping[str, Any]]
    text: str
    ids: tuple[int, ...]


def ranges(config: ModelConfig, max_seq_len: int, max_tokens: int) -> list[Range]:
    """The ranges of positions that fit an engine of ``max_seq_len`` tokens, answers of ``max_tokens`` included.

    The query scale changes at multiples of ``original_max_position_embeddings``: there is a range just before the
    first change, one that begins after it, and one after the second.
    """
    original = config.rope.original_max_position_embeddings
    # A prompt has up to a line less than its range's length.
    slack = 4 * _LONGEST_LINE
    wanted = [
        Range("short", None),
        Range(f"before {original:,}", original - max_tokens),
        Range(f"from {original:,} on", original + slack),
        Range(f"from {2 * original:,} on", 2 * original + slack),
    ]
    fitting = [each for each in wanted if each.length is None or each.length + max_tokens <= max_seq_len]
    end = max_seq_len - max_tokens
    if len(fitting) < len(wanted) and end > (fitting[-1].length or 0) + slack:
        fitting.append(Range("the engine's end", end))
    return fitting


# Tokens that a line of the filler has at most, with any tokenizer that knows whole words of one letter at least.
_LONGEST_LINE: Final = 64


def probes(codec: Codec, chosen: Range, samples: int) -> list[Probe]:
    """Make the prompts of a range. They are the same in every run."""
    return [_probe(codec, chosen.length, number) for number in range(samples)]


def _probe(codec: Codec, length: int | None, number: int) -> Probe:
    """A question by itself; or, after as many turns as fit ``length`` tokens, one whose answer has been begun."""
    if length is None:
        return _asked(codec, [], QUESTIONS[number % len(QUESTIONS)] + _AGAIN * (number // len(QUESTIONS)))
    dice = random.Random(number)
    question, answer = _turn(dice)
    words = answer.split(" ")
    # Begun, because some models end an answer at once where the conversation is longer than what they were trained on.
    begun = " ".join(words[: 2 + number % (len(words) - 3)])
    alone = _asked(codec, [], question, begun)
    one = len(_asked(codec, [_turn(dice)], question, begun).ids) - len(alone.ids)
    # Turns have about the same length; the last ones are taken away again if they are too many.
    turns = [_turn(dice) for _ in range(max(1, (length - len(alone.ids)) // one + 2))]
    while len((found := _asked(codec, turns, question, begun)).ids) > length and turns:
        turns.pop()
    return found


def _asked(codec: Codec, turns: Sequence[tuple[str, str]], question: str, begun: str = "") -> Probe:
    messages: list[dict[str, Any]] = []
    for asked, answered in turns:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    messages.append({"role": "user", "content": question})
    text = codec.render(Conversation(messages)) + begun
    return Probe(messages, text, codec.encode(text))


def _turn(dice: random.Random) -> tuple[str, str]:
    """An easy question and its answer."""
    (source, target), factor = dice.choice(list(_UNITS.items()))
    amount = dice.randint(2, 999)
    answer = f"1 {source} = {factor} {target}, so {amount} {source} = {amount} * {factor} {target}."
    return f"Convert {amount} {source} to {target}.", f"{answer} The answer is {amount * factor} {target}."
