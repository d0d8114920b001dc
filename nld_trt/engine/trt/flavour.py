# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The two TensorRT libraries, and all that differs between them.

``tensorrt`` and ``tensorrt_rtx`` share one Python API: the same code builds, proves and runs both.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nld_trt import names
from nld_trt.errors import InputError

PLAN_FILE = "nld.plan"


@dataclass(frozen=True)
class Flavour:
    """One of the two libraries, as a backend.

    Attributes:
        name: name of the backend.
        module: Python module; also the key of its version in an artefact's tools.
        title: what people call the library.
        extra: the extra of the nld-trt package that installs it.
        builds_on_target: compiling needs the target's GPU in this machine.
        targets: compute capability to the library's ``ComputeCapability`` member; empty where the
            library compiles for the present GPU only.
    """

    name: str
    module: str
    title: str
    extra: str
    builds_on_target: bool
    targets: Mapping[str, str] = field(default_factory=dict)

    @property
    def install(self) -> str:
        return f'pip install "nld-trt[{self.extra}]"'

    def load(self) -> Any:
        """The library's module, untyped.

        Raises:
            InputError: it is not installed, or what is installed cannot be loaded.
        """
        try:
            library = importlib.import_module(self.module)
        except (ImportError, OSError) as error:
            absent = isinstance(error, ModuleNotFoundError) and error.name == self.module
            where = " on a machine with the target's GPU and driver" if self.builds_on_target else ""
            raise InputError(
                f"the {self.name} backend needs {self.title}, and the Python module {self.module} "
                f"{'is not installed' if absent else 'cannot be loaded'}",
                details=() if absent else [str(error)],
                fix=f"Install it{where}: {self.install}",
            ) from error
        # A package without its libraries can still import, as an empty shell.
        if not hasattr(library, "Builder"):
            raise InputError(
                f"the {self.name} backend needs {self.title}, and the Python module {self.module} lacks its libraries",
                fix=f"Install it again: {self.install} --force-reinstall",
            )
        return library


TRT_RTX = Flavour(
    name=names.TRT_RTX,
    module="tensorrt_rtx",
    title="TensorRT for RTX",
    extra="rtx",
    builds_on_target=False,
    # The library also compiles for 7.5, which has no BF16, and for 8.0, which its support matrix leaves out.
    targets={"8.6": "SM86", "8.9": "SM89", "12.0": "SM120", "12.1": "SM121"},
)

TRT = Flavour(name=names.TRT, module="tensorrt", title="TensorRT", extra="tensorrt", builds_on_target=True)
