# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Jinja environment of chat templates, with the functions that templates of Hugging Face checkpoints use.

A template comes with a checkpoint, so it is foreign code. It runs in Jinja's immutable sandbox, from which it can
reach neither Python's internals nor the caller's values. Its environment is that of transformers, with which template
authors test; ``tests/model/text/test_parity.py`` compares the two.

Only ``template`` imports this module, inside a function: loading Jinja takes about 0.1 s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


class GenerationBlock(Extension):
    """The block ``{% generation %}``, which marks the assistant's text for training. Rendering writes its content.

    The content is a separate scope, like that of ``{% call %}``: variables that are set in it end with it.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(Namespace):
    """``namespace(...)`` that refuses names with a leading underscore, which lead to Python's internals."""

    def __init__(*args: Any, **values: Any) -> None:
        # The instance is taken from the arguments, as in Jinja's class: a template may pass a value called self.
        instance, *positional = args
        named = dict(*positional, **values)
        for name in named:
            _refuse_private(name)
        Namespace.__init__(instance, named)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


class _Dictionary:
    """``dict(...)`` as an object that only creates dictionaries: the type itself would give access to more."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def environment() -> ImmutableSandboxedEnvironment:
    """Make a new environment."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = _to_json
    made.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": _Dictionary(),
        "namespace": _Namespace,
    }
    return made


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON without the escapes that Jinja's filter uses for ``<``, ``>``, ``&`` and ``'`` in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: Any) -> NoReturn:
    raise TemplateError(message)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore: {name!r}")
