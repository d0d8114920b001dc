# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized keys and values: asked for by name, and why no engine has them yet."""

from __future__ import annotations

from nld_trt.engine.support import kv_cache_support
from nld_trt.errors import InputError

NONE = "none"


def require_kv_format(name: str) -> None:
    """Raises InputError unless some backend can keep its caches in the format called ``name``."""
    if name == NONE:
        return
    reasons = kv_cache_support()
    raise InputError(
        f"--kv-cache-qformat {name}: no backend can keep keys and values in FP8",
        details=[f"{backend}: {reason}" for backend, reason in reasons.items()],
        fix="Use --kv-cache-qformat none (the default): caches are then in the engine's precision.",
    )
