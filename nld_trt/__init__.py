# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""nld-trt takes a Nemotron-Labs-Diffusion checkpoint to a TensorRT deployment with four decoding modes.

The Python API is :class:`Engine`, with :class:`Request`, :class:`Result` and the two errors. They are loaded when they
are first asked for, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nld_trt.decode.engine import Engine as Engine
    from nld_trt.decode.request import Request as Request
    from nld_trt.decode.result import Result as Result
    from nld_trt.errors import InputError as InputError
    from nld_trt.errors import OperationError as OperationError

__version__ = "0.1.0"

# The public names, with the module of each.
_EXPORTS = {
    "Engine": "nld_trt.decode.engine",
    "InputError": "nld_trt.errors",
    "OperationError": "nld_trt.errors",
    "Request": "nld_trt.decode.request",
    "Result": "nld_trt.decode.result",
}

__all__ = ["Engine", "InputError", "OperationError", "Request", "Result"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_EXPORTS[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
