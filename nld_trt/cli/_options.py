# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nld_trt import names

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


def thresholds_in_words() -> str:
    """The default of --threshold in the modes that have one."""
    stated = {mode: value for mode, value in names.DEFAULT_THRESHOLDS.items() if value is not None}
    return ", ".join(f"{value:g} in {mode}" for mode, value in stated.items())


def prompts_option(help_text: str) -> Callable[[Command], Command]:
    """``--prompts``: the file of prompts that a measurement decodes."""
    return click.option("--prompts", type=click.Path(path_type=Path), required=True, help=help_text)


def modes_option(function: Command) -> Command:
    """``--modes``: the variants that a measurement measures, as the text that was given."""
    return click.option(
        "--modes", default=None, help=f"Comma list of {', '.join(names.VARIANTS)}. Default: all the engine has."
    )(function)


def decoding_options(function: Command) -> Command:
    """mode, block_length, threshold, lora, ensemble and max_new_tokens of one generation."""
    options = (
        click.option(
            "--mode",
            type=click.Choice(names.MODES),
            default=names.DEFAULT_MODE,
            show_default=True,
            help="Decoding mode.",
        ),
        click.option(
            "--max-new-tokens",
            type=int,
            default=None,
            help="Tokens to generate. Default: the checkpoint's, or up to "
            f"{names.DEFAULT_MAX_NEW_TOKENS}; as many as fit.",
        ),
        click.option(
            "--block-length", type=int, default=None, help="Tokens per block or draft. Default: the checkpoint's."
        ),
        click.option(
            "--threshold",
            type=str,
            default=None,
            metavar="NUMBER|null",
            show_default=thresholds_in_words(),
            help="diffusion: confidence that commits a token, null for one token per pass. linear: 0 drafts in one "
            "pass, above 0 in several.",
        ),
        click.option(
            "--lora/--no-lora",
            default=None,
            help="Use the draft adapter in linear and quadratic mode. Default: when the engine has one.",
        ),
        click.option(
            "--ensemble",
            type=float,
            default=None,
            show_default=f"{names.DEFAULT_ENSEMBLE:g}, which gives the text of ar",
            help="quadratic: weight of the AR prediction in verifying, 0 to 1.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def sampling_options(function: Command) -> Command:
    """temperature, filters, seed and acceptance of one generation; None where an option is not given."""
    options = (
        click.option(
            "--temperature",
            type=float,
            default=None,
            help="Above 0: tokens are sampled. Default: the checkpoint's, or 0, greedy.",
        ),
        click.option(
            "--top-k",
            type=int,
            default=None,
            help="Sample from this many of the most likely tokens. Default: the checkpoint's, or all.",
        ),
        click.option(
            "--top-p",
            type=float,
            default=None,
            help="Sample from the fewest most likely tokens whose probabilities add up to this. Default: the "
            "checkpoint's, or 1.",
        ),
        click.option(
            "--min-p",
            type=float,
            default=None,
            help="Leave out tokens below this fraction of the most likely token's probability. Default: the "
            "checkpoint's, or 0.",
        ),
        click.option(
            "--seed",
            type=int,
            default=None,
            help="Seed of the sampling; the same seed repeats an answer. Default: a new one each time.",
        ),
        click.option(
            "--acceptance",
            type=click.Choice(names.ACCEPTANCE_RULES),
            default=None,
            help=f"linear: rule that keeps drafted tokens. Default: {names.REJECT}; {names.MATCH} where --threshold is "
            "above 0.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
