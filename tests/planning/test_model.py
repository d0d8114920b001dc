# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What MODEL may be, and that its sizes are read and not assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nld_trt import names
from nld_trt.decode.auto.shapes import PUBLISHED
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.support_table import SUPPORT
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.quantized.formats import ALGORITHMS
from nld_trt.planning.model import PRECISION_OF, planned_model
from nld_trt.planning.plan import Question
from nld_trt.planning.products import BITS
from tests.quantized_checkpoint import Export, write_quantized


def test_every_algorithm_has_a_precision():
    assert set(PRECISION_OF) == set(ALGORITHMS) == set(SUPPORT)
    assert set(PRECISION_OF.values()) <= set(BITS)
    assert set(BITS) == set(names.PLANNED_PRECISIONS)


def test_a_checkpoint_has_its_own_sizes(converted):
    path = converted("nld-tiny")
    found, config = planned_model(str(path), None).shape, Checkpoint.open(path).config
    assert (found.hidden, found.layers, found.vocabulary) == (
        config.hidden_size, config.num_hidden_layers, config.vocab_size,
    )  # fmt: skip
    assert found.kv_bytes == config.kv_elements_per_token * 2
    assert found.weight_bytes > Checkpoint.open(path).weight_bytes  # and the adapter


@pytest.fixture(scope="module")
def torch_engines(converted, tmp_path_factory):
    """A bf16 engine for H100 of a checkpoint, and of one that is quantized in one or in several formats."""

    def build(export: Export | None) -> Path:
        folder = tmp_path_factory.mktemp("planned")
        source = converted("nld-tiny")
        checkpoint = source
        if export is not None:
            convert(write_quantized(source, folder / "export", export), folder / "converted")
            checkpoint = folder / "converted"
        plan = BuildPlan(names.TORCH, names.BF16, LIMITS, adapter=True, compute_capabilities=("9.0",))
        build_engine(Checkpoint.open(checkpoint), [plan], folder / "engine")
        return folder / "engine"

    return build


LIMITS = Limits(max_batch_size=4, max_seq_len=256, max_block_length=16, prompt_chunk=64)
MIXED = Export(mixed={"*.mlp.*": ("W4A16_AWQ", 64)})


def question(model, **settings) -> Question:
    defaults = {"users": (1, 8, 64), "users_stated": False, "block_length": None, "max_seq_len": None}
    return Question(
        model=model, modes=(names.AR,), context=128, acceptance=PUBLISHED[names.DEFAULT_WORKLOAD],
        **{**defaults, **settings},
    )  # fmt: skip


def test_an_engine_has_its_limits(torch_engines):
    path = torch_engines(None)
    found = planned_model(str(path), None)
    assert found.backends == (names.TORCH,)
    assert found.shape.weight_bytes == (path / "torch" / "weights.safetensors").stat().st_size
    asked = question(found).within_limits()
    assert (asked.users, asked.length, asked.block) == ((1, 4), 256, 16)
    for settings, message in (
        ({"users_stated": True}, "--users has 64, and the engine was built for 4 rows"),
        ({"max_seq_len": 512}, "--max-seq-len is 512, and the engine was built for 256"),
        ({"block_length": 32}, "--block-length is 32, and the engine was built for 16"),
    ):
        with pytest.raises(InputError, match=message):
            question(found, **settings).within_limits()


def test_a_quantized_engine_has_its_precision(torch_engines):
    path = str(torch_engines(Export("FP8")))
    found = planned_model(path, None)
    assert (found.shape.precisions, found.algorithms) == ((names.FP8,), ("FP8",))
    with pytest.raises(InputError, match=f"--precision is {names.INT4}, and the layers of .* are in {names.FP8}"):
        planned_model(path, names.INT4)


@pytest.mark.parametrize("folder", ["engine", "converted"])
def test_layers_of_several_precisions_are_counted(torch_engines, folder):
    found = planned_model(str(torch_engines(MIXED).parent / folder), None)
    by_precision = dict.fromkeys(found.shape.precisions, 0)
    for product, count in found.shape.products:
        by_precision[product.precision] += count
    layers = found.shape.layers
    assert by_precision == {names.INT4: 2 * layers, names.BF16: 2 * layers}
    assert found.algorithms == ("W4A16_AWQ",)


def test_a_quantized_head_is_seen(torch_engines):
    found = planned_model(str(torch_engines(Export("FP8", excluded=()))), None).shape
    assert found.head.precision == names.FP8


def test_an_engine_for_cpus_is_refused(engine):
    with pytest.raises(InputError, match="is in fp32; plan has laws for bf16, fp16, "):
        planned_model(str(engine("nld-tiny").path), None)


@pytest.mark.parametrize("asked", ["7b", "no-such-folder", "."])
def test_anything_else_is_refused_with_what_exists(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="neither a released size, a checkpoint nor an engine; sizes are 3b, 8b, 14b"):
        planned_model(asked, None)
