# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Pre-quantization scales: folded or multiplied, the network means the same; a wrong fold does not go unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nld_trt.graph.export import load_graph, write_graph
from nld_trt.graph.network import prescale
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import LAYER_LINEARS
from nld_trt.model.network import Network
from tests.graph.passes import LIMITS, open_graph, run_pass
from tests.quantized_checkpoint import Export, effective, random_prescale, write_quantized

IDS = (5, 17, 100, 42, 100, 9, 63)
# Causal and bidirectional, without and with the draft adapter.
# The adapter works in bidirectional passes only.
PASSES = [(True, False), (False, False), (False, True)]
TOLERANCE = 2e-4

# Which layers are quantized and how: each exercises other rules.
EXPORTS = {
    "awq": Export(),
    "awq and head": Export(excluded=()),
    "nvfp4": Export("W4A16_NVFP4"),
    "bf16 scales": Export(scale_dtype="BF16"),
    "v_proj in high precision": Export(excluded=("diffusion_head", "*.v_proj")),
    "up_proj in high precision": Export(excluded=("diffusion_head", "*.up_proj")),
    "mlp only": Export(excluded=("diffusion_head", "*self_attn*")),
    "fp8 before awq": Export(
        mixed={"*.v_proj": ("FP8", 0), "*.up_proj": ("FP8_PER_CHANNEL_PER_TOKEN", 0), "*_proj": ("W4A16_AWQ", 16)}
    ),
}


@pytest.fixture
def quantized(converted, golden, tmp_path):
    """A checkpoint with pre-quantization scales, by golden name and what to quantize."""

    def make(name: str, export: Export, *, foldable: bool, seed: int = 0) -> Checkpoint:
        prescales = random_prescale(golden(name).config, foldable=foldable, seed=seed)

        def of_awq(module: str, size: int) -> np.ndarray | None:
            algorithm = export.formats(golden(name).config)[module][0]
            return prescales(module, size) if not algorithm.startswith("FP8") else None

        target = tmp_path / f"{name}-{foldable}-{seed}"
        return Checkpoint.open(write_quantized(converted(name), target, replace(export, prescale=of_awq)))

    return make


def logits(session, passes=PASSES) -> dict[tuple[bool, bool], np.ndarray]:
    return {
        (causal, adapter): run_pass(session, IDS, cache_length=0, causal=causal, adapter=adapter)["logits"][0]
        for causal, adapter in passes
    }


def furthest(found, expected) -> float:
    return max(float(np.abs(found[kind] - expected[kind]).max()) for kind in found)


def torch_logits(checkpoint: Checkpoint) -> dict[tuple[bool, bool], np.ndarray]:
    """The reference network with the float weights that the quantized ones stand for."""
    network = Network(checkpoint.config)
    weights = {
        name: torch.from_numpy(
            effective(checkpoint.read_quantized(module))
            if (module := name.removesuffix(".weight")) in checkpoint.formats
            else checkpoint.read(name).astype(np.float32)
        )
        for name in network.state_dict()
    }
    network.load_state_dict(weights)
    for index, layer in enumerate(network.encoder.layers):
        lora_a, lora_b = (torch.from_numpy(tensor.copy()) for tensor in checkpoint.read_adapter(index))
        layer.self_attn.attach(lora_a, lora_b, checkpoint.adapter.scale)
    with torch.inference_mode():
        return {
            (causal, adapter): network.run(torch.tensor([IDS]), causal=causal, adapter=adapter)[0][0].numpy()
            for causal, adapter in PASSES
        }


@pytest.mark.parametrize("foldable", [True, False], ids=["foldable", "own"])
@pytest.mark.parametrize("case", EXPORTS)
def test_folding_changes_nothing(quantized, tmp_path, monkeypatch, case, foldable):
    checkpoint = quantized("tiny-b", EXPORTS[case], foldable=foldable)
    folded = logits(open_graph(checkpoint, tmp_path / "folded"))
    monkeypatch.setattr(prescale, "FOLDS", unfolded())
    assert furthest(folded, logits(open_graph(checkpoint, tmp_path / "explicit"))) < TOLERANCE


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", [name for name in EXPORTS if name != "fp8 before awq"])
def test_the_graph_is_the_network_with_effective_weights(quantized, tmp_path, case, seed):
    checkpoint = quantized("tiny-b" if seed else "tiny-a", EXPORTS[case], foldable=bool(seed % 2), seed=seed)
    assert furthest(logits(open_graph(checkpoint, tmp_path / "graph")), torch_logits(checkpoint)) < TOLERANCE


def test_every_linear_layer_of_a_layer_has_a_rule():
    readers = [part for fold in prescale.FOLDS for part in fold.readers]
    assert sorted(readers) == sorted(LAYER_LINEARS)


def unfolded() -> tuple[prescale.Fold, ...]:
    """The rules, with nothing that takes a factor."""
    return tuple(replace(fold, spread=lambda scale, config: None) for fold in prescale.FOLDS)


def explicit(checkpoint, folder) -> set[str]:
    """Parts of layers whose scale is multiplied in the graph."""
    model = write_graph(
        checkpoint, folder, precision=PRECISIONS["fp32"], limits=LIMITS, adapter=True, static_capacity=False
    )
    names = [tensor.name for tensor in load_graph(model).graph.initializer]
    return {name.split(".")[-2] for name in names if name.endswith("pre_quant_scale")}


QKV, MLP = {"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}
LEFT = {
    "awq": (True, set()),
    # The final norm is an output of debug engines, too.
    "awq and head": (True, {"diffusion_head"}),
    # FP8 scales of groups cannot be multiplied without rounding them again.
    "nvfp4": (True, {"o_proj", "down_proj"}),
    "bf16 scales": (True, set()),
    # A reader in high precision wants the norm as it is; as a maker it takes any factor.
    "v_proj in high precision": (True, {"q_proj", "k_proj"}),
    "up_proj in high precision": (True, {"gate_proj"}),
    "mlp only": (True, set()),
    "fp8 before awq": (True, {"q_proj", "k_proj", "o_proj", "gate_proj"}),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_folded_is_multiplied(quantized, tmp_path, case):
    foldable, expected = LEFT[case]
    assert explicit(quantized("tiny-a", EXPORTS[case], foldable=foldable), tmp_path) == expected


def test_scales_that_differ_between_readers_are_multiplied(quantized, tmp_path):
    checkpoint = quantized("tiny-a", EXPORTS["awq"], foldable=False)
    # Only down_proj is the one reader of what one layer makes.
    assert explicit(checkpoint, tmp_path) == {*QKV, *MLP, "o_proj"}


def _tiled_heads(scale, config):
    """Heads in the order of another attention: all first heads of the groups, then all second ones."""
    return scale.reshape(-1, config.num_key_value_heads, config.head_dim)[0].reshape(-1)


def _wrong(maker: str, spread) -> tuple[prescale.Fold, ...]:
    return tuple(replace(fold, spread=spread) if fold.maker == maker else fold for fold in prescale.FOLDS)


def _readers_left_out() -> tuple[prescale.Fold, ...]:
    return tuple(replace(fold, readers=fold.readers[:1]) for fold in prescale.FOLDS)


MUTATIONS = {
    "value heads in another order": ("FOLDS", lambda: _wrong("self_attn.v_proj", _tiled_heads), "awq"),
    "half of the scale": ("FOLDS", lambda: _wrong("mlp.up_proj", lambda scale, config: np.sqrt(scale)), "awq"),
    "a norm divided": ("FOLDS", lambda: _wrong("input_layernorm", lambda scale, config: 1 / scale), "awq"),
    "readers left out": ("FOLDS", _readers_left_out, "v_proj in high precision"),
    "a scale forgotten": ("read_prescale", lambda: lambda checkpoint, module: None, "awq"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_fold_is_caught(quantized, tmp_path, monkeypatch, mutation):
    attribute, replacement, case = MUTATIONS[mutation]
    checkpoint = quantized("tiny-b", EXPORTS[case], foldable=True)
    with monkeypatch.context() as patch:
        patch.setattr(prescale, "FOLDS", unfolded())
        expected = logits(open_graph(checkpoint, tmp_path / "explicit"))
    monkeypatch.setattr(prescale, attribute, replacement())
    wrong = open_graph(checkpoint, tmp_path / "wrong")
    assert furthest(logits(wrong), expected) > 100 * TOLERANCE


def test_the_adapter_reads_its_input_without_the_scale(quantized, tmp_path, monkeypatch):
    """With the branch's division left out, only passes with the adapter differ."""
    checkpoint = quantized("tiny-a", EXPORTS["awq"], foldable=True)
    right = logits(open_graph(checkpoint, tmp_path / "right"))
    original = prescale.Prescales.of_layer
    monkeypatch.setattr(
        prescale.Prescales, "of_layer", lambda checkpoint, layer: replace(original(checkpoint, layer), branch=None)
    )
    wrong = logits(open_graph(checkpoint, tmp_path / "wrong"))
    assert {kind for kind in PASSES if np.abs(wrong[kind] - right[kind]).max() > TOLERANCE} == {(False, True)}
