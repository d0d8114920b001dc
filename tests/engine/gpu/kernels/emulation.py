# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels' sources, compiled for the CPU and called as the table in ``spec`` says."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nld_trt.engine.gpu.kernels.launch import Sizes, checked_sizes, launch
from nld_trt.engine.gpu.kernels.spec import ADVANCE, DECODE_STEP, LOGIT_STATISTICS, TENSORS, Operator
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.measure.kernels.cases import DTYPES
from nld_trt.model.config import MAX_EOS_IDS


def build(root: Path, folder: Path, source: str = "host.cpp") -> ctypes.CDLL:
    """``source``, compiled into ``folder``, where it is looked for first."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++): the kernels' arithmetic cannot be run on the CPU")
    library = (folder / source).with_suffix(".so")
    if library.exists():
        return ctypes.CDLL(str(library))
    options = "-std=c++17 -O2 -shared -fPIC -pthread -Wall -Wextra -Werror -Wno-unknown-pragmas".split()
    # Where the processor multiplies and adds in one instruction, compilers use it as they please.
    options.append("-ffp-contract=off")
    path = Path(__file__).with_name(source)
    included = [f"-I{folder}" for folder in (root / "plugins", root / "nld_trt" / "measure" / "kernels")]
    subprocess.run([compiler, *options, *included, "-o", str(library), str(path)], check=True)
    return ctypes.CDLL(str(library))


class Emulation:
    """Operators on NumPy arrays. Inputs that are not given are neutral."""

    def __init__(self, library: ctypes.CDLL, mask_token_id: int) -> None:
        self.library = library
        self.mask_token_id = mask_token_id

    def run(self, operator: Operator, values: dict[str, np.ndarray], logit_type: str) -> dict:
        """One launch. ``values`` holds the inputs by name; returns the outputs by name."""
        sizes: Sizes[int] = Sizes(*values["block"].shape)
        if operator.reads_logits:
            sizes = checked_sizes(*values["logits"].shape)
        arguments: list[Any] = []
        kept = []
        for name in operator.inputs:
            dtype = DTYPES[logit_type] if TENSORS[name].dtype == "logits" else np.dtype(TENSORS[name].dtype)
            array = np.ascontiguousarray(values[name], dtype)
            assert array.shape == sizes.shape(name), name
            kept.append(array)
            arguments.append(ctypes.c_void_p(array.ctypes.data))
        arguments += [ctypes.c_int(value) for value in sizes.scalars(operator, self.mask_token_id)]
        # Filled, so that an output that is not written is seen.
        outputs = {name: self._unwritten(sizes.shape(name), TENSORS[name].dtype) for name in operator.outputs}
        arguments += [ctypes.c_void_p(array.ctypes.data) for array in outputs.values()]
        self.call(operator, sizes, logit_type, arguments)
        return outputs

    @staticmethod
    def _unwritten(shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.full(shape, -77, np.int8 if dtype == "bool" else dtype).view(dtype)

    def call(self, operator: Operator, sizes: Sizes[int], logit_type: str, arguments: list[Any]) -> None:
        getattr(self.library, operator.kernel(logit_type))(ctypes.c_int(sizes.batch), *arguments)

    def step(self, values: dict[str, np.ndarray], logit_type: str = "fp32") -> dict:
        """The statistics pass and the decision after it."""
        batch, width, _ = values["logits"].shape
        neutral = {
            "temperature": np.zeros(batch),
            "seed": np.zeros(batch),
            "stream": np.zeros(batch),
            "sample": np.zeros(batch),
            "position": np.zeros((batch, width)),
            "cut": np.full((batch, width), -np.inf),
            "drafted_ids": np.full((batch, width, CANDIDATES), -1),
            "drafted_probabilities": np.zeros((batch, width, CANDIDATES)),
            "block": np.full((batch, width), self.mask_token_id),
            "valid": np.full(batch, width),
            "verify_valid": values.get("valid", np.full(batch, width)),
            "threshold": np.zeros(batch),
            "quota": np.zeros(batch),
            "eos_token_id": np.full((batch, MAX_EOS_IDS), -1),
        }
        values = neutral | values
        values |= self.run(LOGIT_STATISTICS, values, logit_type)
        return self.run(DECODE_STEP, values, logit_type)

    def advance(self, values: dict[str, np.ndarray]) -> dict:
        """The next pass from the results of one."""
        return self.run(ADVANCE, values, "")


class Threads(Emulation):
    """The kernels as launched, with a thread of the system for each thread of a block."""

    def call(self, operator: Operator, sizes: Sizes[int], logit_type: str, arguments: list[Any]) -> None:
        planned = launch(operator, sizes)
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
        getattr(self.library, f"launch_{operator.kernel(logit_type)}")(*planned.grid, planned.threads, pointers)
