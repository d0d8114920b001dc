# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Optional modules: the extra that installs each, and the error for one that is not installed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from nld_trt.errors import InputError

# Top-level module -> extra of pyproject.toml.
EXTRAS: dict[str, str] = {
    "cuda": "rtx",
    "datasets": "quantize",
    "fastapi": "openai",
    "grpc": "serve",
    "huggingface_hub": "hub",
    "matplotlib": "plot",
    "modelopt": "quantize",
    "pynvml": "gpu",
    "pytriton": "serve",
    "requests": "quantize",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "rtx",
    "torch": "torch",
    "transformers": "dev",
    "tritonclient": "serve",
    "uvicorn": "openai",
}


def install_command(extra: str, *, upgrade: bool = False) -> str:
    """Returns the command that installs ``extra``, quoted so that a shell does not expand the brackets."""
    return f'pip install {"--upgrade " if upgrade else ""}"nld-trt[{extra}]"'


def available(module: str) -> bool:
    """Whether ``module`` is installed. It is not imported."""
    return importlib.util.find_spec(module) is not None


def require(module: str, *, wanted_by: str | None = None, extra: str | None = None) -> ModuleType:
    """Import ``module``, or raise InputError with the command that installs it.

    Args:
        wanted_by: the command that needs the module, with its flag if only that needs it: ``sweep --plots``.
        extra: the extra to name instead of the table's, for a module that several extras install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is installed but lacks a dependency is a different fault, which the original error describes.
        if _top(error.name) != _top(module):
            raise
        raise _not_installed(module, extra or EXTRAS[_top(module)], wanted_by) from error


def explain(error: ModuleNotFoundError, *, wanted_by: str | None) -> InputError | None:
    """Returns the error for the user in place of ``error``, or None if no extra installs the missing module."""
    extra = EXTRAS.get(_top(error.name))
    return _not_installed(_top(error.name), extra, wanted_by) if extra else None


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _not_installed(module: str, extra: str, wanted_by: str | None) -> InputError:
    return InputError(
        f"{f'nld-trt {wanted_by}' if wanted_by else 'this'} needs the Python module {module}, which is not installed",
        fix=f"Install it: {install_command(extra)}",
    )
