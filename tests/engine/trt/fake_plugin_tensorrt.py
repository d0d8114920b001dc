# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's own plugin module on a stand-in for its library, which cannot be loaded without NVIDIA's files.

``tensorrt.plugin`` is Python that ships in the bindings' wheel. It checks what is registered, and turns a plugin's
answers into what the library asks for. Only the library below it is imitated: names, enumerations, and a builder of
expressions that computes them at once.
"""

from __future__ import annotations

import enum
import importlib.util
import operator
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BASES = """IPluginV3 IPluginV3QuickCore IPluginV3QuickBuild IPluginV3QuickRuntime IPluginV3QuickAOTBuild
IPluginCreatorV3Quick ITensor ISymExpr Builder""".split()
ENUMERATIONS = {
    "DataType": "FLOAT HALF BF16 INT32 INT64 INT8 BOOL FP8 INT4",
    "TensorFormat": "LINEAR HWC",
    "PluginFieldType": "INT8 INT16 INT32 INT64 FLOAT16 FLOAT32 FLOAT64 CHAR UNKNOWN",
    "PluginArgType": "INT",
    "PluginArgDataType": "INT8 INT16 INT32",
    "DimensionOperation": "SUM PROD MAX MIN SUB EQUAL LESS FLOOR_DIV CEIL_DIV",
    "QuickPluginCreationRequest": "UNKNOWN PREFER_JIT PREFER_AOT STRICT_JIT STRICT_AOT",
    "TensorRTPhase": "BUILD RUNTIME",
}
COMPUTE = {
    "SUM": operator.add,
    "SUB": operator.sub,
    "PROD": operator.mul,
    "MAX": max,
    "MIN": min,
    "FLOOR_DIV": operator.floordiv,
    "CEIL_DIV": lambda a, b: -(-a // b),
}


class IDimensionExpr:
    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return True

    def get_constant_value(self) -> int:
        return self.value


class ExprBuilder:
    def constant(self, value: int) -> IDimensionExpr:
        return IDimensionExpr(value)

    def operation(self, op, first, second) -> IDimensionExpr:
        return IDimensionExpr(COMPUTE[op.name](first.value, second.value))


class Dims(tuple):
    MAX_DIMS = 8


class PluginTensorDesc:
    def __init__(self, type=None, dims=(), format=None) -> None:
        self.type, self.dims, self.format, self.scale = type, Dims(dims), format, 1.0


class DynamicPluginTensorDesc:
    def __init__(self, desc) -> None:
        self.desc = desc
        self.min = self.opt = self.max = desc.dims


class PluginField:
    def __init__(self, name, data, type) -> None:
        self.name, self.data, self.type = name, data, type


class Registry:
    def __init__(self) -> None:
        self.creators = {}

    def register_creator(self, creator, namespace) -> None:
        self.creators[namespace, creator.name] = creator

    def get_creator(self, name, version, namespace):
        return self.creators[namespace, name]


class Logger:
    WARNING = 1

    def log(self, severity, message) -> None:
        pass


@contextmanager
def tensorrt_module() -> Iterator[types.ModuleType]:
    """The stand-in as ``tensorrt``, with the real ``tensorrt.plugin``; both are gone afterwards."""
    bindings = importlib.util.find_spec("tensorrt_bindings")
    if bindings is None:
        pytest.skip("tensorrt-cu13-bindings is not installed: TensorRT's plugin module is not there to check with")
    trt = types.ModuleType("tensorrt")
    trt.__path__ = []
    trt.__version__ = "0"
    for name in BASES:
        setattr(trt, name, type(name, (), {}))
    for name, members in ENUMERATIONS.items():
        setattr(trt, name, enum.Enum(name, members))
    trt.int32, trt.float32 = trt.DataType.INT32, trt.DataType.FLOAT
    registry = Registry()
    trt.get_plugin_registry = lambda: registry
    trt.DimsExprs = lambda count: [None] * count
    trt.PluginFieldCollection = list
    for value in (IDimensionExpr, Dims, PluginTensorDesc, DynamicPluginTensorDesc, PluginField, Logger):
        setattr(trt, value.__name__, value)

    folder = Path(bindings.submodule_search_locations[0]) / "plugin"
    spec = importlib.util.spec_from_file_location(
        "tensorrt.plugin", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tensorrt"}
    sys.modules["tensorrt"] = trt
    trt.plugin = sys.modules["tensorrt.plugin"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(trt.plugin)
        yield trt
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt"]:
            del sys.modules[name]
        sys.modules.update(before)
