# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from nld_trt import names
from nld_trt.decode.fields import FIELDS, SAMPLING, Field
from nld_trt.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])


class Text(click.ParamType):  # type: ignore[type-arg]
    """Text for a model, which is UTF-8 whatever the locale: Python marks bytes that the locale does not know."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode("utf-8")
            return str(value)
        except UnicodeEncodeError:
            pass
        try:
            return os.fsencode(value).decode("utf-8")
        except UnicodeError as error:
            self.fail(f"{value!a} is not UTF-8: {error.reason}", param, ctx)  # type: ignore[attr-defined]


TEXT = Text()


def engine_argument(function: Command) -> Command:
    return click.argument("engine_dir", type=click.Path(path_type=Path))(function)


def checkpoint_argument(function: Command) -> Command:
    """A converted checkpoint's folder. A model on the hub is refused by name: it must be converted first."""
    return click.argument("checkpoint", callback=_folder)(function)


def path_argument(function: Command) -> Command:
    """Any folder that nld-trt makes or reads; a model on the hub is refused likewise."""
    return click.argument("path", callback=_folder)(function)


def _folder(context: click.Context, _argument: click.Parameter, text: str | None) -> Path | None:
    # As text until here: a path forgets the ./ in front, which says that it is one.
    if text is None or context.resilient_parsing:
        return None
    from nld_trt.model.hub import refuse_hub_id

    refuse_hub_id(text)
    return Path(text)


def backend_option(function: Command) -> Command:
    return click.option(
        "--backend",
        type=click.Choice(names.BACKENDS),
        default=None,
        help="Backend to run on. Default: the first of the engine's backends that this machine can run.",
    )(function)


def generation_config_option(function: Command) -> Command:
    return click.option(
        "--generation-config",
        type=click.Choice(names.GENERATION_CONFIGS),
        default=names.DEFAULT_GENERATION_CONFIG,
        show_default=True,
        help="Defaults of requests: the checkpoint's, from generation_config.json, or none. Its EOS ids always count.",
    )(function)


def chat_template_option(function: Command) -> Command:
    return click.option(
        "--chat-template",
        metavar="NAME|FILE",
        default=None,
        help="Chat template to use: one of the engine's by name, or a Jinja file. Default: the engine's own.",
    )(function)


def request_options(*fields: str, defaults: bool = True) -> Callable[[Command], Command]:
    """Options for fields of a request, each None where it is not given.

    Args:
        defaults: the option's help says what is taken where it is not given. Otherwise it is the server that decides.
    """

    def decorate(function: Command) -> Command:
        for name in reversed(fields):
            function = _request_option(FIELDS[name], defaults)(function)
        return function

    return decorate


def _request_option(field: Field, defaults: bool) -> Callable[[Command], Command]:
    settings: dict[str, Any] = {"default": None, "help": (field if defaults else field.at_server).help}
    name = field.option
    if field.choices:
        # Mode auto follows the load of a server, and a command that decodes by itself has none.
        settings["type"] = click.Choice([each for each in field.choices if each != names.AUTO or not defaults])
    elif field.name in ("system", "stop"):
        settings["type"] = TEXT
    elif float in field.types:
        settings["type"] = float
    elif int in field.types:
        settings["type"] = int
    if field.name == "threshold":
        settings |= {"type": str, "metavar": "NUMBER|null"}
    elif field.name == "raw":
        settings |= {"default": False, "is_flag": True, "help": replace(field, default=None).help}
    elif field.name == "stop":
        settings |= {"multiple": True, "help": f"{settings['help']} Repeatable."}
    elif bool in field.types:
        name = f"{name}/--no-{name[2:]}"
    return click.option(name, **settings)


# Of one generation: how it decodes, and how its tokens are sampled.
DECODING = ("mode", "max_new_tokens", "block_length", "threshold", "steps", "block_cache", "lora", "ensemble")
SAMPLING_OPTIONS = (*SAMPLING, "acceptance")


def thresholds_in_words() -> str:
    """The default of --threshold in the modes that have one."""
    stated = {mode: value for mode, value in names.DEFAULT_THRESHOLDS.items() if value is not None}
    return ", ".join(f"{value:g} in {mode}" for mode, value in stated.items())


def prompts_option(help_text: str, *, required: bool = True) -> Callable[[Command], Command]:
    """``--prompts``: the file of prompts that a measurement decodes."""
    return click.option("--prompts", type=click.Path(path_type=Path), required=required, help=help_text)


def modes_option(variants: Sequence[str]) -> Callable[[Command], Command]:
    """``--modes``: those of ``variants`` that a measurement measures, as the text that was given."""
    return click.option("--modes", default=None, help=f"Comma list of {', '.join(variants)}. Default: all there are.")


def whole_numbers(flag: str, text: str) -> list[int]:
    """Return the whole numbers of a comma list, each once.

    Raises:
        InputError: the text is no such list.
    """
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InputError(
            f"{flag} is {text!r}; it must be whole numbers with commas between them, such as 1,2,4"
        ) from None
