# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization recipes in ModelOpt's YAML format, shipped in ``quantize/`` or written by a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.quantization.modelopt import quietly, require_modelopt
from nld_trt.resources import data_folder

# Formats whose calibration needs kernels that ModelOpt only has for CUDA, with the format to use without a GPU.
NEEDS_GPU: Mapping[str, str] = {"nvfp4": "w4a16_nvfp4"}

# ModelOpt's calibration methods that work layer by layer on this network, and whether they read activations
# even when those stay in high precision.
METHODS: Mapping[str, bool] = {"max": False, "awq_lite": True, "awq_clip": True, "awq_full": True}


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        name: name of a shipped recipe, or the file's stem.
        entries: ModelOpt's ordered ``quant_cfg``, imports resolved.
        algorithm: ModelOpt's ``algorithm``, with ``method``.
    """

    name: str
    description: str
    entries: tuple[Mapping[str, Any], ...]
    algorithm: Mapping[str, Any]

    @property
    def reads_activations(self) -> bool:
        return METHODS[self.algorithm["method"]]

    @classmethod
    def shipped(cls, name: str) -> Recipe:
        """Load the recipe called ``name`` in ``quantize/``. Raises InputError, which lists those that exist."""
        names = shipped_names()
        if name not in names:
            raise InputError(
                f"there is no quantization format {name!r}",
                details=[f"there are: {', '.join(names)}"],
                fix="Pass one of them to --qformat, or a recipe of your own to --recipe.",
            )
        return cls.load(data_folder("quantize") / f"{name}.yaml")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe file.

        Raises:
            InputError: there is no such file, it is not a ModelOpt PTQ recipe, or its method is not supported.
        """
        if not path.is_file():
            raise InputError(
                f"the recipe {path} is not a file",
                fix=f"Pass a YAML file, or one of the shipped formats: --qformat {'|'.join(shipped_names())}",
            )
        require_modelopt()
        from modelopt.recipe import load_recipe

        try:
            with quietly():
                loaded = load_recipe(path.resolve())
        # pydantic, YAML and ModelOpt's loader raise different exceptions for a faulty file.
        except Exception as error:
            raise InputError(
                f"{path} is not a ModelOpt PTQ recipe",
                details=[line for line in str(error).splitlines() if line.strip()][:8],
                fix=f"Start from a shipped one: {data_folder('quantize') / 'int4_awq.yaml'}",
            ) from error
        if not hasattr(loaded, "quantize"):
            raise InputError(f"{path} is a {loaded.metadata.recipe_type.value} recipe; a ptq recipe is needed")
        settings = loaded.quantize
        algorithm = settings.algorithm
        stated: Any = {"method": algorithm} if isinstance(algorithm, str) else algorithm
        if hasattr(stated, "model_dump"):
            stated = stated.model_dump(exclude_unset=True)
        if not isinstance(stated, Mapping) or stated.get("method") not in METHODS:
            method = stated.get("method") if isinstance(stated, Mapping) else stated
            raise InputError(
                f"{path} asks for the calibration method {method!r}; supported: {', '.join(METHODS)}",
                fix="Set quantize.algorithm.method to one of these.",
            )
        entries = tuple(entry.model_dump(exclude_unset=True) for entry in settings.quant_cfg)
        return cls(path.stem, loaded.metadata.description, entries, dict(stated))


def shipped_names() -> list[str]:
    """List the names of the shipped recipes, which are the values of ``--qformat``."""
    return sorted(path.stem for path in data_folder("quantize").glob("*.yaml"))
