# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the weight file of a ``torch`` engine holds: which matrices are stacked, in which form, and under which name.

Matrices that read the same input are stacked along their output features, so that one product serves them: q, k and v;
gate and up. They are stacked where they have the same form, the same scale of the input and the same factor on it.
Where a recipe treats them differently, the linear layer has several parts, whose outputs follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from nld_trt.engine.torch.forms import OF_ALGORITHM
from nld_trt.graph.network.prescale import BRANCHED, Prescales, read_prescale
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import BIAS, HEAD_MODULE, linear_modules
from nld_trt.model.quantized.formats import INPUT_SCALE, Float32

# The stacked linear layers of a decoder layer, by the name of the stack.
STACKS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": (BRANCHED,),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
HEAD_STACK = "head"


@dataclass(frozen=True)
class Part:
    """Matrices that are stored as one.

    Attributes:
        name: begins the names of its tensors.
        form: a key of ``forms.FORMS``.
        modules: the checkpoint's matrices, stacked in this order.
        outputs, inputs: features of the stack.
        group: input features per weight scale; 0 without groups.
        input_scale: static scale of the input; None where the form needs none.
        has_factor: a tensor multiplies the input before it is rounded.
        has_bias: a tensor is added to the output.
    """

    name: str
    form: str
    modules: tuple[str, ...]
    outputs: int
    inputs: int
    group: int = 0
    input_scale: float | None = None
    has_factor: bool = False
    has_bias: bool = False

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        if not self.has_bias:
            del values["has_bias"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        return cls(**{**values, "modules": tuple(values["modules"])})


@dataclass(frozen=True)
class _Matrix:
    """One matrix of the checkpoint, as far as it decides what can be stacked."""

    module: str
    outputs: int
    inputs: int
    algorithm: str | None
    group: int
    input_scale: float | None
    factor: Float32 | None
    has_bias: bool

    def key(self) -> tuple[object, ...]:
        """Matrices of the same key can be stacked."""
        factor = None if self.factor is None else self.factor.tobytes()
        return OF_ALGORITHM[self.algorithm].name, self.group, self.input_scale, factor, self.has_bias


def plan_layer(checkpoint: Checkpoint, layer: int, scales: Prescales) -> Iterator[Part]:
    """The parts of all linear layers of one decoder layer. ``scales`` are those of the layer."""
    prefix = f"encoder.layers.{layer}"
    for stack, parts in STACKS.items():
        matrices = [_matrix(checkpoint, f"{prefix}.{part}", scales.explicit.get(part)) for part in parts]
        yield from _parts(f"layers.{layer}.{stack}", matrices)


def plan_head(checkpoint: Checkpoint) -> Iterator[Part]:
    """The parts of the head."""
    yield from _parts(HEAD_STACK, [_matrix(checkpoint, HEAD_MODULE, read_prescale(checkpoint, HEAD_MODULE))])


def _matrix(checkpoint: Checkpoint, module: str, factor: Float32 | None) -> _Matrix:
    outputs, inputs = linear_modules(checkpoint.config)[module]
    found = checkpoint.formats.get(module)
    scale = f"{module}.{INPUT_SCALE}"
    input_scale = float(np.float32(checkpoint.read(scale).reshape(-1)[0])) if scale in checkpoint.names else None
    return _Matrix(
        module, outputs, inputs, found.algorithm.name if found else None, found.group_size if found else 0,
        input_scale, factor, f"{module}{BIAS}" in checkpoint.names,
    )  # fmt: skip


def _parts(stack: str, matrices: Sequence[_Matrix]) -> Iterator[Part]:
    for index, (_, alike) in enumerate(groupby(matrices, key=_Matrix.key)):
        stacked = list(alike)
        first = stacked[0]
        yield Part(
            name=f"{stack}.{index}",
            form=OF_ALGORITHM[first.algorithm].name,
            modules=tuple(matrix.module for matrix in stacked),
            outputs=sum(matrix.outputs for matrix in stacked),
            inputs=first.inputs,
            group=first.group,
            input_scale=first.input_scale,
            has_factor=first.factor is not None,
            has_bias=first.has_bias,
        )
