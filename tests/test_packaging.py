# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed: data folders, extras, pinned versions, and the wheel itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import nld_trt
from nld_trt import optional, resources
from nld_trt.errors import InputError

# What must never be in a wheel.
UNWANTED = re.compile(r"(^|/)(__pycache__|tests|examples|docs|bench)/|\.pyc$")


def present(root: Path) -> list[str]:
    return [name for name in resources.FOLDERS if any(path.is_file() for path in (root / name).rglob("*"))]


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    subprocess.run([*pip, "--no-deps", "--wheel-dir", str(folder), str(root)], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def distribution(requirement: str) -> str:
    return re.split(r"[\[<>=;! ]", requirement)[0].lower().replace("_", "-")


def test_data_folders_are_found_in_the_checkout(root: Path) -> None:
    assert {name: resources.data_folder(name) for name in present(root)} == {n: root / n for n in present(root)}


def test_data_folder_of_the_wheel_comes_first(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "nld_trt" / "_data" / "deploy").mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "nld_trt")
    assert resources.data_folder("deploy") == tmp_path / "nld_trt" / "_data" / "deploy"


def test_folder_beside_an_installed_package_is_not_taken(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "deploy").mkdir()
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "nld_trt")
    with pytest.raises(InputError, match="not part of this installation"):
        resources.data_folder("deploy")


def test_unknown_data_folder_lists_the_known() -> None:
    with pytest.raises(InputError, match="build_configs, deploy, plugins, quantize, sweeps"):
        resources.data_folder("nonesuch")


def test_every_optional_module_has_an_extra_that_exists(project: dict) -> None:
    assert set(optional.EXTRAS.values()) <= set(project["project"]["optional-dependencies"])


def test_demo_install_is_free_of_torch(project: dict) -> None:
    extras = project["project"]["optional-dependencies"]
    names = {distribution(line) for extra in ("rtx", "gpu", "serve", "plot") for line in extras[extra]}
    assert names.isdisjoint({"torch", "nvidia-modelopt", "transformers"})


def test_every_direct_dependency_is_pinned(project: dict, root: Path) -> None:
    pinned = {
        distribution(line)
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    extras = project["project"]["optional-dependencies"]
    direct = {distribution(line) for lines in [project["project"]["dependencies"], *extras.values()] for line in lines}
    # tensorrt fetches its libraries when it is installed, on the machine that has the GPU.
    assert direct - pinned == {"nld-trt", "tensorrt"}


@pytest.mark.slow
def test_wheel_holds_the_package_its_data_and_the_licence(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = (".py", ".cu", ".typed")
    sources = {path.relative_to(root).as_posix() for path in (root / "nld_trt").rglob("*") if path.suffix in code}
    data = {
        f"nld_trt/_data/{path.relative_to(root).as_posix()}"
        for folder in present(root)
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources | data <= names
    assert not [name for name in names if UNWANTED.search(name)]
    assert any(name.endswith("/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"nld_trt", f"nld_trt-{nld_trt.__version__}.dist-info"}


@pytest.mark.slow
def test_wheel_has_the_command_and_the_extras(wheel: Path, project: dict) -> None:
    files = zipfile.ZipFile(wheel)
    info = f"nld_trt-{nld_trt.__version__}.dist-info"
    assert "nld-trt = nld_trt.cli:main" in files.read(f"{info}/entry_points.txt").decode()
    metadata = files.read(f"{info}/METADATA").decode()
    assert set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE)) == set(
        project["project"]["optional-dependencies"]
    )


@pytest.mark.slow
def test_installed_package_finds_its_data(wheel: Path, root: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import sys\nfrom nld_trt.resources import data_folder\nfor name in sys.argv[1:]: print(data_folder(name))"
    done = subprocess.run(
        [sys.executable, "-c", code, *present(root)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == [str(tmp_path / "nld_trt" / "_data" / name) for name in present(root)]
