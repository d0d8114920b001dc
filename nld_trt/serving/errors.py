# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of requests that are caused neither by the request nor by the engine."""

from __future__ import annotations

from typing import Final

from nld_trt.errors import OperationError

# In every message of a request that is refused because of the queue, by which the OpenAI front knows it.
WAITING: Final = "requests are waiting"


class Unavailable(OperationError):
    """The server cannot take the request now; the same request may be served later, or elsewhere."""


class QueueFull(Unavailable):
    """The queue of waiting requests is full."""


class Cancelled(OperationError):
    """The request was ended before it was finished, because its timeout passed."""
