# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the tritonserver of this machine, and prepares what it needs to start the model.

A server on PATH, as in NVIDIA's container, needs nothing. The one in the nvidia-pytriton wheel has no Python backend
that is ready to use, so a private folder of links is created as its backend.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nld_trt
from nld_trt.errors import InputError
from nld_trt.machine import installed
from nld_trt.optional import install_command

_STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Installation:
    """An executable, with the arguments and variables to start it.

    Attributes:
        arguments: to pass before all others.
        variables: environment variables to set.
    """

    executable: Path
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def find_installation(work: Path) -> Installation:
    """Find the server to start.

    Args:
        work: a folder for links, which must exist while the server runs.

    Raises:
        InputError: there is no server, or it cannot run with this Python; the message has the reason.
    """
    executable = installed.tritonserver()
    if executable is None:
        raise InputError(
            "there is no tritonserver on PATH, and the package nvidia-pytriton, which carries one, is not installed",
            fix=f"Install it: {install_command('serve')}, or use a container: nld-trt serve REPO_DIR --print",
        )
    root = executable.resolve().parents[1]
    if not (root / "python_backend_stubs").is_dir():
        return Installation(executable.absolute())
    return _from_wheel(executable, root, work)


def _from_wheel(executable: Path, root: Path, work: Path) -> Installation:
    _check_numpy()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / python / _STUB
    if not stub.is_file():
        has = ", ".join(sorted(folder.name for folder in stub.parents[1].iterdir()))
        raise InputError(
            f"the tritonserver of nvidia-pytriton has no backend for Python {python}; it has one for {has}",
            fix=f"Use one of these, or a newer package: {install_command('serve', upgrade=True)}",
        )
    backend = work / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (*(root / "backends" / "python").glob("*.*"), stub):
        (backend / file.name).symlink_to(file)
    # The stub ignores PYTHONPATH, and its working folder, which is this one, comes first on its sys.path. The link
    # makes it run the nld_trt of this process, also from a source checkout beside an installed package.
    (work / "nld_trt").symlink_to(Path(nld_trt.__file__).resolve().parent)
    libraries = work / "libraries"
    libraries.mkdir()
    # Links are used because the loader splits paths at a colon or semicolon and expands a dollar sign.
    (libraries / "python").symlink_to(_libpython().parent)
    (libraries / "pytriton").symlink_to(root.parents[1] / "nvidia_pytriton.libs")
    library_path = [str(libraries / "python"), str(libraries / "pytriton")]
    if os.environ.get("LD_LIBRARY_PATH"):
        library_path.append(os.environ["LD_LIBRARY_PATH"])
    return Installation(
        executable.absolute(),
        arguments=("--backend-directory", str(backend.parent)),
        variables={"PATH": _path_to_python(), "LD_LIBRARY_PATH": os.pathsep.join(library_path)},
    )


def _path_to_python() -> str:
    """Make a PATH whose first python3 is this Python, by which the stub finds standard library and environment."""
    folder = str(Path(sys.executable).parent)
    if os.pathsep in folder:
        raise InputError(
            f"this Python is in {folder}, and PATH, through which the server finds it, cannot hold a {os.pathsep!r}",
            fix="Move or rename the folder, or make the environment elsewhere.",
        )
    return os.pathsep.join([folder, os.environ.get("PATH", "")])


def _check_numpy() -> None:
    version = installed.package_version("numpy")
    if version is not None and installed.release(version) >= (2,):
        raise InputError(
            f"NumPy {version} is installed; the server's Python backend is built for NumPy 1.x and crashes with 2.x "
            "on the first string",
            fix=f'Install an older one: pip install "numpy<2", or {install_command("serve")}',
        )


def _libpython() -> Path:
    """Find the shared library of the running Python, to which the stub is linked."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [sysconfig.get_config_var("LIBDIR") or "", f"{sys.base_prefix}/lib", "/usr/local/lib", "/usr/lib"]
    folders += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    raise InputError(
        f"{name} was not found; the server's Python backend needs Python as a shared library",
        details=[f"looked in {folder}" for folder in dict.fromkeys(folders) if folder],
        fix=f"Install it (Debian, Ubuntu: apt-get install {name.partition('.so')[0]}), "
        "or use a Python that was built with --enable-shared.",
    )
