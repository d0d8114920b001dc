# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The order of the elements of a head, which decides which of them are rotated together.

Attention does not depend on the order, as long as queries and keys have the same. Programs that rotate neighbouring
elements compute the network of a checkpoint of this family if its elements are stored as pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from nld_trt.model.safetensors_file import Array, SafetensorsFile, SafetensorsWriter

# Layers whose rows are elements of heads that are rotated.
_ROTATED: Final = ("q_proj.weight", "k_proj.weight")


def is_rotated(name: str) -> bool:
    """Whether a tensor holds rows that are rotated."""
    return name.endswith(_ROTATED)


def as_pairs(weight: Array, head_dim: int) -> Array:
    """Returns a [heads · D, H] weight in which element i of a head is followed by element i + D / 2."""
    return _reordered(weight, np.arange(head_dim).reshape(2, -1).T.ravel())


def as_halves(weight: Array, head_dim: int) -> Array:
    """Returns what :func:`as_pairs` was made from."""
    return _reordered(weight, np.arange(head_dim).reshape(-1, 2).T.ravel())


def write_as_pairs(source: Path, target: Path, head_dim: int) -> None:
    """Copy a safetensors file, with the rotated layers as pairs. Tensors are read one at a time.

    Raises:
        InputError: ``source`` cannot be read.
    """
    stored = SafetensorsFile.open(source)
    declared = {name: (info.dtype, info.shape) for name, info in stored.tensors.items()}
    with SafetensorsWriter(target, declared, stored.metadata) as writer:
        for name in stored.tensors:
            if is_rotated(name):
                writer.write(name, as_pairs(stored.read(name), head_dim))
            else:
                writer.write_chunks(name, stored.chunks(name))


def _reordered(weight: Array, order: Array) -> Array:
    heads = weight.reshape(-1, len(order), weight.shape[-1])
    return np.ascontiguousarray(heads[:, order].reshape(weight.shape))
