# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What commands say about the defaults that a checkpoint's generation_config.json has for requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nld_trt.cli._output import output

if TYPE_CHECKING:
    from nld_trt.engine.session import EngineInfo


def note_defaults(info: EngineInfo, *, mode: str = "", given: Mapping[str, Any] | None = None) -> None:
    """Name the defaults that take part in a request, or without ``mode`` in those of a file.

    Args:
        given: what the request says itself; None where it says nothing.
    """
    from nld_trt.decode.sampling import taken_over
    from nld_trt.model.generation import GENERATION_FILE, SAMPLING, in_words

    stated = {name: value for name, value in (given or {}).items() if value is not None}
    defaults = {**info.generation.honoured, **taken_over(info.generation, mode)}
    sampling = taken_over(info.generation, mode) | stated
    taken = {
        name: value
        for name, value in defaults.items()
        if name not in stated and (name not in SAMPLING or (name in sampling and sampling.get("temperature")))
    }
    if taken:
        output.note(f"defaults from {GENERATION_FILE}: {in_words(taken)}")
