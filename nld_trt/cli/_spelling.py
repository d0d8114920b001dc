# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One spelling for each flag: options that also accept names which ``--help`` does not show."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.parser import _OptionParser

Command = TypeVar("Command", bound=Callable[..., Any])


class Option(click.Option):
    """An option with one value that is also accepted under ``aliases``.

    The aliases appear neither in the help nor in shell completion. Environment variables follow the flags: an option
    ``--output`` with the alias ``--output-dir`` reads NLD_TRT_<COMMAND>_OUTPUT and then NLD_TRT_<COMMAND>_OUTPUT_DIR.
    """

    def __init__(self, *arguments: Any, aliases: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.aliases = tuple(aliases)

    def add_to_parser(self, parser: _OptionParser, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        if self.aliases:
            parser.add_option(obj=self, opts=self.aliases, dest=self.name, action="store", nargs=self.nargs)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        found = super().resolve_envvar_value(ctx)
        if found is not None or ctx.auto_envvar_prefix is None:
            return found
        flags = [flag for flag in (*self.opts, *self.aliases) if flag.startswith("--")]
        variables = [f"{ctx.auto_envvar_prefix}_{flag[2:].replace('-', '_').upper()}" for flag in flags]
        return next((value for name in variables if (value := os.environ.get(name))), None)


def output_folder_option(help_text: str) -> Callable[[Command], Command]:
    """``-o/--output``: the folder that a command writes, as the parameter ``output_dir``."""
    return click.option(
        "-o", "--output", "output_dir", cls=Option, aliases=["--output-dir"], type=click.Path(path_type=Path),
        required=True, help=help_text,
    )  # fmt: skip


def output_file_option(help_text: str) -> Callable[[Command], Command]:
    """``-o/--output``: the file that a command writes its result to, as the parameter ``output_file``."""
    return click.option(
        "-o", "--output", "output_file", cls=Option, aliases=["--output-file"], type=click.Path(path_type=Path),
        default=None, help=help_text,
    )  # fmt: skip
