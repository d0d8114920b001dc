# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a checkpoint's tokenizer and chat template before a request needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import Conversation
from nld_trt.model.text.files import TEMPLATE_FILE, TOKENIZER_FILE, read_text, template_files
from nld_trt.model.text.template import DEFAULT_NAME, read_templates
from nld_trt.model.text.tokenizer import open_tokenizer, tokens_beyond

_QUESTION = "What is the capital of France?"
# The first messages of a chat, by their names in warnings. Some templates require a system message, some forbid it.
_OPENINGS: dict[str, list[dict[str, Any]]] = {
    "one user message": [{"role": "user", "content": _QUESTION}],
    "a system and a user message": [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": _QUESTION},
    ],
}
# Files with a tokenizer in another format, from which transformers makes tokenizer.json.
_OTHER_TOKENIZERS = ("tokenizer.model", "tekken.json", "vocab.json")
# The most tokens that a message lists.
_MOST = 20


def check_text(folder: Path, vocab_size: int) -> list[str]:
    """Open the tokenizer and templates of a checkpoint folder. Returns a sentence about everything that will not work.

    Args:
        vocab_size: number of rows of the model's embedding.

    Raises:
        InputError: one of the files cannot be read, a template is not valid, or a token has no embedding.
    """
    found = open_tokenizer(folder)
    if found is None:
        for path in template_files(folder):
            read_text(path)
        others = "".join(f" ({name} is not read)" for name in _OTHER_TOKENIZERS if (folder / name).is_file())
        return [
            f"{folder} has no {TOKENIZER_FILE}{others}: text prompts, chat messages and stop strings will not work, "
            "only token ids (prompt_ids)"
        ]
    beyond = tokens_beyond(found.tokenizer, vocab_size)
    if beyond:
        rest = [f"and {len(beyond) - _MOST} more"] if len(beyond) > _MOST else []
        raise InputError(
            f"the tokenizer in {folder} has {len(beyond)} tokens that the model, with a vocabulary of {vocab_size}, "
            "has no embedding for",
            details=[*beyond[:_MOST], *rest],
            fix="Use tokenizer and weights of one release. If tokens were added, resize the model's embedding.",
        )
    templates = read_templates(folder, found.settings)
    for chosen in templates.values():
        chosen.check()
    return _template_warnings(folder, Codec(found.tokenizer, templates, found.special))


def _template_warnings(folder: Path, codec: Codec) -> list[str]:
    if not codec.templates:
        return [f"{folder} has no chat template ({TEMPLATE_FILE}): prompts will need --raw or --chat-template FILE"]
    if DEFAULT_NAME not in codec.templates:
        return [
            f"{folder} has several chat templates and no default: prompts will need --chat-template NAME "
            f"with one of {', '.join(codec.templates)}"
        ]
    problems = {name: found for name, messages in _OPENINGS.items() if (found := _problem(codec, messages))}
    if len(problems) == len(_OPENINGS):
        listed = "; ".join(f"{name}: {found}" for name, found in problems.items())
        return [f"no conversation could be rendered, so chat prompts may not work. {listed}"]
    plain = next(iter(_OPENINGS))
    if plain in problems:
        return [f"a prompt without --system will not work: {problems[plain]}"]
    return []


def _problem(codec: Codec, messages: list[dict[str, Any]]) -> str | None:
    """Render a conversation. Returns what is wrong with the result, or None."""
    try:
        text = codec.render(Conversation(messages))
        codec.encode_part(text)
    except InputError as error:
        return error.what
    title = codec.templates[DEFAULT_NAME].title
    return None if _QUESTION in text else f"{title} leaves out what the user says"
