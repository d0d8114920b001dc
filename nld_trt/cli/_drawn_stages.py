# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of long work as a live display: a line for each, with a bar where the size of the work is known.

This module loads rich, so it is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from nld_trt.cli._stages import Pace


class _Moving(ProgressColumn):
    """A bar where the size of the work is known, else a spinner."""

    def __init__(self) -> None:
        super().__init__()
        self._bar, self._spinner = BarColumn(), SpinnerColumn("line")

    def render(self, task: Task) -> RenderableType:
        return self._spinner.render(task) if task.total is None else self._bar.render(task)


class _Field(ProgressColumn):
    """A text of the task that may be empty."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render(self, task: Task) -> RenderableType:
        return Text(task.fields[self._name])


def display(stream: IO[str]) -> Progress:
    """Make the live display of one command's stages; it vanishes at the end."""
    return Progress(
        _Moving(),
        TextColumn("{task.description}", markup=False),
        _Field("rate"),
        TimeElapsedColumn(),
        _Field("left"),
        console=Console(file=stream),
        transient=True,
        # Redirecting stdout, the default, would send data to stderr when only stderr is a terminal.
        redirect_stdout=False,
        redirect_stderr=False,
    )


class DrawnStage:
    """A line of the display."""

    def __init__(self, progress: Progress, name: str, total: float | None, unit: str) -> None:
        self._progress, self._name = progress, name
        self._pace = None if total is None else Pace(total, unit)
        self._task = progress.add_task(name, total=total, rate="", left="")

    def detail(self, text: str) -> None:
        self._progress.update(self._task, description=f"{self._name}: {text}")

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        if self._pace is not None:
            self._pace.advance(amount, earlier)
            self._progress.update(self._task, completed=self._pace.done, rate=self._pace.rate, left=self._pace.left)

    def remove(self) -> None:
        self._progress.remove_task(self._task)


@contextmanager
def drawn_stage(progress: Progress, name: str, total: float | None, unit: str) -> Iterator[DrawnStage]:
    """Show a stage in the display until the context ends."""
    stage = DrawnStage(progress, name, total, unit)
    try:
        yield stage
    finally:
        stage.remove()
