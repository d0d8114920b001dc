# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Decode a list of requests to their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request, ResolvedRequest
from nld_trt.decode.result import Result
from nld_trt.decode.row import Row


def generate(batch: Batch, requests: Sequence[Request | ResolvedRequest]) -> Iterator[tuple[int, Result]]:
    """Decode ``requests`` together; yields (index, result) as each one ends.

    Raises:
        InputError: a request does not fit the engine; none of them is started.
    """
    resolved = [batch.resolved(request) for request in requests]
    index_of: dict[Row, int] = {batch.submit(request): index for index, request in enumerate(resolved)}
    for emission in batch.run():
        if emission.finish_reason is not None:
            yield index_of[emission.row], Result.of(emission.row)
