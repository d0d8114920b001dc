# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of nld-tiny: byte-level BPE with single digits, chat markers at the releases' ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 400
BOS, IM_START, IM_END, THINK, END_THINK, MASK = "<s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|mask|>"
# The released models have BOS, EOS and the think markers at ids 1, 11, 12 and 13, and so has this tokenizer. Their
# MASK, id 100, would reserve a quarter of this vocabulary, so MASK is 15 here: no code may assume 100.
SPECIAL_TOKENS = (
    "<unk>", BOS, *(f"<|reserved_{i}|>" for i in range(2, 10)),
    IM_START, IM_END, THINK, END_THINK, "<|reserved_14|>", MASK,
)  # fmt: skip
BOS_ID, EOS_ID, MASK_ID = (SPECIAL_TOKENS.index(token) for token in (BOS, IM_END, MASK))

CHAT_TEMPLATE = """\
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}{%- set turns = messages -%}
{%- endif -%}
{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' -}}
{%- for message in turns -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\\n<think></think>' + message['content'] + '<|im_end|>\\n' -}}
    {%- else -%}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' + ('<think>\\n' if enable_thinking else '<think></think>') -}}
{%- endif -%}
"""


def chat_prompt(question: str) -> str:
    """Returns the text that the chat template renders for one user message without thinking."""
    opening = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
    return f"{opening}{question}<|im_end|>\n<|im_start|>assistant\n<think></think>"


def train(texts: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja`` as a release has them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": IM_END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
