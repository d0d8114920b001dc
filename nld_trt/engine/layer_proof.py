# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Proof that the layers that should be quantized are computed from quantized weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nld_trt.engine.support import fallback
from nld_trt.engine.support_table import SUPPORT
from nld_trt.model.quantized.formats import LinearFormat


@dataclass(frozen=True)
class QuantizedWeights:
    """The quantized weights that an engine should hold.

    Attributes:
        formats: the format of each quantized linear layer, by module.
        nbytes: the size of all weights that the compiler was given.
    """

    formats: Mapping[str, LinearFormat] = field(default_factory=dict)
    nbytes: int = 0


@dataclass(frozen=True)
class LayerKernel:
    """The kernel that computes one linear layer in an engine.

    Attributes:
        name: the kind of kernel, by which kernels are counted.
        quantized: it reads the quantized weights itself.
    """

    name: str
    quantized: bool


@dataclass(frozen=True)
class LayerProof:
    """The comparison of an engine's kernels with the formats of its layers.

    Attributes:
        layers: for each algorithm, how many layers should have it, how many have it, and their kernels.
        fallbacks: lines for the user, one for each algorithm that the backend replaces, with the replacement.
        problems: layers that have neither the kernel they should have nor a fallback of the support table.
    """

    layers: Mapping[str, Any]
    fallbacks: tuple[str, ...]
    problems: tuple[str, ...]

    @classmethod
    def compare(
        cls, backend: str, formats: Mapping[str, LinearFormat], kernels: Mapping[str, LayerKernel]
    ) -> LayerProof:
        """Compare the expected ``formats`` with the ``kernels`` found, both by module. A module that is missing from
        ``kernels`` was not found in the engine."""
        layers: dict[str, Any] = {}
        fallbacks, problems = [], []
        for algorithm in dict.fromkeys(found.algorithm.name for found in formats.values()):
            modules = [module for module, found in formats.items() if found.algorithm.name == algorithm]
            found = {module: kernels[module] for module in modules if module in kernels}
            plain = [module for module in modules if module not in found or not found[module].quantized]
            layers[algorithm] = {
                "expected": len(modules),
                "in_plan": len(modules) - len(plain),
                "kernels": dict(Counter(kernel.name for kernel in found.values())),
            }
            problems += [f"{module} was not found in the engine" for module in modules if module not in found]
            if SUPPORT[algorithm][backend].status == "fallback":
                fallbacks.append(fallback(backend, algorithm, len(plain)))
            else:
                problems += [
                    f"{module} is {algorithm} and is computed by {found[module].name}, from unpacked weights"
                    for module in plain
                    if module in found
                ]
        return cls(layers, tuple(fallbacks), tuple(problems))

    def to_dict(self) -> dict[str, Any]:
        """The part of an artefact's proof about quantized layers. It is empty where nothing is quantized."""
        return {"quantized_layers": dict(self.layers), "fallbacks": list(self.fallbacks)} if self.layers else {}
