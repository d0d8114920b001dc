# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Each Triton kernel, interpreted on the CPU, against the definition that it must agree with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch import linear
from nld_trt.engine.torch.blocks import DraftAdapter, HeadNorms, LayerCaches
from nld_trt.engine.torch.eager import EagerBlocks
from nld_trt.engine.torch.forms import FORMS, ROW_SCALE, SCALE, WEIGHT, pack_pairs
from nld_trt.engine.torch.fused import FusedBlocks
from nld_trt.engine.torch.kernels.attention import splits_for
from nld_trt.engine.torch.kernels.few import LEAST_SHARED, MOST_TOKENS, PACKED, TILES, Products, Tile, reordered
from nld_trt.engine.torch.kernels.fp8 import quantize
from nld_trt.engine.torch.layout import Part
from nld_trt.graph.contract import Limits, quadratic_width
from nld_trt.model.config import ModelConfig

CPU = torch.device("cpu")
DRAFTS = 2
LIMITS = Limits(max_batch_size=8, max_seq_len=256, max_block_length=16, prompt_chunk=64, max_quadratic_length=DRAFTS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def info(golden) -> EngineInfo:
    config = golden("tiny-a").config
    return EngineInfo(config, LIMITS, "torch", "fp32", has_adapter=True)


@pytest.fixture(scope="module")
def families(info):
    return EagerBlocks(info, CPU), FusedBlocks(info, CPU, processors=4)


# Passes of one row: new tokens that are real, cached tokens, causal, k of a quadratic pass.
PASSES = {
    "first prompt chunk": (16, 0, True, 0),
    "later prompt chunk": (11, 70, True, 0),
    "token": (1, 130, True, 0),
    "draft": (8, 63, False, 0),
    "verify": (8, 63, True, 0),
    "quadratic": (quadratic_width(DRAFTS), 40, True, DRAFTS),
    "empty": (0, 0, False, 0),
}


def forward(passes, config: ModelConfig, seed: int = 0):
    """Inputs of a forward with these rows, and caches that hold what was cached."""
    rng = torch.Generator().manual_seed(seed)
    rows, width = len(passes), max(1, *(each[0] for each in passes))
    columns = list(zip(*passes, strict=True))
    inputs = {
        "tokens": torch.randint(0, config.vocab_size, (rows, width), generator=rng, dtype=torch.int32),
        "valid_count": torch.tensor(columns[0], dtype=torch.int32),
        "cache_length": torch.tensor(columns[1], dtype=torch.int32),
        "causal": torch.tensor(columns[2]),
        "segments": torch.tensor(columns[3], dtype=torch.int32),
        "draft_adapter": torch.ones(rows, dtype=torch.bool),
    }
    shape = (rows, config.num_key_value_heads, LIMITS.capacity, config.head_dim)
    caches = LayerCaches(torch.randn(shape, generator=rng), torch.randn(shape, generator=rng))
    features = config.query_size + 2 * config.key_value_size
    return inputs, caches, torch.randn(rows * width, features, generator=rng)


def real_tokens(inputs) -> torch.Tensor:
    """[T] bool: new tokens that are not padding."""
    return (torch.arange(inputs["tokens"].shape[1]) < inputs["valid_count"][:, None]).reshape(-1)


def copied(caches: LayerCaches) -> LayerCaches:
    return LayerCaches(caches.keys.clone(), caches.values.clone())


@pytest.mark.parametrize(
    "rows",
    [("first prompt chunk",), ("token",), ("token",) * 5, tuple(PASSES), ("quadratic", "token"), ("draft", "verify")],
    ids=", ".join,
)
def test_attention_is_that_of_pytorch(info, families, rows):
    passes = [PASSES[name] for name in rows]
    inputs, caches, qkv = forward(passes, info.config)
    results = []
    for blocks in families:
        own = copied(caches)
        attended = blocks.attention(qkv, blocks.layout(inputs, own), own)
        results.append((attended[real_tokens(inputs)], own))
    (expected, expected_caches), (found, found_caches) = results
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for row, (count, cached, _, _) in enumerate(passes):
        for kind in ("keys", "values"):
            written = [getattr(made, kind)[row, :, : cached + count] for made in (found_caches, expected_caches)]
            torch.testing.assert_close(*written, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block_length", [1, 4])
def test_attention_of_blocks_is_that_of_pytorch(info, block_length):
    """Families that see their prompts in blocks: whole chunks, blocks, and one that its row does not fill."""
    limits = replace(LIMITS, max_block_length=block_length, max_quadratic_length=0)
    own_info = replace(info, config=replace(info.config, family_name="sdar"), limits=limits)
    passes = [(3 * block_length, 0, True, 0), (block_length, 7 * block_length, False, 0), (1, block_length, True, 0)]
    inputs, caches, qkv = forward(passes, info.config)
    results = []
    for blocks in (EagerBlocks(own_info, CPU), FusedBlocks(own_info, CPU, processors=4)):
        own = copied(caches)
        results.append(blocks.attention(qkv, blocks.layout(inputs, own), own)[real_tokens(inputs)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_attention_writes_no_slot_after_the_rows_own_tokens(info, families):
    inputs, caches, qkv = forward([PASSES["draft"], PASSES["token"], PASSES["empty"]], info.config)
    own = copied(caches)
    blocks = families[1]
    blocks.attention(qkv, blocks.layout(inputs, own), own)
    for row, (count, cached) in enumerate(zip(inputs["valid_count"], inputs["cache_length"], strict=True)):
        assert torch.equal(own.keys[row, :, cached + count :], caches.keys[row, :, cached + count :])


def test_attention_reads_no_slot_after_the_rows_own_tokens(info, families):
    inputs, caches, qkv = forward([PASSES["draft"], PASSES["token"]], info.config)
    for row, (count, cached) in enumerate(zip(inputs["valid_count"], inputs["cache_length"], strict=True)):
        for cache in (caches.keys, caches.values):
            cache[row, :, cached + count :] = float("nan")
    blocks = families[1]
    assert blocks.attention(qkv, blocks.layout(inputs, caches), caches)[real_tokens(inputs)].isfinite().all()


@pytest.mark.parametrize(("programs", "splits"), [(1, 32), (8, 32), (64, 4), (131, 2), (300, 1), (10_000, 1)])
def test_keys_are_divided_where_there_are_few_programs(programs, splits):
    assert splits_for(programs, processors=132) == splits


def test_norms_are_those_of_pytorch(info, families):
    x, residual = torch.randn(2, 5, info.config.hidden_size).unbind()
    weight = torch.randn(info.config.hidden_size)
    eager, fused = families
    torch.testing.assert_close(fused.norm(x, weight), eager.norm(x, weight))
    for found, expected in zip(fused.add_norm(x, residual, weight), eager.add_norm(x, residual, weight), strict=True):
        torch.testing.assert_close(found, expected)


def test_swiglu_is_that_of_pytorch(families):
    gate_up = torch.randn(3, 2 * 1500)
    eager, fused = families
    torch.testing.assert_close(fused.activate(gate_up), eager.activate(gate_up))


@pytest.mark.parametrize("adapted", [True, False])
def test_the_draft_branch_is_added_to_drafts_alone(info, families, adapted):
    inputs, caches, _ = forward([PASSES[name] for name in ("draft", "verify", "quadratic", "token")], info.config)
    inputs["draft_adapter"][:] = adapted
    rank, config = 8, info.config
    adapter = DraftAdapter(torch.randn(rank, config.query_size), torch.randn(config.hidden_size, rank))
    tokens = inputs["tokens"].numel()
    projected, x = torch.randn(tokens, config.hidden_size), torch.randn(tokens, config.query_size)
    found, expected = (
        blocks.add_draft(projected.clone(), x, adapter, blocks.layout(inputs, caches)) for blocks in families
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, projected) is not adapted


def packed_part(form, group, outputs=72, inputs=256):
    """A part with random 4-bit weights in FP32, and its tensors."""
    rng = np.random.default_rng(0)
    stored = FORMS[form].tensors(outputs, inputs, group, np.dtype(np.float32))
    codes = rng.integers(0, 16, (outputs, inputs), dtype=np.uint8)
    scale = torch.from_numpy(np.float32(rng.uniform(0.1, 2, stored[SCALE][1])))
    tensors = {WEIGHT: torch.from_numpy(pack_pairs(codes))}
    tensors[SCALE] = scale.to(torch.float8_e4m3fn) if form == "fp4" else scale
    if ROW_SCALE in stored:
        tensors[ROW_SCALE] = torch.from_numpy(np.float32(rng.uniform(0.1, 2, outputs)))
    return Part("stack.0", form, (), outputs, inputs, group), tensors


# The last lengths are no multiple of a block of features, and groups are as long as the input.
PACKED_CASES = [("int4", 32, 256), ("int4", 128, 256), ("int4", 256, 512), ("fp4", 16, 256), ("int4", 176, 176),
                ("fp4", 16, 176)]  # fmt: skip


@pytest.mark.parametrize("tokens", [1, 5, MOST_TOKENS + 1])
@pytest.mark.parametrize(("form", "group", "inputs"), PACKED_CASES)
def test_packed_products_are_those_of_unpacked_weights(info, form, group, inputs, tokens):
    part, tensors = packed_part(form, group, inputs=inputs)
    layer = FusedBlocks(info, CPU, processors=4).linear(part, tensors)
    assert type(layer).__name__ == "PackedPart"
    x = torch.randn(tokens, inputs)
    torch.testing.assert_close(layer(x), x @ linear._UNPACK[form](tensors).T, rtol=1e-4, atol=1e-3)


def test_groups_that_the_kernel_does_not_take_are_unpacked_while_loading(info):
    part, tensors = packed_part("int4", 96, inputs=192)
    layer = FusedBlocks(info, CPU, processors=4).linear(part, tensors)
    assert type(layer).__name__ == "UnpackedPart"
    x = torch.randn(3, 192)
    torch.testing.assert_close(layer(x), x @ linear._UNPACK["int4"](tensors).T, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("programs", [1, 8])
@pytest.mark.parametrize("form", ["float", *PACKED])
def test_products_of_few_tokens_are_the_same_however_they_are_divided(form, programs):
    """In FP16, whose 4-bit integers are made from bits; the interpreter multiplies no BF16."""
    outputs, inputs = 48, 512
    products = Products.on(CPU, 3, outputs, {form: Tile(16, 64, 4, 3, programs)})
    x, given = torch.randn(5, inputs).half(), {}
    weight = expected = torch.randn(outputs, inputs).half()
    if form in PACKED:
        _, tensors = packed_part(form, 16 if form == "fp4" else 128, outputs, inputs)
        tensors = {name: each.half() if each.dtype == torch.float32 else each for name, each in tensors.items()}
        weight, expected = reordered(tensors[WEIGHT], form), linear._UNPACK[form](tensors)
        given = {"scale": tensors[SCALE], "row_scale": tensors.get(ROW_SCALE)}
    for _ in range(2):
        found = products(x, weight, form, torch.float32, **given)
        torch.testing.assert_close(found, x.float() @ expected.float().T, rtol=4e-3, atol=2e-1)
    assert not products.arrived.any()


@pytest.mark.parametrize("shared", [LEAST_SHARED, 227 * 1024])
@pytest.mark.parametrize(("form", "input_bytes"), [("fp8", 1), ("int4", 2), ("fp4", 2)])
def test_tiles_under_way_fit_into_the_shared_memory_of_a_gpu(form, input_bytes, shared):
    products = replace(Products.on(CPU, 132, 4096), shared_bytes=shared)
    tile = TILES[form]
    for tokens in (16, 32, 64, 128):
        each = tile.outputs * tile.features * (0.5 if form in PACKED else 1) + tile.features * tokens * input_bytes
        stages = products.stages(form, tokens, input_bytes)
        assert 2 <= stages <= tile.stages
        assert stages * each <= shared
    # Few tokens have on an H200 what was measured there.
    assert shared == LEAST_SHARED or products.stages(form, 32, input_bytes) == tile.stages


# Numbers of FP8: the interpreter of Triton 3.9 rounds some others down to half of them, which GPUs do not.
FP8_NUMBERS = torch.tensor([448.0, 0.0, -1.5, 0.015625, -208.0, 7.0, 288.0, -0.001953125])


@pytest.mark.parametrize("scale", [None, 0.0078125])
def test_rounding_to_fp8_is_that_of_pytorch(scale):
    x = torch.stack([FP8_NUMBERS * 0.0078125, FP8_NUMBERS * 0.0078125, torch.zeros(8)])
    values, steps = quantize(x, scale)
    expected = linear.ROUND["fp8_per_token" if scale is None else "fp8"](x, scale)
    torch.testing.assert_close(values.float() * steps, expected, rtol=1e-6, atol=1e-9)


def test_rounding_to_fp8_keeps_what_is_too_large_at_the_largest_number():
    values, _ = quantize(torch.tensor([[1e6, -1e6]]), 1.0)
    assert values.float().tolist() == [[448.0, -448.0]]


@pytest.mark.parametrize("form", ["fp8", "fp8_per_token"])
def test_products_of_fp8_are_those_of_unpacked_weights(info, form):
    bf16 = replace(info, precision="bf16")
    blocks = FusedBlocks(bf16, CPU, processors=4, has_fp8=True)
    scale = 0.0078125
    part = Part("stack.0", form, (), 32, 16, input_scale=scale if form == "fp8" else None)
    tensors = {
        WEIGHT: torch.randn(32, 16).to(torch.float8_e4m3fn),
        ROW_SCALE: torch.rand(32) + 0.5,
    }
    x = (torch.stack([FP8_NUMBERS.roll(places) for places in range(5)]).repeat(1, 2) * scale).bfloat16()
    layer = blocks.linear(part, tensors)
    assert type(layer).__name__ == "Fp8Part"
    expected = linear.UnpackedPart.of(part, tensors, torch.bfloat16)(x)
    # Sums of 16 products of up to 10 are rounded to BF16.
    torch.testing.assert_close(layer(x), expected, rtol=2e-2, atol=0.1)


def test_engines_without_quadratic_passes_have_the_same_attention(info):
    plain = replace(info, limits=replace(LIMITS, max_quadratic_length=0))
    inputs, caches, qkv = forward([PASSES["draft"], PASSES["later prompt chunk"]], info.config)
    attended = []
    for blocks in (EagerBlocks(plain, CPU), FusedBlocks(plain, CPU, processors=4)):
        own = copied(caches)
        attended.append(blocks.attention(qkv, blocks.layout(inputs, own), own)[real_tokens(inputs)])
    torch.testing.assert_close(*attended, rtol=1e-4, atol=1e-5)


def test_heads_are_normed_as_by_pytorch(info, families):
    inputs, caches, qkv = forward([PASSES["draft"], PASSES["later prompt chunk"], PASSES["token"]], info.config)
    norms = HeadNorms(*torch.randn(2, info.config.head_dim).unbind())
    attended = []
    for blocks in families:
        own = copied(caches)
        attended.append(blocks.attention(qkv, blocks.layout(inputs, own), own, norms)[real_tokens(inputs)])
    torch.testing.assert_close(*attended, rtol=1e-4, atol=1e-5)
    plain = families[1].attention(qkv, families[1].layout(inputs, caches), caches)[real_tokens(inputs)]
    assert not torch.allclose(attended[1], plain, atol=1e-2)
