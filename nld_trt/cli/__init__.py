# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: the table of commands, and the one place where exceptions become messages and exit statuses.

A command's module is imported when the command is run, so ``nld-trt --help`` loads click and no other library. Options
are written with dashes and accepted with underscores too; each can also be set by an environment variable,
NLD_TRT_<COMMAND>_<OPTION>.

Shell completion is click's: put ``eval "$(_NLD_TRT_COMPLETE=bash_source nld-trt)"`` into ~/.bashrc (or zsh_source,
fish_source). Completion takes the commands from the table, and imports a command only to complete its options.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

import nld_trt
from nld_trt import optional
from nld_trt.errors import NldError, short_numbers

# An exit status above this one is this plus the number of the signal that ended the command.
_SIGNALLED = 128
# What the system has against a path, wherever it is used first: never a defect of the command.
_OF_PATHS = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)
_SHOWN_OF_PATH = 200
_OF_FULL_DISKS = (errno.ENOSPC, errno.EDQUOT)

# Name -> (module that defines `command`, its line in `nld-trt --help`). The order is that of a deployment.
COMMANDS: dict[str, tuple[str, str]] = {
    "plan": ("nld_trt.cli.plan", "Predict memory and speed of a model on a GPU, before anything is built."),
    "convert": ("nld_trt.cli.convert", "Check a released checkpoint and write it in the form the others read."),
    "quantize": ("nld_trt.cli.quantize", "Quantize a converted checkpoint with ModelOpt: FP8, INT4 or NVFP4."),
    "build": ("nld_trt.cli.build", "Compile a converted checkpoint into an engine folder."),
    "generate": ("nld_trt.cli.generate", "Generate text with an engine, in any decoding mode."),
    "evaluate": ("nld_trt.cli.evaluate", "Score an engine's answers and count its forwards per token."),
    "repo": ("nld_trt.cli.repo", "Write a Triton Inference Server model repository."),
    "serve": ("nld_trt.cli.serve", "Start Triton Inference Server on a model repository."),
    "front": ("nld_trt.cli.front", "Serve OpenAI's clients in front of a running Triton server."),
    "client": ("nld_trt.cli.client", "Send a prompt to a running server."),
    "check-server": ("nld_trt.cli.check_server", "Compare another server's answers with those of an engine."),
    "sweep": ("nld_trt.cli.sweep", "Measure throughput over modes, block lengths and concurrency."),
    "merge": ("nld_trt.cli.merge", "Join the results of several sweeps."),
    "report": ("nld_trt.cli.report", "Make a page of what sweeps measured, or compare two of them."),
    "simulate": ("nld_trt.cli.simulate", "Simulate a server that chooses its mode by its load."),
    "bench": ("nld_trt.cli.bench", "Check and time parts of an engine against what the hardware allows."),
    "doctor": ("nld_trt.cli.doctor", "Say what this machine can do, what is missing and how to get it."),
    "synthetic": ("nld_trt.cli.synthetic", "Write a checkpoint of random weights in the shape of a release."),
    "inspect": ("nld_trt.cli.inspect", "Describe a checkpoint, an engine or a model repository."),
}
# Two words that are accepted for a command as well. An engine folder of that name is given as ./merge.
ALIASES: dict[tuple[str, str], str] = {("sweep", "merge"): "merge"}


class _Interruption(BaseException):
    """Carries a KeyboardInterrupt past click, which would write to a terminal that may be gone."""


class LazyGroup(click.Group):
    """A group that takes its commands from the table and imports each of them when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0].replace("_", "-")
        alias = ALIASES.get((args[0], args[1])) if len(args) > 1 else None
        if alias is not None:
            return alias, self.get_command(ctx, alias), args[2:]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command is called {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The base class would import every command to read its help.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        from nld_trt import interrupts

        try:
            with interrupts.handled():
                return super().invoke(ctx)
        except ModuleNotFoundError as error:
            explanation = optional.explain(error, wanted_by=ctx.invoked_subcommand)
            if explanation is None:
                raise
            raise explanation from error
        except KeyboardInterrupt as error:
            raise _Interruption from error


@click.group(
    cls=LazyGroup,
    context_settings={
        "auto_envvar_prefix": "NLD_TRT",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "show_default": True,
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.version_option(
    nld_trt.__version__,
    "-V",
    "--version",
    message="nld-trt %(version)s",
    allow_from_autoenv=False,
    help="Show the version.",
)
@click.option("-v", "--verbose", count=True, show_default=False, help="Say more on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Say only warnings and errors on stderr.")
def cli(verbose: int, quiet: bool) -> None:
    """From a Nemotron-Labs-Diffusion checkpoint to a TensorRT deployment in four decoding modes.

    Data goes to stdout and talk to stderr. Exit status: 0 done, 1 the work failed, 2 something given cannot be used,
    128 + N ended by signal N.
    """
    from nld_trt.cli._output import output

    if verbose and quiet:
        raise click.UsageError("-v and -q ask for opposite things; give one of them")
    output.configure(level=-1 if quiet else verbose)
    output.show_warnings()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``nld-trt`` with ``arguments`` (default: the process's own) and exit."""
    status = run(arguments)
    if status > _SIGNALLED and _library_at_work():
        # A library still runs in a thread. It would crash while the interpreter shuts down, so skip the shutdown.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _library_at_work() -> bool:
    from nld_trt import interrupts

    return interrupts.left_behind()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status. Exceptions other than NldError and usage errors are raised."""
    from nld_trt.cli._output import accept_every_character

    accept_every_character()
    try:
        status = cli.main(arguments, prog_name="nld-trt", standalone_mode=False)
        sys.stdout.flush()
    except NldError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"\nTry '{context.command_path} --help'." if context else ""
        return _fail(short_numbers(error.format_message()) + hint, error.exit_code)
    except click.Abort as error:
        # click raises Abort for Ctrl-C and for any EOFError. An EOFError is a defect, so it is raised.
        if isinstance(error.__cause__, EOFError):
            raise error.__cause__ from None
        return _interrupted(error.__cause__)
    except _Interruption as error:
        return _interrupted(error.__cause__)
    except BrokenPipeError:
        # The reader has gone, as in `nld-trt inspect engine | head`.
        _drop_stdout()
        return 1
    except OSError as error:
        if error.errno in _OF_FULL_DISKS and error.filename is None:  # a file's own failure names it
            _drop_stdout()
            return _fail(f"the standard output cannot be written: {error.strerror}", 1)
        if error.errno not in _OF_PATHS or error.filename is None:
            raise
        return _fail(f"cannot use the path {os.fsdecode(error.filename)[:_SHOWN_OF_PATH]}: {error.strerror}", 2)
    # click returns the status of ctx.exit(), or else whatever the command returned.
    return status if type(status) is int else 0


def _drop_stdout() -> None:
    """Python must not find out again at its exit that nothing can be written there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(error: BaseException | None) -> int:
    from nld_trt import interrupts

    named = isinstance(error, interrupts.Terminated)
    # The terminal may be gone: that is what SIGHUP says.
    with suppress(OSError):
        if sys.stderr.isatty():  # the cursor is after ^C, or after a text that was being written
            print(file=sys.stderr)
        _fail(f"ended by {error}" if named else "interrupted", interrupts.exit_status(error))
    return interrupts.exit_status(error)


def _fail(message: str, status: int) -> int:
    if os.environ.get("NLD_TRT_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    print(f"nld-trt: error: {message}", file=sys.stderr, flush=True)
    return status
