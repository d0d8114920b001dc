# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes text and conversations as tokens, and decodes tokens, with a checkpoint's tokenizer and chat templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nld_trt.errors import InputError
from nld_trt.files.json_text import is_unicode
from nld_trt.model.text import markers, template
from nld_trt.model.text.ceiling import check_ceiling
from nld_trt.model.text.conversation import Conversation
from nld_trt.model.text.streaming import TextStream
from nld_trt.model.text.template import ChatTemplate
from nld_trt.model.text.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The most tokens that the text of a marker and the space after it take.
_MARKER_TOKENS = 16


# Texts of the token that ends the thinking before an answer, by which checkpoints differ.
_END_OF_THINKING = ("</think>", "[/THINK]")


class Codec:
    """A checkpoint's tokenizer and chat templates.

    Attributes:
        templates: the chat templates by name; ``default`` is the one for conversations without tools.
        max_tokens: texts that certainly have more tokens are refused before they are tokenized; None for no limit.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        templates: Mapping[str, ChatTemplate],
        special: Mapping[str, str],
        max_tokens: int | None = None,
    ) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._special = dict(special)
        self.templates = dict(templates)
        self._markers = {token: text for text in markers.TEXTS if (token := tokenizer.token_to_id(text)) is not None}
        self._fronts = _fronts(tokenizer, special.get("bos_token"))

    @classmethod
    def open(cls, folder: Path, chat_template: str | None = None, *, max_tokens: int | None = None) -> Codec | None:
        """Open the codec of an engine or checkpoint folder. Returns None if it has no tokenizer.

        Args:
            chat_template: name of one of the checkpoint's templates, or path of a Jinja file, to be used for every
                conversation; None for the checkpoint's templates.
            max_tokens: what an engine was built for; None for texts of any length.

        Raises:
            InputError: a tokenizer or template file cannot be read, or there is no such template.
        """
        found = open_tokenizer(folder)
        if found is None:
            if chat_template is not None:
                raise InputError(
                    f"--chat-template {chat_template} was given, and {folder} has no tokenizer to go with it",
                    fix="Leave it out and give token ids, or convert from a checkpoint with tokenizer.json.",
                )
            return None
        try:
            templates = template.read_templates(folder, found.settings)
        except InputError:
            # Templates that cannot be read do not matter where a file replaces them. A name would need them.
            if chat_template is None or not template.is_readable(chat_template):
                raise
            templates = {}
        return cls(found.tokenizer, template.choose(templates, chat_template), found.special, max_tokens)

    @property
    def end_of_thinking(self) -> int | None:
        """The id of the token that ends the thinking before an answer; None where the tokenizer has none."""
        found = (self._tokenizer.token_to_id(text) for text in _END_OF_THINKING)
        return next((token for token in found if token is not None), None)

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode a whole text, with the tokens that the tokenizer's post-processor adds, such as BOS.

        A text that already begins with BOS is a rendered conversation, to which nothing is added: in training the model
        saw neither a second BOS nor an EOS after a question.

        Raises:
            InputError: the text is not Unicode.
        """
        ids = self.encode_part(text)
        if any(ids[: len(front)] == front for front in self._fronts):
            return ids
        return tuple(self._tokenizer.encode(text).ids)

    def encode_part(self, text: str) -> tuple[int, ...]:
        """Encode a text that continues another one, without the tokens that the post-processor adds.

        Raises:
            InputError: the text is not Unicode, or has more tokens than ``max_tokens`` by far.
        """
        if not is_unicode(text):
            raise InputError("the prompt has text that is not Unicode")
        if self.max_tokens is not None:
            check_ceiling(text, self.max_tokens, self._count)
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def render(self, conversation: Conversation) -> str:
        """Render a conversation with the checkpoint's chat template, up to the start of the answer.

        ``enable_thinking`` is false where the conversation's own variables do not set it.

        Raises:
            InputError: there is no template, or it rejects the messages.
        """
        chosen = template.select(self.templates, tools=conversation.tools is not None)
        return chosen.render({"enable_thinking": False, **self._special, **conversation.template_values})

    def encode_conversation(self, conversation: Conversation) -> tuple[int, ...]:
        """Encode a conversation as :meth:`render` writes it.

        Raises:
            InputError: there is no template, or it rejects the messages.
        """
        # The template writes BOS where it is needed; the post-processor would add a second one (docs/model.md, Text).
        return self.encode_part(self.render(conversation))

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **beside: Any) -> tuple[int, ...]:
        """Encode messages. ``beside`` are further arguments of :class:`Conversation`.

        Raises:
            InputError: there is no template, or it rejects the messages.
        """
        return self.encode_conversation(Conversation(messages, **beside))

    def encode_prompt(self, prompt: str, *, system: str | None = None, raw: bool = False) -> tuple[int, ...]:
        """Encode one user prompt: unchanged with ``raw``, else as a conversation with an optional system message.

        Raises:
            InputError: both ``raw`` and ``system`` are given, or the template cannot render the conversation.
        """
        if raw and system:
            raise InputError("a raw prompt has no system message", fix="Leave out raw, or the system message.")
        if raw:
            return self.encode(prompt)
        return self.encode_conversation(Conversation.of_prompt(prompt, system))

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def token_text(self, token: int) -> str:
        """The text of one token, which for a special one is its name."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False))

    def stream(self, stop: Sequence[str] = (), *, keep_markers: bool = False, prompt: Sequence[int] = ()) -> TextStream:
        """Decode an answer as it arrives.

        Args:
            keep_markers: markers of thinking and of tool calls are part of the text, whether they are special tokens
                or not. If ``prompt`` ends with the one that opens the thinking, the text begins with it.
        """
        if not keep_markers:
            return TextStream(self._tokenizer, stop)
        opening = markers.THINKING.opening if self._opens_thinking(prompt) else ""
        return TextStream(self._tokenizer, stop, kept=self._markers, opening=opening)

    def _opens_thinking(self, prompt: Sequence[int]) -> bool:
        # A newline may follow the marker, and where it is no token of its own it has a few.
        end = self._tokenizer.decode(list(prompt[-_MARKER_TOKENS:]), skip_special_tokens=False)
        return str(end).rstrip().endswith(markers.THINKING.opening)


def _fronts(tokenizer: Tokenizer, bos_token: str | None) -> set[tuple[int, ...]]:
    """Find the ids with which a rendered text can begin: BOS, and what the post-processor adds before a text."""
    bos = None if bos_token is None else tokenizer.token_to_id(bos_token)
    fronts: set[tuple[int, ...]] = set() if bos is None else {(bos,)}
    bare, framed = tokenizer.encode("a", add_special_tokens=False).ids, tokenizer.encode("a").ids
    for count in range(1, len(framed) - len(bare) + 1):
        if bare and framed[count : count + len(bare)] == bare:
            return fronts | {tuple(framed[:count])}
    return fronts
