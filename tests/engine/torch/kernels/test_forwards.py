# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Whole forwards of either family of building blocks: the same hidden states, whatever rows share the forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.torch.blocks import LayerCaches
from nld_trt.engine.torch.eager import EagerBlocks
from nld_trt.engine.torch.fused import FusedBlocks
from nld_trt.engine.torch.network import Network
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.graph.contract import quadratic_width
from tests.conftest import GOLDEN_LIMITS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks(golden, tmp_path_factory):
    target = tmp_path_factory.mktemp("engine") / "torch"
    build_engine(golden("tiny-a"), [BuildPlan("torch", "fp32", GOLDEN_LIMITS, adapter=True)], target)
    folder = EngineFolder.open(target)
    info = folder.info("torch")
    weights = EngineWeights.load(target / folder.manifest.backends["torch"].files["weights"], CPU)
    families = EagerBlocks(info, CPU), FusedBlocks(info, CPU, processors=4)
    return info, [Network(weights, info.config, blocks) for blocks in families]


def random_forward(info, seed: int, rows: int):
    """Rows in any pass over caches of any length."""
    rng = np.random.default_rng(seed)
    drafts, limits = 2, info.limits
    segments = np.where(rng.random(rows) < 0.2, drafts, 0)
    width = int(rng.choice([1, 8, limits.prompt_chunk]))
    count = np.where(segments > 0, quadratic_width(drafts), rng.integers(0, width + 1, rows))
    inputs = {
        "tokens": rng.integers(0, info.config.vocab_size, (rows, max(width, quadratic_width(drafts)))),
        "cache_length": rng.integers(0, limits.max_seq_len - 64, rows),
        "valid_count": count,
        "causal": (rng.random(rows) < 0.5) | (segments > 0),
        "segments": segments,
        "draft_adapter": rng.random(rows) < 0.5,
    }
    tensors = {
        name: torch.from_numpy(array.astype(np.bool_ if array.dtype == np.bool_ else np.int32))
        for name, array in inputs.items()
    }
    config = info.config
    shape = (rows, config.num_key_value_heads, limits.capacity, config.head_dim)
    random = torch.Generator().manual_seed(seed)
    caches = [
        LayerCaches(torch.randn(shape, generator=random), torch.randn(shape, generator=random))
        for _ in range(config.num_hidden_layers)
    ]
    return tensors, caches


@pytest.mark.parametrize("seed", range(4))
def test_both_families_give_the_same_hidden_states(networks, seed):
    info, families = networks
    inputs, caches = random_forward(info, seed, rows=seed + 1)
    real = torch.arange(inputs["tokens"].shape[1]) < inputs["valid_count"][:, None]
    expected, found = (
        network.forward(inputs, [LayerCaches(cache.keys.clone(), cache.values.clone()) for cache in caches])[0][real]
        for network in families
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
