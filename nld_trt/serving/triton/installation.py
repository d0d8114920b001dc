# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tritonserver of this machine, and what it needs around it to start the model.

One on PATH, as in NVIDIA's container, is used as it is. The one that the nvidia-pytriton wheel carries
lacks a Python backend that is ready to use; a private folder of links makes up for it.
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
    """How to start a server.

    Attributes:
        arguments: to pass before all others.
        variables: environment variables to set.
    """

    executable: Path
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def find_installation(work: Path) -> Installation:
    """The server to start.

    Args:
        work: a folder for links, to be kept while the server runs.

    Raises:
        InputError: there is no server, or this Python cannot serve with the one there is; says why.
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
    # The stub ignores PYTHONPATH. Its working folder, which is this one, comes first on its sys.path: so it runs the
    # nld_trt that runs here, also from a source checkout and beside another one that is installed.
    (work / "nld_trt").symlink_to(Path(nld_trt.__file__).resolve().parent)
    libraries = work / "libraries"
    libraries.mkdir()
    # Links, since the loader would take apart a path with a colon, a semicolon or a dollar sign.
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
    """A PATH whose first python3 is this Python: there the stub looks for the standard library and the environment."""
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
            f"NumPy {version} is installed; the server's Python backend is built for NumPy 1.x and dies with 2.x "
            "on the first string",
            fix=f'Install an older one: pip install "numpy<2", or {install_command("serve")}',
        )


def _libpython() -> Path:
    """The shared library of the running Python, which the stub is linked to."""
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
