# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Failures of a request that are neither its own fault nor the engine's."""

from __future__ import annotations

from nld_trt.errors import OperationError


class Unavailable(OperationError):
    """The server cannot take the request now; the same request may be served later, or elsewhere."""


class QueueFull(Unavailable):
    """So many requests wait that another one would only wait longer."""


class Cancelled(OperationError):
    """The request was ended before its end, because its time was over."""
