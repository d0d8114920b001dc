# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An answer while it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from nld_trt.decode.result import Result
from nld_trt.decode.shared import SharedBatch, Ticket


class Stream(Iterator[str]):
    """Pieces of text as they become final; together they are the result's text.

    Decoding goes on while someone asks for the next piece, of this stream or of another answer of the same engine.
    Closing a stream, leaving its ``with`` block or letting go of it ends its request and frees its row.
    """

    def __init__(self, shared: SharedBatch, ticket: Ticket) -> None:
        self._shared = shared
        self._ticket = ticket
        self._closed = False

    @property
    def result(self) -> Result | None:
        """The whole answer; None until the last piece was taken or the stream was closed."""
        return self._ticket.result if self._closed or not self._ticket.pieces else None

    @property
    def tokens(self) -> list[int]:
        """The ids that were generated until now; they can be ahead of the pieces."""
        return list(self._ticket.tokens)

    def __next__(self) -> str:
        """The next piece.

        Raises:
            StopIteration: with the result, after the last piece.
            OperationError: the request ended by an error; ``result`` has what was good.
        """
        if not self._closed:
            self._shared.advance(self._ticket)
            if self._ticket.pieces:
                return self._ticket.pieces.popleft()
            self._closed = True
            if self._ticket.failure is not None:
                raise self._ticket.failure
            assert self._ticket.result is not None
            self._ticket.result.or_raise()
        raise StopIteration(self._ticket.result)

    def finish(self) -> Result:
        """Read on to the end, and return the whole answer.

        Raises:
            OperationError: the request ended by an error.
        """
        result = self._shared.finish(self._ticket)
        self._closed = True
        return result.or_raise()

    def close(self) -> None:
        """End the request where it is. ``result`` is then what there was, with finish reason ``cancelled``."""
        self._closed = True
        self._shared.cancel(self._ticket)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A finaliser can run in the middle of a forward: it leaves a note for the next one.
        if ticket := getattr(self, "_ticket", None):
            ticket.dropped = True

    def __repr__(self) -> str:
        state = "running" if not self._ticket.ended else repr(self._ticket.result or self._ticket.failure)
        return f"<Stream: {len(self._ticket.tokens)} tokens, {state}>"
