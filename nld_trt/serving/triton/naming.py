# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Names of models, which are parts of URLs and names of folders."""

from __future__ import annotations

import re

from nld_trt.errors import InputError


def check_model_name(name: str) -> None:
    """Raises InputError for a name that would need escaping somewhere."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(
            f"--name is {name!r}; a model name starts with a letter or digit and has letters, digits, '.', '_' and '-'"
        )
