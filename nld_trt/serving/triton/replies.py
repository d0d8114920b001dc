# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Turns the emissions of a request into the responses that its client gets.

Emissions come on the decode loop's thread, and responses go on the outbox's.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from nld_trt.decode.figures import FIGURES
from nld_trt.decode.result import Result
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import NldError
from nld_trt.serving.triton.intake import Intake
from nld_trt.serving.triton.tensors import OUTPUTS

log = logging.getLogger(__name__)

# Values of output tensors by name. A value is a list where the tensor holds many.
Outputs = Mapping[str, Any]


class Channel(Protocol):
    """The connection to one client."""

    def send(self, outputs: Outputs, *, final: bool) -> None:
        """Send one response."""

    def fail(self, error: NldError) -> None:
        """Send an error, which is the last response."""

    def is_cancelled(self) -> bool:
        """Whether the client has disconnected or cancelled."""


class Dispatch(Protocol):
    """Has responses sent: ``serving.outbox.Outbox``."""

    def put(self, sender: Reply, *, last: bool = False) -> None:
        """Note that a reply has something to send."""


class Reply:
    """A listener that gathers emissions into responses: while there is text, or one at the end.

    If a request fails, its last response is the error, and text that has not been sent is dropped.
    """

    def __init__(self, intake: Intake, channel: Channel, outbox: Dispatch) -> None:
        self._intake = intake
        self._channel = channel
        self._outbox = outbox
        self._lock = threading.Lock()
        # The fields below are guarded by _lock.
        self._text = intake.echo
        self._tokens: list[int] = []
        self._row: Row | None = None
        self._finish_reason = ""
        self._error: NldError | None = None
        self._lost = False
        self._ended = False

    def emitted(self, emission: Emission) -> None:
        with self._lock:
            self._text += emission.text
            self._tokens += emission.tokens
            self._row = emission.row
            self._finish_reason = emission.finish_reason or ""
            self._error = emission.error
            news = bool(self._text or (self._intake.reply_ids and self._tokens))
        last = emission.finish_reason is not None
        if last or (self._intake.stream and news):
            self._outbox.put(self, last=last)

    def failed(self, error: NldError) -> None:
        with self._lock:
            self._error = error
        self._outbox.put(self, last=True)

    def abandoned(self) -> bool:
        return self._lost or self._channel.is_cancelled()

    def send_ready(self) -> None:
        with self._lock:
            row, text, tokens = self._row, self._text, self._tokens
            finish_reason, error = self._finish_reason, self._error
            self._text, self._tokens = "", []
            # More may have become ready after this was taken from the outbox: then it has gone with that already.
            news = text or (self._intake.reply_ids and tokens)
            if self._ended or not (news or finish_reason or error):
                return
            self._ended = bool(finish_reason or error)
        try:
            if error is not None:
                self._channel.fail(error)
            elif row is not None:
                self._channel.send(self._outputs(row, text, tokens, finish_reason), final=bool(finish_reason))
        except Exception:
            log.exception("a response could not be sent; its request is cancelled")
            self._lost = True

    def _outputs(self, row: Row, text: str, tokens: list[int], finish_reason: str) -> Outputs:
        intake = self._intake
        outputs: dict[str, Any] = {
            "text_output": text,
            "finish_reason": finish_reason,
            "mode": row.request.mode,
        }
        if intake.count_input:
            outputs["num_input_tokens"] = len(row.request.prompt_ids)
        if intake.count_output:
            outputs["num_output_tokens"] = len(tokens)
        if intake.reply_ids:
            outputs["output_ids"] = tokens
        return outputs | _statistics(row) if finish_reason else outputs


def _statistics(row: Row) -> dict[str, Any]:
    """Returns figures of the whole generation, for the last response. Empty if it ended before its first token."""
    if not row.emitted:
        return {}
    result = Result.of(row)
    told: dict[str, Any] = {"nfe": result.nfe, "seed": result.seed, "cached_tokens": result.cached_tokens}
    if row.request.auto:
        told |= {
            "mode_tokens": json.dumps(result.mode_tokens, sort_keys=True),
            "mode_switches": result.switches,
            "mode_reason": result.last_switch,
        }
    told["acceptance_histogram"] = _acceptance_histogram(row)
    told |= {figure.name: result.figures[figure.name] for figure in FIGURES if figure.name in OUTPUTS}
    return {name: value for name, value in told.items() if value is not None}


def _acceptance_histogram(row: Row) -> list[int] | None:
    """Returns how many drafts had 0, 1, 2, … of their tokens accepted, or None where nothing was drafted.

    A block is a token that is certain and drafts, so the list is as long as the block. Of the last draft only what
    was emitted counts, so that the mean is the acceptance length.
    """
    rounds = list(row.counters.accepted)
    if not rounds:
        return None
    rounds[-1] = max(rounds[-1] - row.counters.dropped, 1)
    accepted = Counter(count - 1 for count in rounds)
    return [accepted[drafts] for drafts in range(max(row.request.block_length, *rounds))]
