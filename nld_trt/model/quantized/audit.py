# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checks whether a quantized checkpoint holds what its configuration says, by reading its scales and weights.

Exports have been published whose labels differ from their contents: they load and run, and answer worse. Opening a
checkpoint compares dtypes and shapes with its quantization; the audit also reads every scale and weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nld_trt.errors import InputError, some
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import BIAS, HEAD_MODULE, linear_modules
from nld_trt.model.quantized.formats import INPUT_SCALE, PRE_QUANT_SCALE, WEIGHT_SCALE, WEIGHT_SCALE_2
from nld_trt.model.safetensors_file import Array

_SCALES = (WEIGHT_SCALE, WEIGHT_SCALE_2, INPUT_SCALE, PRE_QUANT_SCALE)
# The largest code of each weight type. A scale is the group's largest weight divided by this code, so nearly every
# group of a layer reaches it. Clipping increases the number of such groups.
_FULL_RANGE = {"int8": 7, "float4_e2m1fn": 6.0, "float8_e4m3fn": 448.0}
# The code that counts as reaching the end of the range: rounding scales to BF16 or E4M3 moves the largest weight by up
# to one code.
_ROUNDED_RANGE = {"int8": 6, "float4_e2m1fn": 4.0, "float8_e4m3fn": 208.0}
_MOST_GROUPS = 0.9


@dataclass(frozen=True)
class LinearAudit:
    """The audit of one linear layer: its algorithm (None in high precision), and bits per weight with scales."""

    module: str
    algorithm: str | None
    group_size: int
    bits_per_weight: float


@dataclass(frozen=True)
class Audit:
    """The audit of a checkpoint.

    Attributes:
        linears: the linear layers, in the order of the network.
        problems: differences between the contents and the configuration.
    """

    folder: str
    linears: tuple[LinearAudit, ...]
    problems: tuple[str, ...]
    weights: int
    bits: float

    @property
    def bits_per_weight(self) -> float:
        """Mean bits per weight of all linear layers, including the head."""
        return self.bits / self.weights

    @property
    def head_quantized(self) -> bool:
        return any(linear.module == HEAD_MODULE and linear.algorithm for linear in self.linears)

    def require(self) -> None:
        """Raise InputError if there are problems, which are listed."""
        if self.problems:
            raise InputError(
                f"The quantized checkpoint {self.folder} does not hold what its configuration says",
                details=some(self.problems),
                fix="Quantize again: nld-trt quantize CHECKPOINT -o DIR --int4",
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the facts for ``inspect`` and manifests, with an entry for each algorithm and group size."""
        groups: dict[tuple[str, int], list[LinearAudit]] = {}
        for linear in self.linears:
            groups.setdefault((linear.algorithm or "high precision", linear.group_size), []).append(linear)
        return {
            "bits_per_weight": round(self.bits_per_weight, 3),
            "head_quantized": self.head_quantized,
            "linears": [
                {
                    "algorithm": algorithm,
                    **({"group_size": group} if group else {}),
                    "layers": len(found),
                    "bits_per_weight": sorted({round(linear.bits_per_weight, 3) for linear in found}),
                }
                for (algorithm, group), found in groups.items()
            ],
            "problems": list(self.problems),
        }


def audit(checkpoint: Checkpoint, *, head: bool | None = None) -> Audit:
    """Audit every quantized layer of ``checkpoint``. One layer is in memory at a time.

    Args:
        head: whether the head should be quantized; None where that is not known.
    """
    linears: list[LinearAudit] = []
    problems: list[str] = []
    weights, bits = 0, 0.0
    for module, (outputs, inputs) in linear_modules(checkpoint.config).items():
        if module == HEAD_MODULE and checkpoint.has_tied_head:
            continue
        stored = [name for name in checkpoint.names if name.rpartition(".")[0] == module and not name.endswith(BIAS)]
        size = sum(checkpoint.nbytes_of(name) for name in stored) * 8
        found = checkpoint.formats.get(module)
        linears.append(
            LinearAudit(
                module,
                found.algorithm.name if found else None,
                found.group_size if found else 0,
                size / (outputs * inputs),
            )
        )
        weights, bits = weights + outputs * inputs, bits + size
        if found is not None:
            problems += _layer_problems(checkpoint, module, stored)
    if head is not None and (HEAD_MODULE in checkpoint.formats) != head:
        problems.append(f"{HEAD_MODULE} is {'quantized' if not head else 'not quantized'}, and should not be so")
    if checkpoint.quantization is not None and not checkpoint.formats:
        problems.append("no layer is quantized: all are excluded")
    return Audit(str(checkpoint.folder), tuple(linears), tuple(problems), weights, bits)


def _layer_problems(checkpoint: Checkpoint, module: str, stored: list[str]) -> Iterator[str]:
    faulty = False
    for name in (name for name in stored if name.rpartition(".")[2] in _SCALES):
        for problem in _scale_problems(name, checkpoint.read(name)):
            faulty = True
            yield problem
    if not faulty:
        yield from _value_problems(checkpoint, module)


def _scale_problems(name: str, stored: Array) -> Iterator[str]:
    # A block of weights that are all zero has scale zero in E4M3. Any other scale of zero would zero a layer's output.
    zero_allowed = name.endswith(f".{WEIGHT_SCALE}") and stored.ndim == 2
    scale = stored.astype(np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(scale))):
        yield f"{name}: {bad} of {scale.size} scales are NaN or infinite"
    if bad := int(np.count_nonzero(scale < 0 if zero_allowed else scale <= 0)):
        yield f"{name}: {bad} of {scale.size} scales are {'negative' if zero_allowed else 'not positive'}"


def _value_problems(checkpoint: Checkpoint, module: str) -> Iterator[str]:
    weight = checkpoint.read_quantized(module)
    kind = weight.values.dtype.name
    rows = weight.values.reshape(-1, weight.format.group_size) if weight.format.group_size else weight.values
    largest = np.empty(len(rows), np.float32)
    step = max(1, (1 << 24) // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        largest[start : start + step] = np.abs(rows[start : start + step].astype(np.float32)).max(axis=1)
    if weight.format.algorithm.name == "FP8":  # it has one scale for the whole matrix
        largest = largest.max(keepdims=True)
    if bad := int(np.count_nonzero(~np.isfinite(largest))):
        yield f"{module}.weight: {bad} rows hold NaN"
        return
    live = largest[(weight.scale.reshape(-1) > 0)] if weight.scale.size == largest.size else largest
    reached = np.count_nonzero(live >= _ROUNDED_RANGE[kind]) / max(1, live.size)
    if reached < _MOST_GROUPS:
        yield (
            f"{module}.weight: only {reached:.0%} of its groups reach the end of the {kind} range "
            f"({_FULL_RANGE[kind]}): the scales do not belong to these weights"
        )
