# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The quantization of a checkpoint's layers, from ``hf_quant_config.json`` and its copy in ``config.json``.

Both have the format of ModelOpt's unified Hugging Face export, whichever tool wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.files import inside, read_json
from nld_trt.model.inventory import HEAD_MODULE
from nld_trt.model.names import OTHER_HEADS, canonical
from nld_trt.model.quantized.formats import ALGORITHMS, LinearFormat

QUANT_CONFIG_FILE = "hf_quant_config.json"
# The key of the copy in config.json.
CONFIG_KEY = "quantization_config"
MIXED = "MIXED_PRECISION"
# The algorithm of an export whose weights are not quantized, such as one that only has scales for KV caches.
NO_WEIGHTS = "none"


@dataclass(frozen=True)
class QuantConfig:
    """The quantization that a checkpoint states.

    Attributes:
        algorithm: a name in ``ALGORITHMS``, ``MIXED_PRECISION``, or ``NO_WEIGHTS``.
        group_size: input features per weight scale; None when the checkpoint does not say.
        excluded: module names in high precision, in the canonical spelling; a star stands for any characters.
        layers: format by canonical module name, for a mixed checkpoint. Other modules are in high precision.
        kv_cache: algorithm for the KV cache, such as FP8, or None.
    """

    algorithm: str
    group_size: int | None = None
    excluded: tuple[str, ...] = ()
    layers: Mapping[str, LinearFormat] = field(default_factory=dict)
    kv_cache: str | None = None
    producer: str = ""

    @classmethod
    def read(cls, folder: Path, raw_config: Mapping[str, Any]) -> QuantConfig | None:
        """Read the quantization of ``folder``. Returns None when there is none.

        Raises:
            InputError: the quantization method is not ModelOpt's, the algorithm is unknown, or the two files disagree.
        """
        block = raw_config.get(CONFIG_KEY)
        path = inside(folder, QUANT_CONFIG_FILE)
        stated = cls._from_block(block, folder) if block else None
        if not path.is_file():
            return stated
        own = cls._from_file(read_json(path), path)
        if stated is not None and (stated.algorithm, stated.excluded) != (own.algorithm, own.excluded):
            raise InputError(
                f"{QUANT_CONFIG_FILE} and config.json in {folder} disagree about the quantization",
                details=[
                    f"{QUANT_CONFIG_FILE}: {own.algorithm}, excluded {', '.join(own.excluded) or 'nothing'}",
                    f"config.json: {stated.algorithm}, excluded {', '.join(stated.excluded) or 'nothing'}",
                ],
                fix="Use the files of one export.",
            )
        return own

    @classmethod
    def _from_file(cls, raw: Mapping[str, Any], path: Path) -> QuantConfig:
        details = raw.get("quantization")
        if not isinstance(details, Mapping):
            raise InputError(f"{path} has no quantization block")
        producer = raw.get("producer") or {}
        return cls._checked(
            path,
            algorithm=details.get("quant_algo"),
            group_size=details.get("group_size") or None,
            excluded=details.get("exclude_modules") or [],
            layers=details.get("quantized_layers") or {},
            kv_cache=details.get("kv_cache_quant_algo"),
            producer=" ".join(str(value) for value in producer.values()) if isinstance(producer, Mapping) else "",
        )

    @classmethod
    def _from_block(cls, block: Any, folder: Path) -> QuantConfig:
        where = folder / "config.json"
        if not isinstance(block, Mapping):
            raise InputError(f"{CONFIG_KEY} in {where} is not an object")
        method = block.get("quant_method")
        if method != "modelopt":
            raise InputError(
                f"{folder} is quantized with {method!r}; supported is ModelOpt's export (quant_method 'modelopt')",
                fix="Quantize the released BF16 checkpoint instead: nld-trt quantize CHECKPOINT -o DIR --int4",
            )
        groups = block.get("config_groups") or {}
        sizes = {
            group.get("weights", {}).get("group_size") for group in groups.values() if isinstance(group, Mapping)
        } - {None}
        scheme = block.get("kv_cache_scheme")
        return cls._checked(
            where,
            algorithm=block.get("quant_algo"),
            group_size=sizes.pop() if len(sizes) == 1 else None,
            excluded=block.get("ignore") or [],
            layers=block.get("quantized_layers") or {},
            kv_cache=_cache_algorithm(scheme) if isinstance(scheme, Mapping) else scheme,
            producer="",
        )

    @classmethod
    def _checked(
        cls, where: Path, *, algorithm: Any, group_size: Any, excluded: Any, layers: Any, kv_cache: Any, producer: str
    ) -> QuantConfig:
        algorithm = NO_WEIGHTS if algorithm in (None, "NO_QUANT") else algorithm
        if algorithm not in (*ALGORITHMS, MIXED, NO_WEIGHTS):
            raise InputError(
                f"{where} names the quantization algorithm {algorithm!r}, which is not supported",
                details=[f"supported: {', '.join((*ALGORITHMS, MIXED))}"],
            )
        if group_size is not None and not (isinstance(group_size, int) and group_size > 0):
            raise InputError(f"{where} says group_size {group_size!r}; it must be a positive whole number")
        if not isinstance(excluded, list) or not all(isinstance(name, str) for name in excluded):
            raise InputError(f"{where} does not list the excluded modules as names: {excluded!r}")
        if not isinstance(layers, Mapping) or not all(isinstance(entry, Mapping) for entry in layers.values()):
            raise InputError(f"{where} has quantized_layers that are not objects")
        formats = {
            canonical(name): LinearFormat.named(str(entry.get("quant_algo")), entry.get("group_size"))
            for name, entry in layers.items()
        }
        if algorithm == MIXED and not formats:
            raise InputError(f"{where} says {MIXED} and lists no quantized_layers")
        if not isinstance(kv_cache, str) or kv_cache.lower() in ("", "none", "auto"):
            kv_cache = None
        return cls(algorithm, group_size, tuple(sorted(map(_module_pattern, excluded))), formats, kv_cache, producer)

    def format_of(self, module: str) -> LinearFormat | None:
        """Returns the format of a linear layer, or None for high precision."""
        if self.algorithm == NO_WEIGHTS:
            return None
        if self.algorithm == MIXED:
            return self.layers.get(module)
        if any(fnmatchcase(module, name) or module.startswith(f"{name}.") for name in self.excluded):
            return None
        return LinearFormat.named(self.algorithm, self.group_size)


def _module_pattern(name: str) -> str:
    """Returns an excluded name or pattern with canonical module names. The head's name can be between stars."""
    found = canonical(name)
    for head in OTHER_HEADS:
        found = found.replace(head, HEAD_MODULE)
    return found


def _cache_algorithm(scheme: Mapping[str, Any]) -> str:
    """Name the algorithm of a ``kv_cache_scheme``, which has bits and type."""
    bits = scheme.get("num_bits", 8)
    return f"INT{bits}" if scheme.get("type") == "int" else "NVFP4" if bits == 4 else f"FP{bits}"
