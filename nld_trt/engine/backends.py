# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The backends by name. A backend's module, and its library, load when it is asked for."""

from __future__ import annotations

import importlib

from nld_trt.engine.backend import Backend
from nld_trt.errors import InputError

# Name to (module, class). The order is the one in which an engine folder prefers to run them.
BACKENDS: dict[str, tuple[str, str]] = {
    "trt": ("nld_trt.engine.trt.backend", "TrtBackend"),
    "trt-rtx": ("nld_trt.engine.trt.backend", "TrtRtxBackend"),
    "ort": ("nld_trt.engine.ort.backend", "OrtBackend"),
}

# Backends that add the contract's debug outputs while loading. The others have what was compiled in.
DEBUG_ON_DEMAND = frozenset({"ort"})


def backend(name: str) -> Backend:
    """The backend called ``name``.

    Raises:
        InputError: there is none; the message lists what exists.
    """
    if name not in BACKENDS:
        raise InputError(f"there is no backend {name!r}; available: {', '.join(BACKENDS)}")
    module, attribute = BACKENDS[name]
    made: Backend = getattr(importlib.import_module(module), attribute)()
    return made
