# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a command to end: SIGINT (Ctrl-C), SIGTERM (docker stop, Slurm) and SIGHUP (a lost terminal).

All of them are raised as KeyboardInterrupt in the main thread, so that whatever cleans up after Ctrl-C cleans up after
the others. A signal that the caller chose to ignore, as nohup does with SIGHUP, stays ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Generic, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# The time that a library has to notice that it should stop. The process ends without waiting longer for it.
_GRACE_SECONDS = 0.5

Result = TypeVar("Result")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived.

    Attributes:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_status(error: BaseException | None) -> int:
    """Returns 128 + the signal's number, as a shell reports it. A plain KeyboardInterrupt stands for SIGINT."""
    return 128 + (error.number if isinstance(error, Terminated) else int(signal.SIGINT))


@contextmanager
def handled() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM and SIGHUP while the body runs.

    A signal that already has a handler, or is ignored, is left unchanged. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(number)


@contextmanager
def held() -> Iterator[None]:
    """Hold signals back while the body runs. The first one that arrived is delivered afterwards.

    This is for short steps that must not be interrupted: renaming a result into place, or removing an unfinished one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    before = {}
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # None stands for a handler that Python did not install and could not restore.
        if handler not in (signal.SIG_IGN, None):
            before[number] = handler
            signal.signal(number, lambda number, frame: noted.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


class _Call(threading.Thread, Generic[Result]):
    """A thread that calls a function, and holds what that returned or raised."""

    def __init__(self, work: Callable[[], Result]) -> None:
        super().__init__(name="nld-interruptible", daemon=True)
        self.ended = threading.Event()
        self._work = work
        self._returned: list[Result] = []
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._returned.append(self._work())
        except BaseException as error:
            self._raised = error
        finally:
            self.ended.set()

    def outcome(self) -> Result:
        if self._raised is not None:
            raise self._raised
        return self._returned[0]


_calls: list[_Call[object]] = []


def interruptible(work: Callable[[], Result], cancel: Callable[[], None] = lambda: None) -> Result:
    """Call ``work()`` so that a signal takes effect at once, even while a C++ library is computing. Returns its result.

    Only the main thread handles signals, and only between two steps of Python. Inside a library's call it would not
    react for minutes, and an exception that is raised in a library's callback is lost. The work is therefore done by
    another thread while the main thread waits. On a signal ``cancel`` is called. A library that does not stop within
    half a second is left running, and :func:`left_behind` returns true.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    call = _Call(work)
    _calls[:] = [other for other in _calls if not other.ended.is_set()]
    _calls.append(call)  # type: ignore[arg-type]
    try:
        call.start()
        call.ended.wait()
    except BaseException:
        cancel()
        call.ended.wait(_GRACE_SECONDS)
        raise
    return call.outcome()


def left_behind() -> bool:
    """Whether an interrupted library is still running. The process must then end without unloading it."""
    return any(call.is_alive() and not call.ended.is_set() for call in _calls)
