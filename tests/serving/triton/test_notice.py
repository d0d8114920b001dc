# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Models are told once how long they have, and only where nld-trt serve started their server."""

from __future__ import annotations

import queue
import threading

import pytest

from nld_trt.serving.triton.notice import VARIABLE, NoticeReader, give_notice, is_idle
from tests.serving.conftest import wait_until


def test_notice_arrives(tmp_path) -> None:
    told: queue.Queue[float] = queue.Queue()
    NoticeReader(told.put, {VARIABLE: str(tmp_path)})
    give_notice(tmp_path, 2.5)
    assert told.get(timeout=10) == 2.5


def test_closed_reader_is_told_nothing(tmp_path) -> None:
    told: queue.Queue[float] = queue.Queue()
    NoticeReader(told.put, {VARIABLE: str(tmp_path)}).close()
    give_notice(tmp_path, 2.5)
    with pytest.raises(queue.Empty):
        told.get(timeout=0.3)


def test_without_a_folder_nothing_is_awaited(tmp_path) -> None:
    told: queue.Queue[float] = queue.Queue()
    NoticeReader(told.put, {})
    give_notice(tmp_path, 2.5)
    assert told.empty()


def test_models_say_when_they_have_no_request_left(tmp_path) -> None:
    last_response = threading.Event()
    NoticeReader(lambda seconds: last_response.wait(), {VARIABLE: str(tmp_path)})
    give_notice(tmp_path, 2.5)
    assert not is_idle(tmp_path)
    last_response.set()
    assert wait_until(lambda: is_idle(tmp_path), 10)
