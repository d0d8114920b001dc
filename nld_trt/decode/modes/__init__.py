# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decoding modes by name."""

from __future__ import annotations

from collections.abc import Callable

from nld_trt import names
from nld_trt.decode.modes.autoregressive import Autoregressive
from nld_trt.decode.modes.base import Mode, RowState
from nld_trt.decode.modes.diffusion import BlockDiffusion
from nld_trt.decode.modes.linear import LinearSpeculation
from nld_trt.decode.modes.quadratic import QuadraticSpeculation
from nld_trt.names import ModeName

MODE_TYPES: dict[ModeName, Callable[[RowState], Mode]] = {
    names.AR: Autoregressive,
    names.DIFFUSION: BlockDiffusion,
    names.LINEAR: LinearSpeculation,
    names.QUADRATIC: QuadraticSpeculation,
}
