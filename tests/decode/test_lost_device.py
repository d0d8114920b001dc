# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A device that is lost while it decodes ends every request with its reason, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.decode.shared import SharedBatch
from nld_trt.errors import OperationError

REQUEST = Request((20, 21), "ar", max_new_tokens=60, eos_token_id=-1)
FORWARDS = 5
SECONDS = 60.0


class LostDevice:
    """A session whose device fails in one call after a few forwards, and in every call from then on."""

    def __init__(self, session, call: str, *, ahead: bool) -> None:
        self._session, self._call = session, call
        self._left = FORWARDS
        self._calls = 0
        self.runs_ahead = ahead

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers):
        self._left -= self._call == "launch"
        self._check()
        self._session.launch(buffers)

    def wait(self, buffers):
        self._left -= self._call == "wait"
        self._check()
        self._session.wait(buffers)

    def clear_row(self, row):
        self._check()
        self._session.clear_row(row)

    def _check(self):
        if self._left <= 0:
            self._calls += 1
            raise OperationError(f"the GPU is lost (call {self._calls})")


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("call", ["launch", "wait"])
def test_every_request_ends_with_the_first_reason(golden_session, call, ahead):
    batch = Batch(LostDevice(golden_session("tiny-a"), call, ahead=ahead))
    shared, errors = SharedBatch(batch), []
    tickets = shared.submit([REQUEST] * 3)

    def finish(ticket):
        try:
            shared.finish(ticket)
        except OperationError as error:
            errors.append(error.what)

    callers = [threading.Thread(target=finish, args=(ticket,), daemon=True) for ticket in tickets]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(SECONDS)
    assert len(errors) == 3
    assert all("the GPU is lost (call 1)" in what for what in errors)
    assert not batch.busy, "the requests are forgotten"
    with pytest.raises(OperationError, match="the GPU is lost"):
        shared.finish(shared.submit([REQUEST])[0])
