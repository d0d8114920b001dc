# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which extra brings which optional module, and what to say when it is not there."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from nld_trt.errors import InputError

# Top-level module -> extra of pyproject.toml.
EXTRAS: dict[str, str] = {
    "cuda": "rtx",
    "datasets": "quantize",
    "grpc": "serve",
    "huggingface_hub": "hub",
    "matplotlib": "plot",
    "modelopt": "quantize",
    "pynvml": "gpu",
    "pytriton": "serve",
    "requests": "quantize",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "rtx",
    "torch": "quantize",
    "transformers": "dev",
    "tritonclient": "serve",
}


def install_command(extra: str, *, upgrade: bool = False) -> str:
    """The line that installs ``extra``, quoted so that no shell reads the brackets as a pattern."""
    return f'pip install {"--upgrade " if upgrade else ""}"nld-trt[{extra}]"'


def available(module: str) -> bool:
    """Whether ``module`` is installed, found without importing it."""
    return importlib.util.find_spec(module) is not None


def require(module: str, *, wanted_by: str | None = None, extra: str | None = None) -> ModuleType:
    """Import ``module``, or raise InputError with the command that installs it.

    Args:
        wanted_by: the command, and the flag if it is one, for the message: ``sweep --plots``.
        extra: overrides the table, for a module that more than one extra brings.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there and lacks one of its own dependencies is another fault: let it be seen.
        if _top(error.name) != _top(module):
            raise
        raise _not_installed(module, extra or EXTRAS[_top(module)], wanted_by) from error


def explain(error: ModuleNotFoundError, *, wanted_by: str | None) -> InputError | None:
    """What to tell the user about ``error``; None when no extra would have brought the module."""
    extra = EXTRAS.get(_top(error.name))
    return _not_installed(_top(error.name), extra, wanted_by) if extra else None


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _not_installed(module: str, extra: str, wanted_by: str | None) -> InputError:
    return InputError(
        f"{f'nld-trt {wanted_by}' if wanted_by else 'this'} needs the Python module {module}, which is not installed",
        fix=f"Install it: {install_command(extra)}",
    )
