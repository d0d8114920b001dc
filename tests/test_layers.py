# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which module may import which: the order of the layers, and where heavy libraries are loaded.

Everything is read from the sources, so that an import inside a function counts as well. A failure here is either
a misplaced import or a decision: then change the table, with the reason.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nld_trt"

# Data flows down this list, so a folder imports from those before it. Modules that lie directly in nld_trt
# (errors, interrupts, names, resources, optional) are below all of them. The command line is above.
LAYERS = (
    "files",
    "machine",
    "model",
    "quantization",
    "graph",
    "engine",
    "decode",
    "measure",
    "planning",
    "serving",
    "cli",
)

TORCH_USERS = ("nld_trt.model.network", "nld_trt.quantization", "nld_trt.engine.torch")

# Library -> modules, or packages, that may load it when they are imported. Elsewhere it is imported inside the function
# that needs it: `nld-trt --help` must not pay for it, and it may not be installed.
LOADED_BY: dict[str, tuple[str, ...]] = {
    "cuda": (),
    "datasets": (),
    "fastapi": ("nld_trt.serving.openai.app",),
    "grpc": (),
    "huggingface_hub": (),
    "jinja2": ("nld_trt.model.text.sandbox",),
    "matplotlib": (),
    "modelopt": ("nld_trt.quantization",),
    "onnx": ("nld_trt.graph", "nld_trt.engine.torch.onnx_operators", "nld_trt.engine.torch.onnx_program"),
    "onnxruntime": (),
    "pynvml": (),
    "pytriton": (),
    "starlette": tuple(f"nld_trt.serving.openai.{name}" for name in ("app", "body", "stream")),
    "tensorrt": (),
    "tensorrt_rtx": (),
    "torch": TORCH_USERS,
    "transformers": (),
    "triton": ("nld_trt.engine.torch.kernels",),
    "tritonclient": (),
    "uvicorn": (),
}

# Library -> modules, or packages, that may use it at all, at import or later. Others have no such bound.
USED_BY: dict[str, tuple[str, ...]] = {
    "cuda": ("nld_trt.machine",),
    "huggingface_hub": ("nld_trt.model.hub",),
    "modelopt": ("nld_trt.quantization",),
    "pynvml": ("nld_trt.machine",),
    "tensorrt": ("nld_trt.engine",),
    "tensorrt_rtx": ("nld_trt.engine",),
    "torch": TORCH_USERS,
    "triton": ("nld_trt.engine.torch.kernels",),
}

# What `nld_trt` exports comes from here; the first is the Python interface itself.
API = ("nld_trt.decode.engine", "nld_trt.decode.request", "nld_trt.decode.result")


# Modules that import each other, in groups. It is empty but for what is still to be taken apart: nothing is added.
CIRCLES: frozenset[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Import:
    """``importer`` imports ``imported``; ``at_import`` if that happens when the importer itself is loaded."""

    importer: str
    imported: str
    at_import: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a source file. ``from a import b`` gives both ``a`` and ``a.b``, since b may be a module."""
    importer = dotted(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def visit(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield Import(importer, base, at_import)
            yield from (Import(importer, f"{base}.{alias.name}", at_import) for alias in node.names)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or typing_only
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not later)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


IMPORTS = [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    """Rank of the layer; modules directly in nld_trt are -1, and __main__ starts the command line."""
    parts = module.split(".")
    if parts == ["nld_trt", "__main__"]:
        return len(LAYERS)
    return LAYERS.index(parts[1]) if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else -1


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders <= set(LAYERS)


def test_no_layer_imports_a_later_one() -> None:
    upward = [
        str(i)
        for i in IMPORTS
        if within(i.imported, "nld_trt") and layer(i.imported) > layer(i.importer) and not is_export(i)
    ]
    assert not upward, "\n".join(upward)


def is_export(found: Import) -> bool:
    """Whether the package itself names, for type checkers, what it exports when asked."""
    return found.importer == "nld_trt" and not found.at_import and found.imported.startswith(API)


def test_only_what_lies_above_uses_the_python_interface() -> None:
    below = [
        str(i)
        for i in IMPORTS
        if within(i.imported, API[0]) and layer(i.importer) <= LAYERS.index("decode") and not is_export(i)
    ]
    assert not below, "\n".join(below)


def test_nothing_imports_the_command_line() -> None:
    from_below = [
        str(i) for i in IMPORTS if within(i.imported, "nld_trt.cli") and layer(i.importer) < LAYERS.index("cli")
    ]
    assert not from_below, "\n".join(from_below)


@pytest.mark.parametrize("library", LOADED_BY)
def test_heavy_library_is_loaded_only_where_listed(library: str) -> None:
    loaded = [
        str(i)
        for i in IMPORTS
        if i.at_import and within(i.imported, library) and not any(within(i.importer, m) for m in LOADED_BY[library])
    ]
    assert not loaded, "\n".join(loaded)


@pytest.mark.parametrize("library", USED_BY)
def test_library_is_used_only_where_listed(library: str) -> None:
    used = [
        str(i)
        for i in IMPORTS
        if within(i.imported, library) and not any(within(i.importer, m) for m in USED_BY[library])
    ]
    assert not used, "\n".join(used)


def dependencies() -> list[str]:
    """Names of the distributions that the base install brings."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.match(r"[\w.-]+", requirement)[0] for requirement in project["dependencies"]]


@pytest.mark.parametrize("distribution", dependencies())
def test_every_dependency_is_imported_somewhere(distribution: str) -> None:
    module = {"pyyaml": "yaml"}.get(distribution, distribution)
    assert any(within(i.imported, module) for i in IMPORTS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn", {("torch.nn", True)}),
        ("def f():\n    import torch", {("torch", False)}),
        ("class A:\n    import torch", {("torch", True)}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", {("torch", False)}),
        ("try:\n    import torch\nexcept ImportError:\n    pass", {("torch", True)}),
    ],
)
def test_imports_are_read_with_their_time(source: str, expected: set, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "nld_trt")
    path = tmp_path / "nld_trt" / "module.py"
    path.parent.mkdir()
    path.write_text(source, encoding="utf-8")
    assert {(i.imported, i.at_import) for i in imports_of(path) if within(i.imported, "torch")} == expected


def test_relative_imports_are_resolved(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "nld_trt")
    path = tmp_path / "nld_trt" / "graph" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text("from . import tape\nfrom ..engine.build import build_engine", encoding="utf-8")
    assert {i.imported for i in imports_of(path)} >= {"nld_trt.graph.tape", "nld_trt.engine.build"}
