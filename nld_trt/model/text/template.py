# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Chat templates: reads those of a checkpoint, selects one, and renders conversations with it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nld_trt.errors import InputError
from nld_trt.model.text.files import SETTINGS_FILE, TEMPLATE_FILE, read_text, template_files

if TYPE_CHECKING:
    from jinja2 import Template

DEFAULT_NAME, TOOLS_NAME = "default", "tool_use"
# The file name in tracebacks that Jinja uses for a template given as text.
_FRAME = "<template>"


@dataclass(frozen=True)
class ChatTemplate:
    """One chat template.

    Attributes:
        title: its name in messages, such as ``the chat template chat_template.jinja``.
    """

    title: str
    source: str

    def check(self) -> None:
        """Raise InputError, which names the line, if the template is empty or cannot be compiled."""
        if not self.source.strip():
            raise InputError(f"{self.title} is empty")
        _ = self._compiled

    def render(self, values: Mapping[str, Any]) -> str:
        """Render the template with ``values``, its variables by name.

        Raises:
            InputError: the template cannot be compiled, or raises an exception. The message has the line, and the text
                that the template passed to ``raise_exception``.
        """
        compiled = self._compiled
        try:
            return compiled.render(values)
        except Exception as error:  # a template is a program, and any operation in it can fail
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FRAME]
            place = f" in line {lines[-1]}" if lines else ""
            raise InputError(f"{self.title} rejected the messages{place}: {_sentence(error)}") from error

    @cached_property
    def _compiled(self) -> Template:
        from jinja2 import TemplateSyntaxError

        from nld_trt.model.text import sandbox

        try:
            return sandbox.environment().from_string(self.source)
        except TemplateSyntaxError as error:
            raise InputError(f"{self.title} is not a template: {error.message} in line {error.lineno}") from error
        except Exception as error:  # Python refuses the code that Jinja made: a break outside a loop, or deep nesting
            raise InputError(f"{self.title} is not a template: {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    from jinja2 import TemplateError

    if isinstance(error, TemplateError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def read_templates(folder: Path, settings: Mapping[str, Any]) -> dict[str, ChatTemplate]:
    """Read the templates of a checkpoint or engine folder, by name, with the precedence of transformers.

    Template files are used if there are any; else ``chat_template`` in ``tokenizer_config.json``: one text, a list of
    objects with ``name`` and ``template``, or an object of texts by name. A single text is called ``default``.

    Args:
        settings: the content of ``tokenizer_config.json``.

    Raises:
        InputError: a file cannot be read, or a template is not a text.
    """
    files = {DEFAULT_NAME if path.name == TEMPLATE_FILE else path.stem: path for path in template_files(folder)}
    if files:
        return {
            name: ChatTemplate(f"the chat template {path.relative_to(folder).as_posix()}", read_text(path))
            for name, path in files.items()
        }
    return {
        name: ChatTemplate(f"the chat template {name} in {SETTINGS_FILE}", source)
        for name, source in _declared(settings.get("chat_template")).items()
    }


def _declared(value: Any) -> dict[str, str]:
    """Returns the templates by name, for each form of ``chat_template`` in ``tokenizer_config.json``."""
    named: dict[Any, Any]
    if value is None:
        return {}
    if isinstance(value, str):
        named = {DEFAULT_NAME: value}
    elif isinstance(value, dict):
        named = value
    elif isinstance(value, list) and all(isinstance(entry, dict) and "name" in entry for entry in value):
        named = {str(entry["name"]): entry.get("template") for entry in value}
    else:
        raise InputError(
            f"chat_template in {SETTINGS_FILE} is a JSON {_kind(value)}",
            fix='It must be a text, a list of {"name": ..., "template": ...}, or an object of texts by name.',
        )
    for name, source in named.items():
        if not isinstance(source, str):
            raise InputError(
                f"the chat template {name} in {SETTINGS_FILE} is {_kind(source)}, not a text",
                fix="Copy the file of the release again, or put the template into chat_template.jinja.",
            )
    return named


def _kind(value: Any) -> str:
    """Returns the JSON name for the type of ``value``."""
    words = {bool: "true or false", int: "number", float: "number", list: "list", dict: "object", type(None): "null"}
    return words.get(type(value), "text")


def is_readable(asked: str) -> bool:
    """Whether ``asked`` is the path of a file, or of a pipe: shells make one of ``<(command)``."""
    path = Path(asked)
    return path.exists() and not path.is_dir()


def choose(templates: Mapping[str, ChatTemplate], asked: str | None) -> dict[str, ChatTemplate]:
    """Choose the templates for ``asked``: all of them for None, the one of that name, or the one in that file.

    Raises:
        InputError: ``asked`` is neither the name of a template nor a readable file, or cannot be compiled.
    """
    if asked is None:
        return dict(templates)
    if asked in templates:
        chosen = templates[asked]
    elif is_readable(asked):
        chosen = ChatTemplate(f"the chat template {asked}", read_text(Path(asked)))
    else:
        known = f"its templates are {', '.join(templates)}" if templates else "it has none"
        raise InputError(
            f"the chat template {asked!r} is neither a file nor one of the checkpoint's; {known}",
            fix="Pass --chat-template NAME|FILE with one of these names or the path of a Jinja file.",
        )
    chosen.check()
    return {DEFAULT_NAME: chosen}


def select(templates: Mapping[str, ChatTemplate], *, tools: bool) -> ChatTemplate:
    """Select the template of a conversation: with ``tools`` the one for tool use if there is one, else the default.

    Raises:
        InputError: there is no template, or several and no default.
    """
    if not templates:
        raise InputError(
            "the checkpoint has no chat template",
            fix="Pass --raw to use the prompt without a template, pass a template with --chat-template FILE, or "
            "convert from a checkpoint with chat_template.jinja.",
        )
    names = [TOOLS_NAME, DEFAULT_NAME] if tools else [DEFAULT_NAME]
    for name in names:
        if name in templates:
            return templates[name]
    raise InputError(
        f"the checkpoint has several chat templates and no default: {', '.join(templates)}",
        fix=f"Name one: --chat-template {next(iter(templates))}",
    )
