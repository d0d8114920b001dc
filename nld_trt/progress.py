# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What long work tells its caller while it runs. The command line draws it; a library's user need not look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One stage of the work, while it is under way."""

    def detail(self, text: str) -> None:
        """Say in a few words what the stage is doing now."""

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        """Say that ``amount`` more of the stage's ``total`` is done.

        Args:
            amount: in the unit of the stage; it may be a part of one.
            earlier: an earlier run did it, so that it says nothing about the rate of this one.
        """


class Progress(Protocol):
    """Receives what long work reports."""

    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> AbstractContextManager[Stage]:
        """Enter a stage, which ends with the context; stages may nest.

        Args:
            total: the size of the work in ``unit``, where it is known.
            unit: a plural noun, such as ``prompts``.
        """

    def note(self, text: str) -> None:
        """Tell the user something worth knowing that asks for no action."""

    def warn(self, text: str) -> None:
        """Tell the user of something that will not work as they may expect."""


class Silent:
    """Receives reports and shows none of them: both a :class:`Progress` and a :class:`Stage`."""

    @contextmanager
    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Stage]:
        yield self

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        pass


SILENT = Silent()
