# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The plugins through TensorRT's own plugin module, asked what a build asks. The library below it is imitated."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from nld_trt.engine.gpu.kernels.image import Image
from nld_trt.engine.gpu.kernels.launch import checked_sizes, launch
from nld_trt.engine.gpu.kernels.spec import ADVANCE, LOGIT_STATISTICS, LOGIT_TYPES, OPERATORS, TENSORS, Operator
from nld_trt.engine.trt import plugin as plugin_module
from nld_trt.engine.trt.plugin import io_types_of, register_plugins
from nld_trt.errors import InputError
from tests.engine.trt.fake_plugin_tensorrt import ExprBuilder, tensorrt_module

MASK = 100
IMAGE = Image("9.0", b"machine code", b"virtual code\0", {}, "none")
# Rows, window slots, vocabulary.
SIZES = (3, 32, 131072)


@pytest.fixture
def trt(monkeypatch):
    """TensorRT with the plugins registered."""
    monkeypatch.setattr(plugin_module, "_loaded", None)
    # The bindings' docstrings have escapes that Python deprecates.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        with tensorrt_module() as module:
            register_plugins(IMAGE, batch=64, width=64, vocab=131072)
            yield module


class Build:
    """What TensorRT asks one plugin for, in the order of a build."""

    def __init__(self, trt, operator: Operator, logit_type: str) -> None:
        self.trt, self.operator = trt, operator
        field = trt.PluginField("mask_token_id", np.array([MASK]), trt.PluginFieldType.INT64)
        creator = trt.get_plugin_registry().get_creator(operator.name, "1", "nld")
        request = trt.QuickPluginCreationRequest.STRICT_AOT
        self.plugin = creator.create_plugin(operator.name, "nld", [field], trt.TensorRTPhase.BUILD, request)
        names = {"bool": "BOOL", "float32": "FLOAT", "int32": "INT32", "int64": "INT64"}
        logits = {"bf16": "BF16", "fp16": "HALF", "fp32": "FLOAT"}[logit_type]
        sizes = checked_sizes(*SIZES)
        self.descs = [
            trt.PluginTensorDesc(
                trt.DataType[names.get(TENSORS[name].dtype, logits)], sizes.shape(name), trt.TensorFormat.LINEAR
            )
            for name in (*operator.inputs, *operator.outputs)
        ]
        self.inputs = self.descs[: len(operator.inputs)]
        self.expressions = [[ExprBuilder().constant(size) for size in desc.dims] for desc in self.inputs]

    def output_types(self):
        return self.plugin.get_output_data_types(
            [desc.type for desc in self.inputs], [len(d.dims) for d in self.inputs]
        )

    def output_shapes(self):
        shapes = self.plugin.get_output_shapes(self.expressions, [], ExprBuilder())
        return [tuple(expression.value for expression in shape) for shape in shapes]

    def combinations(self):
        in_out = [self.trt.DynamicPluginTensorDesc(desc) for desc in self.descs]
        found = self.plugin.get_supported_format_combinations(in_out, len(self.inputs))
        return [found[start : start + len(in_out)] for start in range(0, len(found), len(in_out))]

    def launch(self):
        """(parameters, scalars, kernel name, code)."""
        in_out = [self.trt.DynamicPluginTensorDesc(desc) for desc in self.descs]
        self.plugin.set_tactic(0)
        parameters, scalars = types.SimpleNamespace(), Scalars()
        count = len(self.inputs)
        self.plugin.get_launch_params(self.expressions, in_out, count, parameters, scalars, ExprBuilder())
        values = {name: found.expr.value for name, found in vars(parameters).items()}
        return values, scalars, *self.plugin.get_kernel(self.inputs, self.descs[count:])


class Scalars(dict):
    nbSymExprs = None

    def values_in_order(self):
        assert sorted(self) == list(range(self.nbSymExprs))
        return [self[index].expr.value for index in range(self.nbSymExprs)]


CASES = [(operator, logit_type) for operator in OPERATORS.values() for logit_type in LOGIT_TYPES]
each_case = pytest.mark.parametrize(("operator", "logit_type"), CASES, ids=lambda case: getattr(case, "name", case))
escapes = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")


@escapes
@each_case
def test_outputs_have_the_types_and_shapes_of_the_table(trt, operator, logit_type) -> None:
    build = Build(trt, operator, logit_type)
    expected = build.descs[len(operator.inputs) :]
    assert build.output_types() == [desc.type for desc in expected]
    assert build.output_shapes() == [tuple(desc.dims) for desc in expected]


@escapes
@each_case
def test_types_of_this_build_are_among_those_offered(trt, operator, logit_type) -> None:
    build = Build(trt, operator, logit_type)
    build.output_types(), build.output_shapes()
    offered = [[desc.type for desc in combination] for combination in build.combinations()]
    assert [desc.type for desc in build.descs] in offered
    assert len(offered) == len(operator.kernels)


@escapes
@each_case
def test_launch_is_the_one_that_the_benchmark_makes(trt, operator, logit_type) -> None:
    build = Build(trt, operator, logit_type)
    build.output_types(), build.output_shapes()
    parameters, scalars, kernel, code = build.launch()
    sizes = checked_sizes(*SIZES)
    expected = launch(operator, sizes)
    assert tuple(parameters[f"grid_{axis}"] for axis in "xyz") == expected.grid
    assert tuple(parameters[f"block_{axis}"] for axis in "xyz") == (expected.threads, 1, 1)
    assert parameters["shared_mem"] == 0
    assert tuple(scalars.values_in_order()) == sizes.scalars(operator, MASK)
    assert (kernel, code) == (operator.kernel(logit_type), b"virtual code")


@escapes
def test_second_registration_replaces_the_kernels(trt) -> None:
    register_plugins(replace(IMAGE, ptx=b"newer code\0"), batch=1, width=1, vocab=256)
    build = Build(trt, LOGIT_STATISTICS, "fp16")
    build.output_types(), build.output_shapes()
    assert build.launch()[3] == b"newer code"


@escapes
def test_failed_registration_is_tried_again(monkeypatch) -> None:
    monkeypatch.setattr(plugin_module, "_loaded", None)

    def refuse(*arguments):
        raise RuntimeError("not now")

    monkeypatch.setattr(plugin_module, "_register", refuse)
    with tensorrt_module(), pytest.raises(RuntimeError, match="not now"):
        register_plugins(IMAGE, batch=1, width=1, vocab=256)
    assert plugin_module._loaded is None


def test_sizes_beyond_the_kernels_are_refused_first(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match="a width of 512"):
        register_plugins(IMAGE, batch=1, width=512, vocab=131072)


def test_missing_tensorrt_says_what_installs_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match="needs TensorRT") as raised:
        register_plugins(IMAGE, batch=1, width=32, vocab=131072)
    assert "nld-trt[tensorrt]" in raised.value.fix


def test_types_are_listed_inputs_first() -> None:
    assert io_types_of(LOGIT_STATISTICS)[1] == "FP16, FP32, FP32, INT32"
    decisions = io_types_of(OPERATORS["DecodeStep"])
    assert [line.partition(", INT32, FP32, FP32, INT64")[0] for line in decisions] == ["BF16", "FP16", "FP32"]
    assert io_types_of(ADVANCE) == [", ".join(["INT32"] * 3 + ["BOOL"] + ["INT32"] * 14 + ["BOOL"] + ["INT32"] * 2)]
