# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Signals that end a command, in Python and inside libraries."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from nld_trt import interrupts
from nld_trt.interrupts import Terminated, exit_status, handled, held, interruptible, left_behind

LONG = 60.0


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Every test leaves the handlers as it found them."""
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    after = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


def send(number: int) -> None:
    with handled():
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_is_raised_as_a_keyboard_interrupt_with_its_number(number: int, status: int) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        send(number)
    assert isinstance(caught.value, Terminated)
    assert exit_status(caught.value) == status


def test_plain_interrupt_is_that_of_the_keyboard() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        send(signal.SIGINT)
    assert exit_status(caught.value) == 130


@pytest.fixture
def handler() -> Iterator[Callable[[int, object], None]]:
    before = signal.getsignal(signal.SIGHUP)
    yield lambda choice: signal.signal(signal.SIGHUP, choice)
    signal.signal(signal.SIGHUP, before)


def test_signal_that_nohup_ignores_stays_ignored(handler) -> None:
    handler(signal.SIG_IGN)
    send(signal.SIGHUP)
    with handled(), held():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handler_of_the_caller_is_left_alone(handler) -> None:
    got: list[int] = []
    handler(lambda number, frame: got.append(number))
    send(signal.SIGHUP)
    assert got == [signal.SIGHUP]


def test_other_threads_change_no_handlers() -> None:
    seen = []

    def look() -> None:
        with handled(), held():
            seen.append({number: signal.getsignal(number) for number in interrupts.SIGNALS})

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(LONG)
    assert seen == [{number: signal.getsignal(number) for number in interrupts.SIGNALS}]


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_held_signal_comes_when_the_step_is_done(number: int) -> None:
    steps = []

    def work() -> None:
        with handled():
            with held():
                signal.raise_signal(number)
                signal.raise_signal(number)
                steps.append("done")
            steps.append("never")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert steps == ["done"]
    assert exit_status(caught.value) == 128 + number


def test_held_steps_may_be_nested() -> None:
    steps = []

    def work() -> None:
        with handled(), held():
            with held():
                signal.raise_signal(signal.SIGTERM)
            steps.append("outer")

    with pytest.raises(Terminated):
        work()
    assert steps == ["outer"]


def test_result_of_a_library_comes_back() -> None:
    assert interruptible(lambda: 3) == 3
    assert not left_behind()


def test_error_of_a_library_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


def test_library_of_another_thread_is_called_there() -> None:
    seen: list[str] = []
    thread = threading.Thread(
        target=lambda: seen.append(interruptible(lambda: threading.current_thread().name)), name="other"
    )
    thread.start()
    thread.join(LONG)
    assert seen == ["other"]


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_library_at_work_is_told_to_stop(number: int) -> None:
    told, ended = threading.Event(), threading.Event()

    def library() -> None:
        os.kill(os.getpid(), number)
        assert told.wait(LONG)
        ended.set()

    with pytest.raises(KeyboardInterrupt) as caught, handled():
        interruptible(library, told.set)
    assert exit_status(caught.value) == 128 + number
    assert ended.wait(LONG)


def test_library_that_does_not_stop_is_left_behind() -> None:
    release = threading.Event()

    def library() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(LONG)

    with pytest.raises(KeyboardInterrupt):
        interruptible(library)
    assert left_behind()
    release.set()
    for call in interrupts._calls:
        call.join(LONG)
    assert not left_behind()
