# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization recipes: ModelOpt's YAML, as shipped in ``quantize/`` or written by a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.quantization.modelopt import quietly, require_modelopt
from nld_trt.resources import data_folder

# Formats whose calibration runs kernels that ModelOpt has for CUDA only, and what to take without a GPU.
NEEDS_GPU: Mapping[str, str] = {"nvfp4": "w4a16_nvfp4"}

# ModelOpt's calibration methods that work layer by layer on this network, and whether they read activations
# even when those stay in high precision.
METHODS: Mapping[str, bool] = {"max": False, "awq_lite": True, "awq_clip": True, "awq_full": True}


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        name: of a shipped recipe, or the file's stem.
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
        """The recipe called ``name`` in ``quantize/``. Raises InputError listing those that exist."""
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
            InputError: no such file, not a ModelOpt PTQ recipe, or a calibration method that is not supported.
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
        # pydantic, YAML and ModelOpt's own loader each raise their own kinds for what is the file's fault.
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
    """Names of the shipped recipes, the values of ``--qformat``."""
    return sorted(path.stem for path in data_folder("quantize").glob("*.yaml"))
