# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What compiled attention costs, and that a build which costs more is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt import compile as trt_build
from nld_trt.engine.trt.compile import BuilderLog
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.engine.trt.listing import Kernel
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.proof import prove_plan
from nld_trt.engine.trt.traffic import reads_whole
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import write_graph
from nld_trt.graph.network.attention import AttendedPart
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.synthetic import Geometry, write_synthetic

LIMITS = Limits(max_batch_size=2, max_seq_len=632, max_block_length=8, prompt_chunk=16)
PLAN = BuildPlan("trt-rtx", "bf16", LIMITS, adapter=True, compute_capabilities=("12.0",))
CAPACITY = LIMITS.capacity

rtx = pytest.mark.rtx


@dataclass(frozen=True)
class Compiled:
    path: Path
    log: BuilderLog
    facts: NetworkFacts
    config: ModelConfig

    def prove(self, plan: BuildPlan = PLAN, listing: str | None = None) -> dict[str, Any]:
        return prove_plan(self.path, self.log, listing or self.log.listing, self.facts, self.config, plan)

    def differences(self, listing: str | None = None) -> str:
        with pytest.raises(OperationError, match="the plan is not what was asked for") as caught:
            self.prove(listing=listing)
        return "\n".join(caught.value.details)


def compile_tiny(checkpoint, folder) -> Compiled:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    model = write_graph(
        checkpoint, folder, precision=PRECISIONS["bf16"], limits=LIMITS, adapter=True, static_capacity=True,
        dialect="tensorrt",
    )  # fmt: skip
    parsed = trt_build.parse_network(TRT_RTX.load(), model)
    trt_build.compile_plan(parsed, TRT_RTX, PLAN, checkpoint.config, folder / "nld.plan")
    return Compiled(folder / "nld.plan", parsed.log, NetworkFacts.read(parsed.trt, parsed.network), checkpoint.config)


@pytest.fixture(scope="module")
def compiled(golden, tmp_path_factory):
    return compile_tiny(golden("tiny-a"), tmp_path_factory.mktemp("compiled"))


@rtx
def test_one_token_reads_the_caches_in_place_and_other_phases_a_copy_of_the_slots_in_use(compiled):
    traffic = compiled.prove()["attention_traffic"]
    assert {phase: each["read_in_place"] for phase, each in traffic.items()} == {
        "prompt": False,
        "token": True,
        "block": False,
    }
    assert traffic["token"]["attended_slots"] == [CAPACITY, CAPACITY]
    assert traffic["prompt"]["attended_slots"] == traffic["block"]["attended_slots"] == [1, CAPACITY]


@rtx
def test_the_bytes_of_a_slot_are_those_of_its_copies_and_of_the_mask(compiled):
    config, width, element = compiled.config, LIMITS.max_block_length, 2
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * element
    mask = config.num_hidden_layers * width * element
    block = compiled.prove()["attention_traffic"]["block"]
    assert block["bytes_per_slot"] == 3 * cached + mask
    assert block["of_cached_bytes"] == round(3 + mask / cached, 3)


@rtx
def test_keys_repeated_for_the_query_heads_are_found(compiled):
    listing = compiled.log.listing.replace("Dimensions: [-1,2,-1,16]", "Dimensions: [-1,4,-1,16]")
    assert "block attention copies present_key_0 as [-1, 4, -1, 16], not as [rows, 2, -1, 16]" in compiled.differences(
        listing
    )


@rtx
def test_a_copy_of_the_whole_capacity_is_found(compiled):
    listing = compiled.log.listing.replace("Dimensions: [-1,2,-1,16]", f"Dimensions: [-1,2,{CAPACITY},16]")
    found = compiled.differences(listing)
    assert f"prompt attention copies present_value_1 as [-1, 2, {CAPACITY}, 16], not as [rows, 2, -1, 16]" in found


@rtx
def test_a_copy_of_a_copy_is_found(compiled):
    copy = re.search(r"Outputs: \[ \{ Name: (\w+), Dimensions: \[-1,2,-1,16\]", compiled.log.listing)[1]
    listing = compiled.log.listing.replace(f"Outputs: [ {{ Name: {copy}, ", "Outputs: [ { Name: other, ")
    assert "neither in place nor from a copy that is made of it" in compiled.differences(listing)


@rtx
def test_the_library_whose_copies_nobody_has_seen_is_not_held_to_them(compiled):
    listing = compiled.log.listing.replace("Dimensions: [-1,2,-1,16]", "Dimensions: [-1,4,-1,16]")
    assert compiled.prove(replace(PLAN, backend="trt"), listing)["attention_traffic"]["token"]["read_in_place"]


def _cut_along_the_slots(part: AttendedPart, cache):
    tape = cache.tape
    start, axis = tape.constant([0], np.int64), tape.constant([2], np.int64)
    return tape.op("Slice", cache, start, part.shape.slice(2, 3, axis=0), axis)


@rtx
@pytest.mark.slow
def test_a_cut_that_the_compiler_reads_whole_is_found(tmp_path, monkeypatch):
    """The listing of this form has the same shapes; with heads of the releases' size its kernels go through tiles."""
    geometry = Geometry(64, 64, 1, 1e6, num_attention_heads=4, num_key_value_heads=2, head_dim=128, vocab_size=256)
    write_synthetic(geometry, tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    monkeypatch.setattr(AttendedPart, "of", _cut_along_the_slots)
    found = compile_tiny(checkpoint, tmp_path).differences()
    assert f"block attention copies present_key_0 with a kernel that reads all {CAPACITY} slots: __myl_Tran" in found


@rtx
@pytest.mark.slow
def test_attention_without_a_cut_is_found(golden, tmp_path, monkeypatch):
    monkeypatch.setattr(AttendedPart, "of", lambda part, cache: cache)
    found = compile_tiny(golden("tiny-a"), tmp_path).differences()
    assert "block attention copies present_key_0 as" in found


def test_tiles_along_another_axis_are_not_the_capacity():
    kernel = Kernel("copy", "kgen", 0, "copy_0x1", (), (), (), ())
    source = "void copy_0x1(\n// tile_space_dims\n  int a = (b + 1 - 1) / 1;\n  int c = ({} + 8 - 1) / 8;\n\0"
    assert reads_whole(source.format(640).encode(), kernel, 640)
    assert not reads_whole(source.format(64).encode(), kernel, 640)
    assert not reads_whole(b"void copy_0x1(\n  int c = (640 + 8 - 1) / 8;\n\0", kernel, 640)
    assert not reads_whole(source.format(640).encode(), replace(kernel, tactic="other_0x1"), 640)
