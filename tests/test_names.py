# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The names that users write are those of the registries behind them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nld_trt import names
from nld_trt.decode.modes import MODE_TYPES
from nld_trt.engine.backend import BACKENDS, backend
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.graph.precision import PRECISIONS
from nld_trt.graph.tape import TRT_DOMAIN
from nld_trt.model.synthetic import PRESETS

REGISTRIES = {
    "MODES": MODE_TYPES,
    "BACKENDS": BACKENDS,
    "PLATFORMS": PLATFORMS,
    "PRECISIONS": PRECISIONS,
    "MODEL_SIZES": PRESETS,
    "SERVED_MODES": {*MODE_TYPES, names.AUTO},
    "DEFAULT_THRESHOLDS": {*MODE_TYPES, names.AUTO},
}


@pytest.mark.parametrize("listed", REGISTRIES)
def test_names_are_those_of_the_registry(listed):
    assert set(getattr(names, listed)) == set(REGISTRIES[listed])


@pytest.mark.parametrize("name", names.BACKENDS)
def test_every_backend_loads_without_its_library_and_knows_its_traits(name):
    assert backend(name).traits is BACKENDS[name]


def literals(path: Path) -> set[str]:
    """The texts of a source file, but for docstrings and parts of longer texts."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


# TensorRT's own operators are in an ONNX domain that has the same name.
DOMAIN_OF_OPERATORS = Path("graph", "tape.py")
# The Python package of PyTorch has the name of the backend that uses it.
NAMES_OF_PACKAGES = {
    Path("optional.py"),
    *(Path(folder, name) for folder, name in (("machine", "doctor.py"), ("machine", "installed.py"))),
    *(Path("quantization", name) for name in ("quantize.py", "modelopt.py")),
    *(Path("engine", name) for name in ("backend.py", "torch/backend.py")),
}


def test_backends_are_named_in_one_place():
    package = Path(names.__file__).parent
    capabilities = {f"{verb}-{name}" for verb in ("build", "run") for name in names.BACKENDS}
    found = {
        path.relative_to(package): literals(path) & {*names.BACKENDS, *capabilities} for path in package.rglob("*.py")
    }
    packages = {path: {names.TORCH} for path in NAMES_OF_PACKAGES}
    assert {path: texts for path, texts in found.items() if texts} == {
        Path("names.py"): {*names.BACKENDS},
        DOMAIN_OF_OPERATORS: {TRT_DOMAIN},
        **packages,
    }


# Words of others that a mode's name happens to be: an engine phase's or part's, and an ONNX attribute's.
OTHER_WORDS = {("graph/contract.py", "quadratic"), ("graph/network/decoder.py", "linear")}


def test_names_of_modes_and_rules_are_written_once():
    """Texts that are such a name and nothing else; sentences may have them."""
    package = Path(names.__file__).parent
    known = {*names.MODES, *names.ACCEPTANCE_RULES, names.LINEAR_NO_LORA, names.HOLD}
    found = {
        (path.relative_to(package).as_posix(), text)
        for path in package.rglob("*.py")
        for text in literals(path) & known
    }
    assert {each for each in found - OTHER_WORDS if each[0] != "names.py"} == set()


def test_names_imports_nothing_of_the_package():
    source = Path(names.__file__).read_text(encoding="utf-8")
    assert "nld_trt import" not in source
    assert "import nld_trt" not in source
