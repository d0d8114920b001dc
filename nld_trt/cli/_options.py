# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

MODES = ("ar", "diffusion", "linear")
BACKENDS = ("ort", "trt-rtx", "trt")


def engine_argument(function: Command) -> Command:
    return click.argument("engine_dir", type=click.Path(path_type=Path))(function)


def backend_option(function: Command) -> Command:
    return click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default=None,
        help="Backend to run on. Default: the first of the engine's backends that this machine can run.",
    )(function)


def decoding_options(function: Command) -> Command:
    """mode, block_length, threshold, lora and max_new_tokens of one generation."""
    options = (
        click.option("--mode", type=click.Choice(MODES), default="linear", show_default=True, help="Decoding mode."),
        click.option(
            "--max-new-tokens", type=int, default=None, help="Tokens to generate. Default: up to 512, as many as fit."
        ),
        click.option("--block-length", type=int, default=None, help="Tokens per block. Default: the checkpoint's."),
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
            help="Use the draft adapter in linear mode. Default: when the engine has one.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
