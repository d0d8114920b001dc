# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Data that ships with nld-trt: build configurations, recipes, deployment files, kernel sources.

In the repository they are top-level folders, where people look for them; in a wheel they lie inside
the package (``pyproject.toml`` moves them), where nothing else can claim their names.
"""

from __future__ import annotations

from pathlib import Path

from nld_trt.errors import InputError

PACKAGE = Path(__file__).parent
FOLDERS = ("build_configs", "deploy", "plugins", "quantize")


def data_folder(name: str) -> Path:
    """The folder called ``name``, one of FOLDERS, of this installation or source checkout."""
    if name not in FOLDERS:
        raise InputError(f"no data folder is called {name!r}", details=[f"there are: {', '.join(FOLDERS)}"])
    checkout = PACKAGE.parent
    candidates = [PACKAGE / "_data" / name]
    # Without this test, an unrelated site-packages/deploy beside an installed package would be taken.
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
