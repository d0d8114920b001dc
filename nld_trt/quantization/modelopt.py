# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""ModelOpt, loaded quietly: it prints to stdout, which is for data, and warns about what does not concern a user."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from nld_trt.optional import require


@contextmanager
def quietly() -> Iterator[None]:
    """Keep ModelOpt's progress prints and warnings off the terminal; nld-trt reports its own."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def require_modelopt() -> None:
    """Raises InputError with the install command when a package of the extra ``quantize`` is missing."""
    # requests and datasets are imported by modelopt and not declared by it.
    for module in ("torch", "requests", "datasets"):
        require(module, wanted_by="quantize")
    with quietly():
        require("modelopt.torch.quantization", wanted_by="quantize")
        require("modelopt.torch.export", wanted_by="quantize")
