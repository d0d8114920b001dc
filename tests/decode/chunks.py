# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Results without what depends on the other rows of a batch."""

from __future__ import annotations

from dataclasses import replace

from nld_trt.decode.result import Result


def without_chunks(result: Result) -> Result:
    """All but the number of prompt chunks: they are as long as the other rows' forwards take."""
    return replace(result, forwards={kind: count for kind, count in result.forwards.items() if kind != "prefill"})
