# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Data folders that ship with nld-trt: build configurations, recipes, deployment files, kernel sources, sweeps.

In the repository they are top-level folders. In a wheel they are inside the package (``pyproject.toml`` moves them),
where their names cannot collide with those of other packages.
"""

from __future__ import annotations

from pathlib import Path

from nld_trt.errors import InputError

PACKAGE = Path(__file__).parent
FOLDERS = ("build_configs", "deploy", "plugins", "quantize", "sweeps")


def data_folder(name: str) -> Path:
    """Returns the folder called ``name``, one of FOLDERS, of this installation or source checkout."""
    if name not in FOLDERS:
        raise InputError(f"no data folder is called {name!r}", details=[f"there are: {', '.join(FOLDERS)}"])
    checkout = PACKAGE.parent
    candidates = [PACKAGE / "_data" / name]
    # Without this check, an unrelated site-packages/deploy beside an installed package would be used.
    if (checkout / "pyproject.toml").is_file():
        candidates.append(checkout / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise InputError(
        f"the data folder {name!r} is not part of this installation",
        details=[f"looked for {folder}" for folder in candidates],
        fix="pip install --force-reinstall --no-deps nld-trt",
    )
