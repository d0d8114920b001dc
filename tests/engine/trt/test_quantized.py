# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Plans from quantized checkpoints: the proof finds quantized kernels, and finds out plans that lack them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.layer_proof import QuantizedWeights
from nld_trt.engine.support import SUPPORT
from nld_trt.engine.trt import compile as trt_build
from nld_trt.engine.trt import proof as trt_proof
from nld_trt.engine.trt.backend import TrtRtxBackend
from nld_trt.engine.trt.compile import ParsedNetwork
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.proof import prove_network, prove_plan
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import WEIGHTS_FILE, write_graph
from nld_trt.graph.network import linear
from nld_trt.graph.network.linear import Emitter, unpacking_node
from nld_trt.graph.precision import INT4, PRECISIONS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.quantized.formats import ALGORITHMS
from nld_trt.progress import SILENT
from tests.quantized_checkpoint import Export, random_prescale, write_quantized

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = pytest.mark.rtx

LIMITS = Limits(max_batch_size=2, max_seq_len=64, max_block_length=8, prompt_chunk=16)
PLAN = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=True, compute_capabilities=("12.0",))


@pytest.fixture
def quantized(converted, golden, tmp_path):
    def make(name: str, export: Export) -> Checkpoint:
        return Checkpoint.open(write_quantized(converted(name), tmp_path / "export", export))

    return make


def compile_plan(checkpoint, folder: Path, **changes) -> dict[str, Any]:
    (folder / "engine").mkdir()
    return TrtRtxBackend().compile(checkpoint, replace(PLAN, **changes), folder / "engine", SILENT).proof


NATIVE = {
    "W4A16_AWQ": "runtime_fusion int4",
    "FP8": "gemm fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "gemm fp8",
    "NVFP4": "gemm fp4",
}
# Every algorithm in one plan: the quick test of what the slow ones look at one at a time.
MIXED = {
    "*.layers.0.mlp.*": ("NVFP4", 16),
    "*.layers.0.self_attn.*": ("FP8", 0),
    "*.layers.1.mlp.[du]*": ("W4A16_NVFP4", 16),
    "*.layers.1.mlp.*": ("FP8_PER_CHANNEL_PER_TOKEN", 0),
    "*.layers.1.self_attn.o_proj": ("W4A16_AWQ", 32),
    "*_proj": ("W4A16_AWQ", 16),
    "diffusion_head": ("W4A16_AWQ", 16),
}
MIXED_COUNTS = {"NVFP4": 3, "FP8": 4, "W4A16_NVFP4": 2, "FP8_PER_CHANNEL_PER_TOKEN": 1, "W4A16_AWQ": 5}


def test_every_layer_of_a_plan_of_all_algorithms_has_its_kernel(quantized, golden, tmp_path):
    config = golden("tiny-a").config
    formats, scales = Export(mixed=MIXED).formats(config), random_prescale(config, foldable=False)

    def prescale(module: str, inputs: int):
        return None if formats[module][0].startswith("FP8") else scales(module, inputs)

    proof = compile_plan(quantized("tiny-a", Export(mixed=MIXED, prescale=prescale)), tmp_path)
    found = proof["quantized_layers"]
    assert {name: each["expected"] for name, each in found.items()} == MIXED_COUNTS
    for name, kernel in NATIVE.items():
        assert found[name]["kernels"] == {kernel: MIXED_COUNTS[name]}, name
        assert found[name]["in_plan"] == MIXED_COUNTS[name], name
    assert found["W4A16_NVFP4"]["in_plan"] == 0
    assert proof["fallbacks"] == [f"W4A16_NVFP4 (2 layers): {SUPPORT['W4A16_NVFP4']['trt-rtx'].how}"]


BUILDS = [(name, "bf16", "tiny-a") for name in NATIVE] + [("W4A16_AWQ", "fp16", "nld-tiny"), ("FP8", "fp16", "tiny-b")]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "precision", "name"), BUILDS)
def test_every_layer_has_a_quantized_kernel_in_every_profile(quantized, tmp_path, algorithm, precision, name):
    checkpoint = quantized(name, Export(algorithm))
    proof = compile_plan(checkpoint, tmp_path, precision=precision)
    count = 7 * checkpoint.config.num_hidden_layers
    assert proof["quantized_layers"] == {
        algorithm: {"expected": count, "in_plan": count, "kernels": {NATIVE[algorithm]: count}}
    }
    assert proof["fallbacks"] == []
    assert proof["matmul_inputs"].keys() == {precision}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["W4A16_AWQ", "FP8"])
def test_the_least_gpu_of_the_table_is_enough(quantized, tmp_path, algorithm):
    least = SUPPORT[algorithm]["trt-rtx"].compute_capability
    proof = compile_plan(quantized("tiny-a", Export(algorithm)), tmp_path, compute_capabilities=(least,))
    assert proof["quantized_layers"][algorithm]["in_plan"] == 14


@pytest.mark.slow
@pytest.mark.parametrize("group_size", [32, 64])
def test_int4_groups_are_read_packed(quantized, tmp_path, group_size):
    proof = compile_plan(quantized("tiny-a", Export(group_size=group_size)), tmp_path)
    assert proof["quantized_layers"]["W4A16_AWQ"]["in_plan"] == 14


@pytest.mark.slow
def test_weights_in_fp4_alone_are_a_named_fallback(quantized, tmp_path):
    proof = compile_plan(quantized("tiny-a", Export("W4A16_NVFP4")), tmp_path)
    assert proof["quantized_layers"]["W4A16_NVFP4"]["in_plan"] == 0
    assert proof["fallbacks"] == [f"W4A16_NVFP4 (14 layers): {SUPPORT['W4A16_NVFP4']['trt-rtx'].how}"]


@pytest.mark.slow
def test_prescales_a_quantized_head_and_mixed_layers_build(quantized, golden, tmp_path):
    prescale = random_prescale(golden("tiny-a").config, foldable=False)
    layers = {"*.layers.0.mlp.*": ("NVFP4", 16), "*_proj": ("W4A16_AWQ", 16), "diffusion_head": ("W4A16_AWQ", 16)}
    proof = compile_plan(quantized("tiny-a", Export(mixed=layers, prescale=prescale)), tmp_path)
    assert {name: found["in_plan"] for name, found in proof["quantized_layers"].items()} == {
        "W4A16_AWQ": 12,
        "NVFP4": 3,
    }


@dataclass(frozen=True)
class Parsed:
    """A written and parsed graph of a quantized checkpoint."""

    checkpoint: Checkpoint
    folder: Path
    network: ParsedNetwork

    @property
    def facts(self) -> NetworkFacts:
        return NetworkFacts.read(self.network.trt, self.network.network)

    @property
    def weights(self) -> QuantizedWeights:
        return QuantizedWeights(self.checkpoint.formats, (self.folder / WEIGHTS_FILE).stat().st_size)

    def compile(self) -> None:
        trt_build.compile_plan(self.network, TRT_RTX, PLAN, self.checkpoint.config, self.folder / "nld.plan")

    def network_differences(self) -> str:
        with pytest.raises(OperationError, match="the network is not what was asked for") as caught:
            prove_network(self.facts, self.checkpoint.config, PLAN, self.weights)
        return "\n".join(caught.value.details)

    def plan_differences(self, *, listing: str | None = None, weights: QuantizedWeights | None = None) -> str:
        log = self.network.log
        with pytest.raises(OperationError, match="the plan is not what was asked for") as caught:
            prove_plan(
                self.folder / "nld.plan", log, listing or log.listing, self.facts, self.checkpoint.config, PLAN,
                weights or self.weights,
            )  # fmt: skip
        return "\n".join(caught.value.details)


@pytest.fixture
def parsed(quantized, tmp_path):
    def parse(export: Export) -> Parsed:
        checkpoint = quantized("tiny-a", export)
        model = write_graph(
            checkpoint, tmp_path, precision=PRECISIONS["bf16"], limits=LIMITS, adapter=True, static_capacity=True,
            dialect="tensorrt",
        )  # fmt: skip
        return Parsed(checkpoint, tmp_path, trt_build.parse_network(TRT_RTX.load(), model))

    return parse


def _float32_scales(recorder, layer):
    """INT4 weights with float32 scales, as an exporter for another library would write them."""
    weight = layer.weight
    values = recorder.store(f"{layer.module}.weight", weight.values.T, INT4)
    scale = recorder.store(f"{layer.module}.weight_scale", weight.scale.T, PRECISIONS["fp32"])
    unpacked = recorder.tape.op(
        "DequantizeLinear", values, scale, dtype=scale.dtype, node=unpacking_node(layer.module), axis=0, block_size=16
    )
    return unpacked.cast(recorder.precision.numpy_type)


def _no_scales(recorder, layer):
    """The weight in high precision."""
    return recorder.store(f"{layer.module}.weight", layer.weight.dequantized().T, recorder.precision)


@pytest.fixture
def emit_int4(monkeypatch):
    """Write INT4 layers in another way."""

    def emit(unpack) -> None:
        wrong = {"tensorrt": Emitter(INT4, unpack)}
        monkeypatch.setattr(linear, "EMITTERS", {**linear.EMITTERS, "W4A16_AWQ": wrong})

    return emit


@pytest.mark.slow
def test_weights_that_every_forward_unpacks_are_found(parsed, emit_int4):
    """TensorRT for RTX 1.7 reads such a graph, and multiplies with BF16 weights that another kernel wrote."""
    emit_int4(_float32_scales)
    graph = parsed(Export())
    graph.compile()
    found = graph.plan_differences()
    assert "encoder.layers.1.mlp.down_proj is W4A16_AWQ and is computed by" in found
    assert len(found.splitlines()) == 14


def test_a_graph_without_quantized_weights_is_found(parsed, emit_int4):
    emit_int4(_no_scales)
    found = parsed(Export()).network_differences()
    assert "encoder.layers.0.self_attn.q_proj has no dequantization: its weights are not quantized" in found


def test_weights_of_another_type_are_found(parsed):
    graph = parsed(Export("FP8"))
    formats = parsed_formats("W4A16_AWQ", graph.checkpoint)
    with pytest.raises(OperationError) as caught:
        prove_network(graph.facts, graph.checkpoint.config, PLAN, replace(graph.weights, formats=formats))
    assert "encoder.layers.0.mlp.up_proj is stored in fp8, not int4" in "\n".join(caught.value.details)


def parsed_formats(algorithm: str, checkpoint: Checkpoint):
    return {
        module: replace(found, algorithm=ALGORITHMS[algorithm], group_size=16)
        for module, found in checkpoint.formats.items()
    }


def test_edited_plans_are_found(parsed, monkeypatch):
    """One compilation: its listing and limits are bent until they would describe another plan."""
    graph = parsed(Export())
    graph.compile()
    listing = graph.network.log.listing
    assert listing.count("Datatype: Int4") == 3 * 14

    one_profile = listing.replace("Datatype: Int4", "Datatype: BFloat16", 1)
    assert "is W4A16_AWQ and is computed by runtime_fusion int4 and runtime_fusion unpacked" in graph.plan_differences(
        listing=one_profile
    )

    nowhere = graph.plan_differences(listing=listing.replace("Datatype: Int4", "Datatype: BFloat16"))
    assert "no kernel of encoder.layers.0.mlp.gate_proj reads int4 weights: the plan holds them unpacked" in nowhere

    lost = graph.plan_differences(listing=listing.replace("[ONNX Layer: encoder.layers.0.self_attn.q_proj]", ""))
    assert "encoder.layers.0.self_attn.q_proj was not found in the engine" in lost

    monkeypatch.setattr(trt_proof, "_KERNEL_BYTES", 0)
    larger = graph.plan_differences(weights=replace(graph.weights, nbytes=100_000))
    assert "for 100.0 kB of weights, and should have 150.0 kB at most" in larger
