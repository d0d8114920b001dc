# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Loads ModelOpt without its output: it prints to stdout, which is for data, and warns about irrelevant things."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from nld_trt.optional import require


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress ModelOpt's progress and warnings, because nld-trt reports progress itself."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def require_modelopt() -> None:
    """Raise InputError with the install command if a package of the extra ``quantize`` is missing."""
    # modelopt imports requests and datasets, and does not declare them as dependencies.
    for module in ("torch", "requests", "datasets"):
        require(module, wanted_by="quantize")
    with quietly():
        require("modelopt.torch.quantization", wanted_by="quantize")
        require("modelopt.torch.export", wanted_by="quantize")
