# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Between text and tokens: the chat template, incremental decoding, stop strings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nld_trt.errors import InputError
from nld_trt.files import library_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE, TEMPLATE_FILE, SETTINGS_FILE = "tokenizer.json", "chat_template.jinja", "tokenizer_config.json"


class Codec:
    """A checkpoint's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: str | None, special: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._special = dict(special)

    @classmethod
    def open(cls, folder: Path) -> Codec | None:
        """The codec of an engine or checkpoint folder, or None if it has no tokenizer.

        Raises:
            InputError: a tokenizer file that cannot be read.
        """
        from tokenizers import Tokenizer

        path = folder / TOKENIZER_FILE
        if not path.is_file():
            return None
        try:
            tokenizer = Tokenizer.from_file(library_path(path))
            settings = json.loads(_read(folder / SETTINGS_FILE)) if (folder / SETTINGS_FILE).is_file() else {}
        except Exception as error:  # the tokenizers library raises plain Exception
            raise InputError(f"the tokenizer in {folder.name} cannot be read: {error}") from error
        template = settings.get("chat_template")
        if (folder / TEMPLATE_FILE).is_file():
            template = _read(folder / TEMPLATE_FILE)
        special = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in settings.items()
            if name in ("bos_token", "eos_token") and value
        }
        return cls(tokenizer, template, special)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of raw text, as the tokenizer's own post-processor makes them."""
        return tuple(self._tokenizer.encode(text).ids)

    def encode_chat(self, messages: Sequence[Mapping[str, str]], *, thinking: bool = False) -> tuple[int, ...]:
        """Token ids of a conversation, rendered with the checkpoint's own template.

        Raises:
            InputError: there is no template, or it rejects the messages.
        """
        import minijinja

        if self._template is None:
            raise InputError(
                "the checkpoint has no chat template",
                fix="Pass --raw to use the prompt as it is, or convert from a checkpoint with chat_template.jinja.",
            )
        environment = minijinja.Environment(templates={"chat": self._template}, trim_blocks=True, lstrip_blocks=True)
        values: dict[str, Any] = {
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": True,
            "enable_thinking": thinking,
            **self._special,
        }
        try:
            text = environment.render_template("chat", **values)
        except minijinja.TemplateError as error:
            raise InputError(f"the checkpoint's chat template rejected the messages: {error}") from error
        # The template decides about BOS: a post-processor that adds another would double it (model-spec 1.6).
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, prompt: str, *, system: str | None = None, raw: bool = False) -> tuple[int, ...]:
        """One user prompt: as it is with ``raw``, else as a conversation with an optional system message.

        Raises:
            InputError: both ``raw`` and ``system``, or the template cannot render the conversation.
        """
        if raw and system:
            raise InputError("a raw prompt has no system message", fix="Leave out raw, or the system message.")
        if raw:
            return self.encode(prompt)
        messages = [{"role": "system", "content": system}] if system else []
        return self.encode_chat([*messages, {"role": "user", "content": prompt}])

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def stream(self, stop: Sequence[str] = ()) -> TextStream:
        return TextStream(self._tokenizer, stop)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}", fix="Save it in UTF-8."
        ) from error


class TextStream:
    """Turns tokens into text as they come, and watches for stop strings.

    Text that could still become a stop string is held back until it cannot.

    Attributes:
        text: all that became final.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Text that became final with this token; empty while a character or a stop string is open."""
        if self.stopped:
            return ""
        piece = self._stream.step(self._tokenizer, token) or ""
        if not self._stop:
            self.text += piece
            return piece
        self._held += piece
        found = [position for text in self._stop if (position := self._held.find(text)) >= 0]
        if found:
            self.stopped = True
            return self._release(min(found), drop_rest=True)
        return self._release(len(self._held) - self._open_stop())

    def finish(self) -> str:
        """The text still held back at the end."""
        return "" if self.stopped else self._release(len(self._held))

    def _open_stop(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        return max(
            (size for text in self._stop for size in range(1, len(text)) if self._held.endswith(text[:size])), default=0
        )

    def _release(self, count: int, *, drop_rest: bool = False) -> str:
        released, rest = self._held[:count], self._held[count:]
        self._held = "" if drop_rest else rest
        self.text += released
        return released
