# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

MODES = ("ar", "diffusion", "linear", "quadratic")
BACKENDS = ("ort", "trt-rtx", "trt")
ACCEPTANCE_RULES = ("match", "reject")


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
        type=click.Choice(BACKENDS),
        default=None,
        help="Backend to run on. Default: the first of the engine's backends that this machine can run.",
    )(function)


def chat_template_option(function: Command) -> Command:
    return click.option(
        "--chat-template",
        metavar="NAME|FILE",
        default=None,
        help="Chat template to use: one of the engine's by name, or a Jinja file. Default: the engine's own.",
    )(function)


def decoding_options(function: Command) -> Command:
    """mode, block_length, threshold, lora, ensemble and max_new_tokens of one generation."""
    options = (
        click.option("--mode", type=click.Choice(MODES), default="linear", show_default=True, help="Decoding mode."),
        click.option(
            "--max-new-tokens", type=int, default=None, help="Tokens to generate. Default: up to 512, as many as fit."
        ),
        click.option(
            "--block-length", type=int, default=None, help="Tokens per block or draft. Default: the checkpoint's."
        ),
        click.option(
            "--threshold",
            type=str,
            default=None,
            metavar="NUMBER|null",
            help="diffusion: confidence that commits a token, null for one token per pass (default 0.9). "
            "linear: 0 drafts in one pass (default), above 0 in several.",
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
            help="quadratic: weight of the AR prediction in verifying, 0 to 1. Default: 1, which gives the text of ar.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def sampling_options(function: Command) -> Command:
    """temperature, filters, seed and acceptance of one generation; None where an option is not given."""
    options = (
        click.option("--temperature", type=float, default=None, help="Above 0: tokens are drawn. Default: 0, greedy."),
        click.option("--top-k", type=int, default=None, help="Draw from so many of the likeliest. Default: all."),
        click.option(
            "--top-p", type=float, default=None, help="Of those, from the fewest with this share together. Default: 1."
        ),
        click.option(
            "--min-p",
            type=float,
            default=None,
            help="Of those, from tokens at least this likely against the likeliest. Default: 0.",
        ),
        click.option("--seed", type=int, default=None, help="Repeats the draws of a seed. Default: a fresh one."),
        click.option(
            "--acceptance",
            type=click.Choice(ACCEPTANCE_RULES),
            default=None,
            help="linear: rule that keeps drafted tokens. Default: reject; match where --threshold is above 0.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
