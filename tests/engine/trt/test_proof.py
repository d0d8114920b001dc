# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A build that is not what was asked for is refused, with every difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt import compile as trt_build
from nld_trt.engine.trt.compile import BuilderLog
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.proof import prove_network, prove_plan
from nld_trt.errors import OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import load_graph, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.config import ModelConfig

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
pytestmark = pytest.mark.rtx

LIMITS = Limits(max_batch_size=2, max_seq_len=64, max_block_length=8, prompt_chunk=16)
PLAN = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=True, compute_capabilities=("12.0",))


@dataclass(frozen=True)
class Graph:
    """A written graph that tests edit before it is parsed."""

    config: ModelConfig
    folder: Path
    model: ModelProto

    def node(self, op_type: str) -> Any:
        return next(node for node in self.model.graph.node if node.op_type == op_type)

    def parse(self) -> trt_build.ParsedNetwork:
        path = self.folder / "edited.onnx"
        path.write_bytes(self.model.SerializeToString())
        return trt_build.parse_network(TRT_RTX.load(), path)

    def facts(self) -> NetworkFacts:
        parsed = self.parse()
        return NetworkFacts.read(parsed.trt, parsed.network)


def write(checkpoint, folder):
    return write_graph(
        checkpoint,
        folder,
        precision=PRECISIONS["bf16"],
        limits=LIMITS,
        adapter=True,
        static_capacity=True,
        dialect="tensorrt",
    )


@pytest.fixture
def graph(golden, tmp_path):
    checkpoint = golden("tiny-a")
    path = write(checkpoint, tmp_path)
    return Graph(checkpoint.config, tmp_path, load_graph(path))


def differences(graph: Graph, plan: BuildPlan = PLAN) -> str:
    with pytest.raises(OperationError, match="the network is not what was asked for") as caught:
        prove_network(graph.facts(), graph.config, plan)
    return "\n".join(caught.value.details)


def test_unedited_graph_is_what_was_asked_for(graph):
    assert prove_network(graph.facts(), graph.config, PLAN)["attention_layers"] == 2


def test_other_precision_is_found_in_attention_matmuls_and_caches(graph):
    found = differences(graph, replace(PLAN, precision="fp16"))
    assert "layer_0/attention_0 computes in bf16, not fp16" in found
    assert "matrix multiplication inputs are bf16, not fp16" in found
    assert "input past_key_0 is bf16 [-1, 2, 72, 16], not fp16 [-1, 2, 72, 16]" in found


def test_decomposed_attention_is_found(graph):
    """Layer 0 computes its attention as any exporter would: with matrix products and a softmax."""
    attention = graph.node("Attention")
    query, keys, values, mask = attention.input
    heads = graph.config.num_attention_heads // graph.config.num_key_value_heads
    constants = {
        "repeat": np.array([1, 1, heads, 1, 1], np.int64),
        "axis": np.array([2], np.int64),
        "merge": np.array([0, graph.config.num_attention_heads, -1, graph.config.head_dim], np.int64),
        "nothing": np.array(-1e30, PRECISIONS["bf16"].numpy_type),
        "zero": np.array(0, PRECISIONS["bf16"].numpy_type),
    }
    nodes = []
    for name, cache in (("k", keys), ("v", values)):
        nodes += [
            helper.make_node("Unsqueeze", [cache, "axis"], [f"{name}5"]),
            helper.make_node("Tile", [f"{name}5", "repeat"], [f"{name}r"]),
            helper.make_node("Reshape", [f"{name}r", "merge"], [f"{name}h"]),
        ]
    nodes += [
        helper.make_node("Transpose", ["kh"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", [query, "kt"], ["scores"]),
        helper.make_node("Where", [mask, "zero", "nothing"], ["bias"]),
        helper.make_node("Add", ["scores", "bias"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vh"], list(attention.output)),
    ]
    graph.model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    at = list(graph.model.graph.node).index(attention)
    kept = [*list(graph.model.graph.node)[:at], *nodes, *list(graph.model.graph.node)[at + 1 :]]
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(kept)
    assert differences(graph) == "1 fused attentions, not 2: the others were decomposed"


def test_dropped_mask_is_found(graph):
    """TensorRT for RTX 1.7 reads a graph with key lengths instead of a mask and drops the lengths."""
    attention = graph.node("Attention")
    lengths = helper.make_node("Cast", ["cache_length"], ["lengths"], to=7)
    attention.input[3] = ""
    attention.input.extend(["", "", "lengths"])
    graph.model.graph.node.insert(0, lengths)
    assert "layer_0/attention_0 has no mask" in differences(graph)


def test_missing_binding_is_found(graph):
    outputs = graph.model.graph.output
    outputs.remove(next(value for value in outputs if value.name == "bonus_token"))
    assert differences(graph) == "output bonus_token is missing"


def test_missing_debug_outputs_are_found(graph):
    found = differences(graph, replace(PLAN, debug=True))
    assert found.splitlines() == [f"output {name} is missing" for name in ("confidence", "logits", "final_hidden")]


def test_other_capacity_is_found(graph):
    found = differences(graph, replace(PLAN, limits=replace(LIMITS, max_seq_len=128)))
    assert "input past_value_1 is bf16 [-1, 2, 72, 16], not bf16 [-1, 2, 136, 16]" in found


def test_cache_that_is_not_updated_in_place_is_found(graph):
    facts = replace(graph.facts(), cache_updates=3)
    with pytest.raises(OperationError, match="3 of 4 caches are updated in place"):
        prove_network(facts, graph.config, PLAN)


@dataclass(frozen=True)
class Compiled:
    path: Path
    log: BuilderLog
    facts: NetworkFacts
    config: ModelConfig

    def prove(self, plan: BuildPlan = PLAN, *, listing: str | None = None) -> dict[str, Any]:
        return prove_plan(self.path, self.log, listing or self.log.listing, self.facts, self.config, plan)

    def differences(self, plan: BuildPlan = PLAN, *, listing: str | None = None) -> str:
        with pytest.raises(OperationError, match="the plan is not what was asked for") as caught:
            self.prove(plan, listing=listing)
        return "\n".join(caught.value.details)


def compile_graph(checkpoint, folder) -> Compiled:
    model = write(checkpoint, folder)
    parsed = trt_build.parse_network(TRT_RTX.load(), model)
    trt_build.compile_plan(parsed, TRT_RTX, PLAN, checkpoint.config, folder / "nld.plan")
    return Compiled(folder / "nld.plan", parsed.log, NetworkFacts.read(parsed.trt, parsed.network), checkpoint.config)


@pytest.fixture(scope="session")
def compiled(golden, tmp_path_factory):
    return compile_graph(golden("tiny-a"), tmp_path_factory.mktemp("compiled"))


def test_plan_is_what_was_asked_for(compiled):
    assert compiled.prove()["targets_in_plan"] == ["12.0"]


def test_missing_profile_is_found(golden, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(contract, "PHASES", ("prompt", "token"))
        compiled = compile_graph(golden("tiny-a"), tmp_path)
    found = compiled.differences()
    assert "input tokens has no range for the block profile" in found
    assert "layer_0/attention_0 has 0 fused kernels in the block profile, not 1" in found


def test_other_ranges_are_found(compiled):
    found = compiled.differences(replace(PLAN, limits=replace(LIMITS, max_batch_size=3)))
    assert (
        "input tokens has the range [(1, 1), (1, 16), (2, 16)] in the prompt profile, not [(1, 1), (1, 16), (3, 16)]"
        in found
    )


def test_other_target_is_found(compiled):
    found = compiled.differences(replace(PLAN, compute_capabilities=("12.0", "12.1")))
    assert found == "the plan is for 12.0, not 12.0, 12.1"


def test_attention_that_the_compiler_took_apart_is_found(compiled):
    listing = compiled.log.listing.replace("_gemm_mha_v2", "__myl_FcMaxExp")
    found = compiled.differences(listing=listing)
    assert "layer_1/attention_0 has 0 fused kernels in the prompt profile, not 1" in found
    assert "token" not in found


def test_input_that_the_compiler_lost_is_found(compiled):
    listing = compiled.log.listing.replace("{ Name: causal", "{ Name: other")
    assert compiled.differences(listing=listing) == "input causal is read by no kernel"


def test_kernel_that_is_listed_but_not_in_the_plan_is_found(compiled):
    listing = compiled.log.listing.replace("TacticName: _gemv_mha_v1_0x", "TacticName: _gemv_mha_v1_0y")
    assert "the plan does not contain _gemv_mha_v1_0y" in compiled.differences(listing=listing)


def test_plan_without_a_listing_proves_nothing(compiled):
    with pytest.raises(OperationError, match="did not list"):
        compiled.prove(listing="Layers:\n")
