# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The one place that prints: data to stdout, talk to stderr.

A command says what it has (``result``, ``table``, ``stream``) and what it is doing (``note``, ``warn``,
``stage``); how that looks follows from ``--json``, ``-q``, ``-v`` and from what stderr is. Streams are looked up
at each call, since tests and shells replace them. rich is imported only when it draws: --help must not pay for it.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from nld_trt.progress import Stage

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Output:
    """What the flags chose, and the live display of stages while there is one."""

    json: bool = False
    level: int = 0
    _display: Progress | None = field(default=None, repr=False)

    def configure(self, *, level: int) -> None:
        """Set the talk's level (-1 quiet, 0 normal, 1 and more verbose) and forget an earlier command's --json."""
        self.json, self.level = False, level

    def show_warnings(self) -> None:
        """Show what other layers warn of, the leftovers of killed processes, as :meth:`warn` does."""
        import logging

        class Shown(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                output.warn(record.getMessage())

        for logger in (logging.getLogger("nld_trt.files"), logging.getLogger("nld_trt.serving.triton.server_folder")):
            if not logger.handlers:
                logger.addHandler(Shown())

    def detail(self, text: str) -> None:
        """Something only ``-v`` shows."""
        if self.level > 0:
            self._talk(text)

    def note(self, text: str) -> None:
        if self.level >= 0:
            self._talk(text)

    def warn(self, text: str) -> None:
        """A warning; shown in every mode."""
        self._talk(f"nld-trt: warning: {text}")

    @contextmanager
    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Stage]:
        """Show that ``name`` is under way and how long it took, as :class:`nld_trt.progress.Progress` has it.

        A terminal gets the elapsed seconds beside a spinner, or beside a bar with rate and time left where ``total``
        is known. Anything else gets a line at the start and one at the end, and one for every tenth of ``total``.
        """
        from nld_trt.progress import SILENT

        started = time.monotonic()
        if self.level < 0:
            yield SILENT
            return
        with (self._drawn if self._animated else self._lines)(name, total, unit) as stage:
            try:
                yield stage
            except BaseException:
                ended = "failed" if total is None else "stopped"
                self._talk(f"{name} {ended} after {time.monotonic() - started:.1f} s")
                raise
        self._talk(f"{name} done in {time.monotonic() - started:.1f} s")

    def result(self, data: Mapping[str, Any], text: object = None) -> None:
        """What the command found out: ``data`` as one JSON object with --json, else ``text``.

        ``text`` is a string or something rich can draw; without it the data is listed, a line for each key.
        """
        if self.json:
            sys.stdout.write(_json_text(data) + "\n")
        elif text is None:
            sys.stdout.writelines(f"{key}: {value}\n" for key, value in data.items())
        elif isinstance(text, str):
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        else:
            _draw(text)

    def stream(self, text: str) -> None:
        """Text as it is generated, unchanged. Nothing with --json, where ``result`` carries the whole."""
        if not self.json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
        """A table for reading; columns of numbers go right. Nothing with --json, where ``result`` carries the rows."""
        if self.json:
            return
        from rich.table import Table
        from rich.text import Text

        lines = [[*row] for row in rows]
        table = Table(title=title, title_justify="left")
        for index, name in enumerate(columns):
            numeric = bool(lines) and all(isinstance(line[index], int | float) for line in lines)
            table.add_column(Text(name), justify="right" if numeric else "left")
        for line in lines:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in line))
        _draw(table)

    @property
    def _animated(self) -> bool:
        return not self.json and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")

    def _talk(self, text: str) -> None:
        # A terminal that is gone, as after a lost ssh, is no reason for work or its clean-up to fail.
        with suppress(OSError):
            if self._display is None:
                print(text, file=sys.stderr, flush=True)
            else:  # above the display, which would otherwise overwrite it
                self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _lines(self, name: str, total: float | None, unit: str) -> Iterator[Stage]:
        from nld_trt.cli._stages import LineStage

        self._talk(f"{name} ...")
        yield LineStage(name, total, unit, self._talk, self.detail)

    @contextmanager
    def _drawn(self, name: str, total: float | None, unit: str) -> Iterator[Stage]:
        from nld_trt.cli._drawn_stages import display, drawn_stage

        if self._display is not None:  # a stage inside a stage is a second line of the same display
            with drawn_stage(self._display, name, total, unit) as stage:
                yield stage
            return
        self._display = display(_stderr)
        try:
            with self._display, drawn_stage(self._display, name, total, unit) as stage:
                yield stage
        finally:
            self._display = None


class _Stderr:
    """sys.stderr as it is at each call, for rich. Like :meth:`Output._talk`, it outlives its terminal."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


_stderr: Any = _Stderr()
output = Output()


def json_option(command: Decorated) -> Decorated:
    """Adds ``--json`` to a command; the command itself only calls ``output.result``."""

    def choose(_context: click.Context, _option: click.Parameter, value: bool) -> None:
        output.json = value

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=choose,
        help="Print the result as one JSON object on stdout; talk stays on stderr.",
    )(command)


def accept_every_character() -> None:
    """Make stdout show what its encoding lacks as an escape: a terminal or pipe that is not UTF-8 ends no command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("nld-trt", _bytes_or_escapes)
        sys.stdout.reconfigure(errors="nld-trt")


def _bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler for the codecs: bytes of a file's name that are no text come out as they are, the rest as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


def _json_text(data: Mapping[str, Any]) -> str:
    """JSON that stdout can carry: with JSON's own escapes where its encoding lacks a character."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, indent=2, allow_nan=False, default=_plain)
    return text


def _draw(drawing: Any) -> None:
    from rich.console import Console
    from rich.measure import Measurement

    console: Console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:  # a file or a pipe has no edge to fold at
        console.width = max(Measurement.get(console, console.options.update(max_width=10_000), drawing).maximum, 1)
    console.print(drawing)


def _plain(value: object) -> object:
    """JSON for a path and for NumPy's numbers and arrays, without importing NumPy."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
