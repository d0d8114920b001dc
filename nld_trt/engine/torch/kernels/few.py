# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Matrix products of few tokens with quantized weights, which take little longer than reading the weights does.

Weights are the left side of the product, so that their outputs fill the tensor cores however few the tokens are. The
input features are divided among several programs where there are few outputs; the last program of a tile adds up.

Weights of 4 bits are stored for this kernel in another order than engines have them (:func:`reordered`): a byte holds
the weights of two input features that are half a block apart, so that each half of the bytes meets a contiguous half of
the block's inputs.

Shapes: T tokens, I input features, O output features, G input features per group, P parts of the input features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

# Input features whose weights of 4 bits are stored together.
BLOCK = 128
# Forms with two weights in a byte.
PACKED = ("int4", "fp4")
_MOST_PARTS = 16
# Shared memory of a program that every supported GPU grants, in bytes: compute capability 8.6, 8.9 and 12.x.
LEAST_SHARED = 99 * 1024
# Products of more tokens are left to other kernels.
MOST_TOKENS = 128


@dataclass(frozen=True)
class Tile:
    """How a product is divided.

    Attributes:
        outputs: of a program.
        features: that a program reads at a time.
        programs: for each multiprocessor of the GPU, to aim at by dividing the input features.
    """

    outputs: int
    features: int
    warps: int
    stages: int
    programs: int


# The fastest of those that bench/products.py tries, over the matrices of the 8B model on an H200.
TILES: Mapping[str, Tile] = {
    "fp8": Tile(outputs=64, features=256, warps=4, stages=5, programs=1),
    "int4": Tile(outputs=128, features=BLOCK, warps=8, stages=3, programs=2),
    "fp4": Tile(outputs=64, features=BLOCK, warps=4, stages=3, programs=4),
}


@triton.jit
def integers(codes, like):
    """0 to 15 with an offset of 8 as floating-point numbers, exactly, without the slow conversion of integers."""
    if like.dtype == tl.bfloat16:
        # 128 has a unit of 1 in the last place of BF16.
        return (codes.to(tl.uint16) | 0x4300).to(tl.bfloat16, bitcast=True) - 136.0
    elif like.dtype == tl.float16:
        return (codes.to(tl.uint16) | 0x6400).to(tl.float16, bitcast=True) - 1032.0
    else:
        return codes.to(tl.float32) - 8.0


@triton.jit
def fp4_values(code, like):
    """E2M1: sign, two bits of exponent, one of mantissa."""
    exponent, mantissa = ((code >> 1) & 3).to(tl.int32), (code & 1).to(tl.float32)
    magnitude = tl.where(exponent == 0, 0.5 * mantissa, (2.0 + mantissa) * (1 << exponent).to(tl.float32) * 0.25)
    return tl.where((code & 8) != 0, -magnitude, magnitude).to(like.dtype)


@triton.jit
def _spread(scale, groups, output, wanted, begin, group, like, OUTPUTS: tl.constexpr, FEATURES: tl.constexpr,
            GROUP: tl.constexpr):  # fmt: skip
    """The scale of each weight of half a block, where several groups are in one: [OUTPUTS, FEATURES]."""
    place = begin // group + tl.arange(0, FEATURES // GROUP)
    steps = tl.load(scale + output.to(tl.int64)[:, None] * groups + place[None, :],
                    mask=wanted & (place < groups)[None, :], other=0.0).to(like.dtype)  # fmt: skip
    wide = tl.broadcast_to(steps[:, :, None], [OUTPUTS, FEATURES // GROUP, GROUP])
    return tl.reshape(wide, [OUTPUTS, FEATURES])


@triton.jit(do_not_specialize=["tokens"])
def _few(
    x, weight, scale, row_scale, steps, out, partial, arrived, tokens, outputs, inputs, bytes_in_row, group,
    FORM: tl.constexpr, TOKENS: tl.constexpr, OUTPUTS: tl.constexpr, FEATURES: tl.constexpr, DIVIDED: tl.constexpr,
    GROUP: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """One program for a tile of outputs and a part of the input features; all tokens.

    GROUP: input features per group where several groups are in a block; 0 otherwise.
    """
    tile, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    output, token = tile * OUTPUTS + tl.arange(0, OUTPUTS), tl.arange(0, TOKENS)
    here, wanted = (token < tokens)[None, :], (output < outputs)[:, None]
    length = tl.cdiv(tl.cdiv(inputs, FEATURES), parts) * FEATURES
    start = part * length
    stop = tl.minimum(start + length, inputs)
    total = tl.zeros([OUTPUTS, TOKENS], tl.float32)
    # Rows of weights are long enough for 32 bits to overflow, parts of them are not.
    rows = weight + output.to(tl.int64)[:, None] * bytes_in_row
    precision: tl.constexpr = "ieee" if PRECISE else "tf32"
    HALF: tl.constexpr = FEATURES // 2
    groups = inputs // group
    if FORM == "int4" and GROUP == 0:
        # The scale is loaded an iteration before it is needed: this load is not among those that are pipelined.
        steps_of = scale + output.to(tl.int64) * groups
        step = tl.load(steps_of + tl.minimum(start // group, groups - 1), mask=output < outputs, other=0.0)
    for begin in range(start, stop, FEATURES):
        if FORM == "float" or FORM == "fp8":
            feature = begin + tl.arange(0, FEATURES)
            inside = feature < inputs
            w = tl.load(rows + feature[None, :], mask=wanted & inside[None, :], other=0.0)
            values = tl.load(x + token[None, :] * inputs + feature[:, None], mask=here & inside[:, None], other=0.0)
            total = tl.dot(w, values, total, input_precision=precision)
        else:
            byte = begin // 2 + tl.arange(0, HALF)
            codes = tl.load(rows + byte[None, :], mask=wanted, other=0)
            lower, upper = begin + tl.arange(0, HALF), begin + HALF + tl.arange(0, HALF)
            first = tl.load(x + token[None, :] * inputs + lower[:, None], mask=here & (lower < inputs)[:, None],
                            other=0.0)  # fmt: skip
            second = tl.load(x + token[None, :] * inputs + upper[:, None], mask=here & (upper < inputs)[:, None],
                             other=0.0)  # fmt: skip
            if FORM == "int4":
                low, high = integers(codes & 15, first), integers(codes >> 4, first)
            else:
                low, high = fp4_values(codes & 15, first), fp4_values(codes >> 4, first)
            if GROUP > 0:
                low *= _spread(scale, groups, output, wanted, begin, group, first, OUTPUTS, HALF, GROUP)
                high *= _spread(scale, groups, output, wanted, begin + HALF, group, first, OUTPUTS, HALF, GROUP)
                total = tl.dot(low, first, total, input_precision=precision)
                total = tl.dot(high, second, total, input_precision=precision)
            else:
                following = tl.minimum((begin + FEATURES) // group, groups - 1)
                next_step = tl.load(steps_of + following, mask=output < outputs, other=0.0)
                product = tl.dot(low, first, input_precision=precision)
                product = tl.dot(high, second, product, input_precision=precision)
                total += product * step.to(tl.float32)[:, None]
                step = next_step
    places = token.to(tl.int64)[None, :] * outputs + output[:, None]
    kept = here & wanted
    if DIVIDED:
        size = tokens.to(tl.int64) * outputs
        tl.store(partial + part * size + places, total, mask=kept)
        # Every thread's numbers are written before the program is counted.
        tl.debug_barrier()
        if tl.atomic_add(arrived + tile, 1, sem="acq_rel") != parts - 1:
            return
        tl.store(arrived + tile, 0)
        total = tl.zeros([OUTPUTS, TOKENS], tl.float32)
        for other in range(parts):
            total += tl.load(partial + other * size + places, mask=kept, other=0.0, cache_modifier=".cg")
    if FORM == "fp8" or FORM == "fp4":
        total = total * tl.load(row_scale + output, mask=output < outputs, other=0.0)[:, None]
    if FORM == "fp8":
        total = total * tl.load(steps + token, mask=token < tokens, other=0.0)[None, :]
    tl.store(out + places, total.to(out.dtype.element_ty), mask=kept)


def takes_groups(inputs: int, group: int) -> bool:
    """Whether the kernels take weights of 4 bits with a scale for each ``group`` of ``inputs`` input features."""
    return group == inputs or group % BLOCK == 0 or (BLOCK // 2) % group == 0


def reordered(packed: Tensor, form: str) -> Tensor:
    """Packed weights [O, I / 2], an even and the next odd feature in a byte, in the order of this kernel.

    Integers get an offset of 8. The input features are filled up to whole blocks with zeros.

    Returns:
        Bytes [O, ceil(I / BLOCK) · BLOCK / 2].
    """
    codes = torch.stack((packed & 0xF, packed >> 4), -1).flatten(1)
    codes = F.pad(codes, (0, -codes.shape[1] % BLOCK))
    if form == "int4":
        codes = codes ^ 8
    blocks = codes.unflatten(1, (-1, 2, BLOCK // 2))
    joined: Tensor = blocks[:, :, 0] | blocks[:, :, 1] << 4
    return joined.flatten(1).contiguous()


@dataclass(frozen=True)
class Products:
    """Launches the kernel on one GPU.

    Attributes:
        processors: multiprocessors of the GPU.
        arrived: zeros int32, which every product leaves as zeros: programs of a tile that have finished.
        shared_bytes: shared memory that a program may have.
        tiles: by the form of the weights.
    """

    processors: int
    arrived: Tensor
    shared_bytes: int
    tiles: Mapping[str, Tile]

    @classmethod
    def on(cls, device: torch.device, processors: int, most_outputs: int, tiles: Mapping[str, Tile] = TILES) -> Self:
        """
        Args:
            most_outputs: of any product.
        """
        least, shared = min(tile.outputs for tile in tiles.values()), LEAST_SHARED
        arrived = torch.zeros(triton.cdiv(most_outputs, least), dtype=torch.int32, device=device)
        if device.type == "cuda":
            # Stubs of PyTorch do not have it.
            properties = torch.cuda.get_device_properties(device)
            shared = getattr(properties, "shared_memory_per_block_optin", LEAST_SHARED)
        return cls(processors, arrived, shared, tiles)

    def stages(self, form: str, tokens: int, input_bytes: int) -> int:
        """Tiles of weights and inputs that a program has under way: as many as the tile says, or as fit.

        Args:
            tokens: of the tile.
            input_bytes: of one value of the input.
        """
        tile = self.tiles[form]
        per_weight = 0.5 if form in PACKED else input_bytes
        each = int(tile.outputs * tile.features * per_weight) + tile.features * tokens * input_bytes
        return max(1, min(tile.stages, self.shared_bytes // each))

    def __call__(
        self, x: Tensor, weight: Tensor, form: str, out_dtype: torch.dtype,
        *, scale: Tensor | None = None, row_scale: Tensor | None = None, steps: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x [T, I] times the weights, [T, O], with T <= MOST_TOKENS.

        Args:
            weight: [O, I] in the type of x, or bytes as :func:`reordered` returns them.
            form: of the weights: "float", "fp8", "int4" or "fp4".
            scale: [O, I / G] of 4-bit weights, with groups that :func:`takes_groups` takes.
            row_scale: [O] float32 of FP8 and FP4 weights.
            steps: [T, 1] float32, the scale of each token of x in FP8.
        """
        tile, (tokens, inputs), outputs = self.tiles[form], x.shape, len(weight)
        out = torch.empty((tokens, outputs), dtype=out_dtype, device=x.device)
        is_packed = form in PACKED
        group = inputs if scale is None else inputs // scale.shape[1]
        features = BLOCK if is_packed else tile.features
        tiles = triton.cdiv(outputs, tile.outputs)
        wide = max(triton.next_power_of_2(tokens), 16)
        parts = min(tile.programs * self.processors // tiles, triton.cdiv(inputs, features), _MOST_PARTS)
        partial = out
        if parts > 1:
            partial = torch.empty((parts, tokens, outputs), dtype=torch.float32, device=x.device)
        _few[(tiles, max(parts, 1))](
            x, weight, out if scale is None else scale, out if row_scale is None else row_scale,
            out if steps is None else steps, out, partial, self.arrived,
            tokens, outputs, inputs, weight.shape[1], group,
            FORM=form, TOKENS=wide, OUTPUTS=tile.outputs, FEATURES=features,
            DIVIDED=parts > 1, GROUP=group if is_packed and group < BLOCK and group < inputs else 0,
            PRECISE=x.dtype == torch.float32, num_warps=tile.warps,
            num_stages=self.stages(form, wide, x.element_size()),
        )  # fmt: skip
        return out
