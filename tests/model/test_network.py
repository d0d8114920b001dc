# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The torch network against every golden forward, and proof that the known mistakes would be noticed."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nld_trt.model import network as network_module
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.network import Cache, Network

GOLDENS = Path(__file__).parents[1] / "goldens"
TOLERANCE = 1e-4
PASSES = [
    (folder, entry["name"])
    for folder in ("tiny-a", "tiny-b")
    for entry in json.loads((GOLDENS / folder / "forwards.json").read_text(encoding="utf-8"))["forwards"]
]


def load_network(folder: str) -> Network:
    checkpoint = Checkpoint.open(GOLDENS / folder)
    network = Network(checkpoint.config).eval()
    network.load_state_dict({name: torch.from_numpy(checkpoint.read(name)) for name in checkpoint.names})
    assert checkpoint.adapter is not None
    for index, layer in enumerate(network.encoder.layers):
        lora_a, lora_b = map(torch.from_numpy, checkpoint.read_adapter(index))
        layer.self_attn.attach(lora_a, lora_b, checkpoint.adapter.scale)
    return network


@cache
def expected(folder: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / folder / "forwards.safetensors")


@cache
def description(folder: str, name: str) -> dict:
    entries = json.loads((GOLDENS / folder / "forwards.json").read_text(encoding="utf-8"))["forwards"]
    return next(entry for entry in entries if entry["name"] == name)


@torch.no_grad()
def run(network: Network, folder: str, name: str, *, adapter: bool | None = None) -> tuple[torch.Tensor, Cache]:
    """Logits and cache of a golden pass, on top of the pass that it continues."""
    entry, tensors = description(folder, name), expected(folder)
    past = network.run(tensors[f"{entry['prefix']}.input_ids"], causal=True)[1] if "prefix" in entry else None
    return network.run(
        tensors[f"{name}.input_ids"],
        causal=entry["kind"] == "causal",
        cache=past,
        adapter=entry["adapter"] if adapter is None else adapter,
    )


def error(network: Network, folder: str, name: str, **options: bool) -> float:
    logits, _ = run(network, folder, name, **options)
    return (logits - expected(folder)[f"{name}.logits"]).abs().max().item()


@pytest.mark.parametrize(("folder", "name"), PASSES)
def test_golden_logits(folder: str, name: str) -> None:
    assert error(load_network(folder), folder, name) < TOLERANCE


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
@pytest.mark.parametrize("name", ["prefill1", "verify1"])
def test_golden_keys_and_values(folder: str, name: str) -> None:
    _, after = run(load_network(folder), folder, name)
    new = expected(folder)[f"{name}.input_ids"].shape[1]
    for index, layer in enumerate(after.layers):
        for letter, tensor in (("k", layer.key), ("v", layer.value)):
            assert tensor is not None
            torch.testing.assert_close(
                tensor[:, :, -new:], expected(folder)[f"{name}.{letter}{index}"], atol=TOLERANCE, rtol=0
            )


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
@pytest.mark.parametrize("name", ["prefill0", "prefill1", "prefill2"])
def test_golden_final_hidden_state(folder: str, name: str) -> None:
    network = load_network(folder)
    seen = []
    network.encoder.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    run(network, folder, name)
    torch.testing.assert_close(seen[-1], expected(folder)[f"{name}.final_hidden"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
def test_a_pass_leaves_its_cache_untouched(folder: str) -> None:
    network = load_network(folder)
    _, before = run(network, folder, "prefill1")
    keys = [layer.key.clone() for layer in before.layers if layer.key is not None]
    network.run(expected(folder)["draft_full1.input_ids"], causal=False, cache=before)
    assert before.length == description(folder, "draft_full1")["cache_len"]
    for layer, key in zip(before.layers, keys, strict=True):
        assert layer.key is not None
        torch.testing.assert_close(layer.key, key, atol=0, rtol=0)


@torch.no_grad()
def test_first_layer_keys_do_not_depend_on_the_kind_of_pass_and_later_ones_do() -> None:
    network = load_network("tiny-a")
    block = expected("tiny-a")["verify1.input_ids"]
    (_, causal), (_, bidirectional) = (network.run(block, causal=causal) for causal in (True, False))
    first, second = zip(causal.layers, bidirectional.layers, strict=True)
    torch.testing.assert_close(first[0].key, first[1].key)
    assert not torch.allclose(second[0].key, second[1].key, atol=1e-2)


# Mistakes seen elsewhere: each must be far outside the tolerance


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
def test_plain_rotary_embedding_would_be_noticed(folder: str) -> None:
    network = load_network(folder)
    config = network.config
    exponents = np.arange(config.head_dim // 2) * 2 / config.head_dim
    network.inverse_frequencies = torch.from_numpy(config.rope.rope_theta**-exponents).float()
    assert error(network, folder, "prefill2") > 10 * TOLERANCE


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
def test_rotary_magnitude_of_generic_yarn_would_be_noticed(folder: str, monkeypatch) -> None:
    gain, rotate = 0.1 * math.log(16) + 1, network_module.rotate
    monkeypatch.setattr(network_module, "rotate", lambda x, cos, sin: rotate(x, cos * gain, sin * gain))
    assert error(load_network(folder), folder, "prefill2") > 10 * TOLERANCE


def test_missing_query_scale_would_be_noticed() -> None:
    network = load_network("tiny-b")
    network.config = replace(network.config, rope=replace(network.config.rope, llama_4_scaling_beta=0.0))
    assert error(network, "tiny-b", "prefill2") > 10 * TOLERANCE


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
@pytest.mark.parametrize("name", ["draft_full_lora1", "draft_part_lora2"])
def test_inactive_adapter_would_be_noticed(folder: str, name: str) -> None:
    assert error(load_network(folder), folder, name, adapter=False) > 10 * TOLERANCE


@pytest.mark.parametrize("folder", ["tiny-a", "tiny-b"])
def test_adapter_in_a_verify_pass_would_be_noticed(folder: str) -> None:
    assert error(load_network(folder), folder, "verify1", adapter=True) > 10 * TOLERANCE
