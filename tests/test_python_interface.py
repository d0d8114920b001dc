# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What ``import nld_trt`` gives: names that cost nothing until they are used, and examples that are true."""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nld_trt
from nld_trt.decode import engine as engine_module

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
EXPORTS = ("Engine", "InputError", "OperationError", "Request", "Result")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def working_folder(engine, tmp_path, monkeypatch):
    """A folder in which ``engine`` is an engine of nld-tiny, as the examples have it."""
    (tmp_path / "engine").symlink_to(engine("nld-tiny").path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_examples(test: doctest.DocTest) -> None:
    assert test.examples
    said: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    assert not outcome.failed, "".join(said)


def test_examples_of_the_page_are_true(working_folder):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    run_examples(doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0))


def test_examples_of_the_docstrings_are_true(working_folder):
    found = [test for test in doctest.DocTestFinder().find(engine_module) if test.examples]
    assert found
    for test in found:
        run_examples(test)


def loaded_by(code: str) -> set[str]:
    """Top-level modules, and nld_trt's own, that a fresh interpreter has loaded after ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    names = done.stdout.split()
    return {name for name in names if name.startswith("nld_trt")} | {name.partition(".")[0] for name in names}


def test_import_loads_nothing():
    bare, loaded = loaded_by(""), loaded_by("import nld_trt")
    assert loaded - bare - set(sys.stdlib_module_names) == {"nld_trt"}


def test_engine_is_decoded_with_neither_torch_nor_the_hub(working_folder):
    code = 'from nld_trt import Engine\nwith Engine.open("engine") as e:\n    e.generate([5, 6], max_new_tokens=2)'
    loaded = loaded_by(code)
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "huggingface_hub", "modelopt", "matplotlib", "click", "rich"})


@pytest.mark.parametrize("name", EXPORTS)
def test_name_is_exported(name):
    assert getattr(nld_trt, name).__name__ == name
    assert name in nld_trt.__all__
    assert name in dir(nld_trt)


def test_exports_are_all_that_is_promised():
    assert sorted(nld_trt.__all__) == sorted(EXPORTS)


def test_type_checkers_see_the_names_that_are_loaded():
    package = Path(nld_trt.__file__).parent
    assert (package / "py.typed").is_file()
    (block,) = [
        node
        for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.If)
    ]
    seen = {name.asname: found.module for found in block.body for name in found.names}
    assert seen == nld_trt._EXPORTS


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        nld_trt.Engin  # noqa: B018
