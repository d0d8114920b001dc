# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The building blocks as kernels of our own: what GPUs run.

Matrix products in high precision are PyTorch's, and so are those of FP8 with many tokens where the GPU has them.

Shapes: as in ``blocks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import DraftAdapter, HeadNorms, LayerCaches, LinearLayer
from nld_trt.engine.torch.eager import RotaryTables
from nld_trt.engine.torch.forms import FORMS, FP4, FP4_BOTH, FP8, FP8_PER_TOKEN, INT4, ROW_SCALE, SCALE, WEIGHT
from nld_trt.engine.torch.kernels.attention import attend
from nld_trt.engine.torch.kernels.draft import add_draft
from nld_trt.engine.torch.kernels.few import MOST_TOKENS, PACKED, Products, reordered, takes_groups
from nld_trt.engine.torch.kernels.fp8 import quantize
from nld_trt.engine.torch.kernels.mlp import swiglu
from nld_trt.engine.torch.kernels.norm import add_norm, norm
from nld_trt.engine.torch.kernels.rotary import Rows, rotate_and_store
from nld_trt.engine.torch.kernels.unpack import unpack
from nld_trt.engine.torch.layout import Part
from nld_trt.engine.torch.linear import ROUND, UnpackedPart
from nld_trt.engine.torch.row_layout import position_program
from nld_trt.engine.torch.types import ACTIVATIONS
from nld_trt.engine.torch.writer import FACTOR
from nld_trt.graph import contract

# The inputs of the step contract that positions and masks depend on.
_INTEGERS = ("tokens", "cache_length", "valid_count", "causal", "segments", "draft_adapter")
_FP8_FORMS = (FP8.name, FP8_PER_TOKEN.name)
# Forms of packed weights, and how the kernel calls their values.
_PACKED_FORMS = {INT4.name: PACKED[0], FP4.name: PACKED[1], FP4_BOTH.name: PACKED[1]}


@dataclass(frozen=True)
class FusedLayout:
    """The integers of the rows, from which each kernel computes what it needs.

    Attributes:
        inputs: those of the step contract, by name.
    """

    rows: Rows
    inputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class PackedPart:
    """A part with weights of 4 bits, which the matrix product unpacks.

    Attributes:
        weight: bytes in the order of the kernel.
        form: of the values, as the kernel calls it.
        factor: [I] multiplies the input, or None.
    """

    part: Part
    weight: Tensor
    form: str
    scale: Tensor
    row_scale: Tensor | None
    factor: Tensor | None
    products: Products

    @classmethod
    def of(cls, part: Part, tensors: Mapping[str, Tensor], products: Products) -> PackedPart:
        form = _PACKED_FORMS[part.form]
        weight = reordered(tensors[WEIGHT], form)
        if tensors[WEIGHT].is_cuda and weight.shape == tensors[WEIGHT].shape:
            # The GPU need not hold both. On a CPU the tensor may be that of a file.
            weight = tensors[WEIGHT].copy_(weight)
        return cls(part, weight, form, tensors[SCALE], tensors.get(ROW_SCALE), tensors.get(FACTOR), products)

    def __call__(self, x: Tensor) -> Tensor:
        scaled = x if self.factor is None else x * self.factor
        rounded = ROUND[FORMS[self.part.form].rounding](scaled, self.part.input_scale)
        if len(x) <= MOST_TOKENS:
            return self.products(rounded, self.weight, self.form, x.dtype, scale=self.scale, row_scale=self.row_scale)
        return F.linear(rounded, unpack(self.weight, self.form, x.shape[1], x.dtype, self.scale, self.row_scale))


@dataclass(frozen=True)
class Fp8Part:
    """A part with weights of FP8, multiplied with activations of FP8.

    Attributes:
        weight: [O, I] float8_e4m3fn.
        row_scale: [O] float32.
        input_scale: of all tokens, or None for a scale of each.
    """

    weight: Tensor
    row_scale: Tensor
    input_scale: float | None
    products: Products

    def __call__(self, x: Tensor) -> Tensor:
        values, steps = quantize(x, self.input_scale)
        if len(x) <= MOST_TOKENS:
            return self.products(values, self.weight, "fp8", x.dtype, row_scale=self.row_scale, steps=steps)
        product: Tensor = torch._scaled_mm(
            values, self.weight.t(), scale_a=steps, scale_b=self.row_scale[None], out_dtype=x.dtype
        )
        return product


def _groups(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Input features of packed weights, and those of a group."""
    inputs = 2 * tensors[WEIGHT].shape[1]
    return inputs, inputs // tensors[SCALE].shape[1]


class FusedBlocks:
    """See :class:`blocks.Blocks`."""

    def __init__(self, info: EngineInfo, device: torch.device, *, processors: int, has_fp8: bool = False) -> None:
        """
        Args:
            processors: multiprocessors of the GPU.
            has_fp8: the GPU multiplies matrices of FP8.
        """
        self._dtype = ACTIVATIONS[info.precision]
        self._eps = info.config.rms_norm_eps
        tables = RotaryTables.of(info, device)
        self._tables = tables.query_cos, tables.query_sin, tables.key_cos, tables.key_sin
        self._positions = position_program(info, device)
        self._processors = processors
        config = info.config
        widest = max(2 * config.intermediate_size, config.query_size + 2 * config.key_value_size, config.vocab_size)
        self._products = Products.on(device, processors, widest)
        self._prompt_block = contract.prompt_block(info.config, info.limits)
        # Scales for each row are given to products with results in BF16 only.
        self._has_fp8 = has_fp8 and self._dtype == torch.bfloat16

    def layout(self, inputs: Mapping[str, Tensor], caches: LayerCaches) -> FusedLayout:
        rows = Rows(
            inputs["cache_length"], inputs["valid_count"], inputs["causal"], inputs["segments"],
            inputs["tokens"].shape[1], self._prompt_block,
        )  # fmt: skip
        return FusedLayout(rows, {name: inputs[name] for name in _INTEGERS})

    def positions(self, layout: FusedLayout) -> Tensor:
        (positions,) = self._positions.run(layout.inputs)
        return positions.clamp_max(len(self._tables[0]) - 1)

    def linear(self, part: Part, tensors: Mapping[str, Tensor]) -> LinearLayer:
        if part.form in _PACKED_FORMS and takes_groups(*_groups(tensors)):
            return PackedPart.of(part, tensors, self._products)
        if part.form in _FP8_FORMS and self._has_fp8 and not part.has_factor:
            return Fp8Part(tensors[WEIGHT], tensors[ROW_SCALE], part.input_scale, self._products)
        return UnpackedPart.of(part, tensors, self._dtype)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return norm(x, weight, self._eps)

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return add_norm(x, residual, weight, self._eps)

    def attention(
        self, qkv: Tensor, layout: FusedLayout, caches: LayerCaches, norms: HeadNorms | None = None
    ) -> Tensor:
        weights = None if norms is None else (norms.query, norms.key)
        query = rotate_and_store(qkv, layout.rows, caches.keys, caches.values, self._tables, weights, self._eps)
        return attend(query, layout.rows, caches.keys, caches.values, self._processors)

    def activate(self, gate_up: Tensor) -> Tensor:
        return swiglu(gate_up)

    def add_draft(self, projected: Tensor, x: Tensor, adapter: DraftAdapter, layout: FusedLayout) -> Tensor:
        gates = layout.inputs["draft_adapter"]
        return add_draft(projected, x, adapter.lora_a, adapter.lora_b, gates, layout.rows)
