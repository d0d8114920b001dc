# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What one client may take of the front: bytes, seconds, choices."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nld_trt import names
from nld_trt.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of the front.

    Attributes:
        max_body_bytes: longest body of a request.
        max_header_bytes: most of a request line with its headers that may arrive without the end of the headers.
        max_choices: answers of one request: prompts × ``n``.
        max_open: requests that are open at the same time; more are refused with 429.
        body_seconds: time for the whole body to arrive.
        timeout: longest time to wait for the next piece of an answer, or for a whole one that is not streamed, in
            seconds.
        deadline: time for a whole answer, which the server keeps, in seconds; None for no limit.
        stall_seconds: longest time in which a client reads nothing of a stream.
        exit_seconds: time in which open requests may end when the front is stopped.
    """

    max_body_bytes: int = names.DEFAULT_MAX_BODY_BYTES
    max_header_bytes: int = 32 * 1024
    max_choices: int = 16
    max_open: int = 1024
    body_seconds: float = 30.0
    timeout: float = names.DEFAULT_CLIENT_TIMEOUT
    deadline: float | None = None
    stall_seconds: float = 120.0
    exit_seconds: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not value > 0:  # NaN fails this as well
                raise InputError(f"{each.name.replace('_', '-')} is {value:g}; it must be above 0")
