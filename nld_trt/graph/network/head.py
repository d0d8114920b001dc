# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The head in 4 bits, for engines whose layers are and whose checkpoint has it in high precision.

On a CPU one token of a small model reads more bytes of a head in high precision than of all layers in 4 bits. What
this costs in quality is in docs/quantization.md, "The head".

Shapes: V vocabulary, H hidden, G input features per group.
"""

from __future__ import annotations

import numpy as np

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import HEAD, HEAD_MODULE
from nld_trt.model.quantized.formats import LinearFormat, QuantizedWeight

_ALGORITHM = "W4A16_AWQ"
_LARGEST = 7
# Rows that are rounded at a time bound the float32 copy.
_ROWS = 4096


def rounded_head_format(checkpoint: Checkpoint) -> LinearFormat | None:
    """The format of the head where the layers are in 4 bits and it is not; None for other checkpoints.

    Its groups are those of the layers whose input is as wide.
    """
    if HEAD_MODULE in checkpoint.formats:
        return None
    width = checkpoint.shape_of(HEAD)[1]
    groups = [each.group_size for each in checkpoint.formats.values() if each.algorithm.name == _ALGORITHM]
    fitting = [group for group in groups if width % group == 0]
    return LinearFormat.named(_ALGORITHM, fitting[0]) if fitting else None


def rounded_head(checkpoint: Checkpoint, form: LinearFormat) -> QuantizedWeight:
    """The head [V, H], each group rounded to nearest with the scale that just holds its largest weight."""
    weight = checkpoint.read(HEAD)
    rows, width = weight.shape
    values = np.empty(weight.shape, np.int8)
    scale = np.empty((rows, width // form.group_size), np.float32)
    for start in range(0, rows, _ROWS):
        piece = weight[start : start + _ROWS].astype(np.float32)
        groups = piece.reshape(len(piece), -1, form.group_size)
        step = np.abs(groups).max(-1) / _LARGEST
        # A group of zeros stays zeros with any scale but 0.
        step[step == 0] = 1
        values[start : start + _ROWS] = np.rint(groups / step[..., None]).reshape(piece.shape)
        scale[start : start + _ROWS] = step
    return QuantizedWeight(form, values, scale)
