# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Turns the emissions of a request into the responses that its client gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from nld_trt.decode.figures import FIGURES
from nld_trt.decode.result import Result
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import NldError
from nld_trt.serving.triton.intake import Intake
from nld_trt.serving.triton.tensors import OUTPUTS

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


class Reply:
    """A listener that gathers emissions into responses: one per piece of text, or one at the end.

    If a request fails, its last response is the error, and text that has not been sent is dropped.
    """

    def __init__(self, intake: Intake, channel: Channel) -> None:
        self._intake = intake
        self._channel = channel
        self._text = intake.echo
        self._tokens: list[int] = []

    def emitted(self, emission: Emission) -> None:
        self._text += emission.text
        self._tokens += emission.tokens
        if emission.error is not None:
            self._channel.fail(emission.error)
            return
        final = emission.finish_reason is not None
        news = self._text or (self._intake.reply_ids and self._tokens)
        if not final and not (self._intake.stream and news):
            return
        outputs = self._outputs(emission.row, emission.finish_reason or "")
        self._text, self._tokens = "", []
        self._channel.send(outputs, final=final)

    def failed(self, error: NldError) -> None:
        self._channel.fail(error)

    def abandoned(self) -> bool:
        return self._channel.is_cancelled()

    def _outputs(self, row: Row, finish_reason: str) -> Outputs:
        intake = self._intake
        outputs: dict[str, Any] = {
            "text_output": self._text,
            "finish_reason": finish_reason,
            "mode": row.request.mode,
        }
        if intake.count_input:
            outputs["num_input_tokens"] = len(row.request.prompt_ids)
        if intake.count_output:
            outputs["num_output_tokens"] = len(self._tokens)
        if intake.reply_ids:
            outputs["output_ids"] = self._tokens
        return outputs | _statistics(row) if finish_reason else outputs


def _statistics(row: Row) -> dict[str, Any]:
    """Returns figures of the whole generation, for the last response. Empty if it ended before its first token."""
    if not row.emitted:
        return {}
    result = Result.of(row)
    told: dict[str, Any] = {"nfe": result.nfe, "seed": result.seed}
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
    # The prefill's token belongs to no round.
    rounds[-1] = max(len(row.emitted) - 1 - sum(rounds[:-1]), 1)
    accepted = Counter(count - 1 for count in rounds)
    return [accepted[drafts] for drafts in range(max(row.request.block_length, *rounds))]
