# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a backend cannot run is refused by name, before any work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.engine import support
from nld_trt.engine.backend import BACKENDS, BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.support import SUPPORT, Support, kv_cache_support
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.quantized.formats import ALGORITHMS
from tests.quantized_checkpoint import Export, write_quantized

PLAN = BuildPlan("ort", "fp32", Limits(2, 64, 8, 16), adapter=True)
RTX_PLAN = replace(PLAN, backend="trt-rtx", precision="bf16", compute_capabilities=("12.0",))
PLANS = {
    "ort": PLAN,
    "trt-rtx": RTX_PLAN,
    "trt": replace(RTX_PLAN, backend="trt"),
    "torch": replace(PLAN, backend="torch"),
}


@pytest.fixture
def quantized(converted, tmp_path):
    """A converted quantized checkpoint."""

    def make(export: Export) -> Checkpoint:
        write_quantized(converted("tiny-a"), tmp_path / "export", export)
        convert(tmp_path / "export", tmp_path / "converted")
        return Checkpoint.open_converted(tmp_path / "converted")

    return make


def refusal(checkpoint, plan, folder) -> str:
    with pytest.raises(InputError) as caught:
        build_engine(checkpoint, [plan], folder / "engine")
    assert not list(folder.glob("*engine*"))
    return str(caught.value)


def test_the_table_says_something_of_every_pair():
    assert {name: set(backends) for name, backends in SUPPORT.items()} == {name: set(BACKENDS) for name in ALGORITHMS}
    assert kv_cache_support().keys() == BACKENDS.keys()


def test_only_what_was_seen_counts_as_executed():
    assert {name for found in SUPPORT.values() for name, pair in found.items() if not pair.executed} == {"trt", "torch"}


@pytest.mark.parametrize("backend", PLANS)
def test_quantized_caches_are_refused_by_every_backend_when_insisted_on(quantized, tmp_path, backend):
    plan = replace(PLANS[backend], kv_cache="checkpoint")
    message = refusal(quantized(Export(kv_cache="FP8")), plan, tmp_path)
    assert "was made for FP8 key/value caches, which no backend can run" in message
    assert all(f"{name}: {reason}" in message for name, reason in kv_cache_support().items())
    assert "--kv-cache auto" in message


@pytest.mark.parametrize("backend", PLANS)
@pytest.mark.parametrize("choice", ["auto", "engine"])
def test_quantized_caches_become_those_of_the_engine(quantized, backend, choice):
    support.check(replace(PLANS[backend], kv_cache=choice), quantized(Export(kv_cache="FP8")))


def test_scales_of_caches_leave_no_trace_in_the_engine(converted, tmp_path):
    plans = [replace(PLAN, limits=Limits(1, 32, 4, 8), adapter=False)]
    made = []
    for name, kv_cache in (("plain", None), ("caches", "FP8")):
        folder = write_quantized(converted("tiny-a"), tmp_path / f"{name}-export", Export("FP8", kv_cache=kv_cache))
        convert(folder, tmp_path / name)
        checkpoint = Checkpoint.open_converted(tmp_path / name)
        made.append(build_engine(checkpoint, plans, tmp_path / f"{name}-e"))
    graphs = [{file: record for file, record in manifest.files.items() if "ort" in file} for manifest in made]
    assert graphs[0] == graphs[1] != {}


def test_caches_of_the_checkpoint_are_the_engines_when_it_asks_for_no_others(quantized):
    support.check(replace(PLAN, kv_cache="checkpoint"), quantized(Export()))


def test_note_on_caches_names_both_precisions(quantized):
    note = support.cache_note([PLAN, RTX_PLAN], quantized(Export(kv_cache="NVFP4")))
    assert "made for NVFP4 key/value caches" in note
    assert "fp32, bf16" in note


@pytest.mark.parametrize(("choice", "made_for"), [("engine", "FP8"), ("auto", None)])
def test_there_is_no_note_on_caches_that_were_chosen_or_are_as_expected(quantized, choice, made_for):
    assert support.cache_note([replace(PLAN, kv_cache=choice)], quantized(Export(kv_cache=made_for))) is None


@pytest.mark.parametrize(
    "algorithm", [name for name, found in SUPPORT.items() if found["trt-rtx"].compute_capability > "8.6"]
)
def test_a_gpu_without_the_types_is_refused(quantized, tmp_path, algorithm):
    plan = replace(RTX_PLAN, compute_capabilities=("12.0", "8.6"))
    message = refusal(quantized(Export(algorithm)), plan, tmp_path)
    assert f"{algorithm} layers" in message
    assert f"need compute capability {SUPPORT[algorithm]['trt-rtx'].compute_capability}" in message
    assert "asked for: 8.6" in message


def test_a_gpu_of_two_digits_is_newer_than_one_of_one(quantized):
    support.check(replace(RTX_PLAN, compute_capabilities=("10.0",)), quantized(Export("FP8")))


def test_groups_that_ort_cannot_read_packed_are_refused(quantized, tmp_path):
    message = refusal(quantized(Export(group_size=8)), PLAN, tmp_path)
    assert "W4A16_AWQ layers" in message
    assert "in groups of 8; its kernels read groups of 16, 32" in message


def test_a_refused_algorithm_says_who_can(quantized, tmp_path, monkeypatch):
    pairs = {**SUPPORT["FP8"], "ort": Support("refused", "there are no kernels")}
    monkeypatch.setattr(support, "SUPPORT", {**SUPPORT, "FP8": pairs})
    message = refusal(quantized(Export("FP8")), PLAN, tmp_path)
    assert "the ort backend cannot run FP8 layers" in message
    assert "there are no kernels" in message
    assert "ort runs W4A16_AWQ, FP8_PER_CHANNEL_PER_TOKEN, W4A16_NVFP4, NVFP4" in message
    assert "Build with --backend trt-rtx or --backend trt or --backend torch." in message


def test_one_refused_layer_of_a_mixed_checkpoint_is_enough(quantized, tmp_path):
    export = Export(mixed={"*.layers.0.mlp.*": ("NVFP4", 16), "*_proj": ("W4A16_AWQ", 16)})
    message = refusal(quantized(export), replace(RTX_PLAN, compute_capabilities=("8.9",)), tmp_path)
    assert "NVFP4 layers" in message


def test_fallbacks_are_named_with_their_layers(quantized):
    export = Export(mixed={"*.layers.0.mlp.*": ("FP8", 0), "*_proj": ("W4A16_AWQ", 16)})
    assert [line.split(":")[0] for line in support.fallbacks("ort", quantized(export))] == ["FP8 (3 layers)"]
