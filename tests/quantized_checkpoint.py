# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Another tool's export: a quantized checkpoint in ModelOpt's unified Hugging Face layout, by plain NumPy.

Round to nearest, written from the layout's description and not with the code that reads it, so that a test which
uses it compares two views of the format.

Shapes: O output features, I input features, G input features per group.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import ml_dtypes
import numpy as np

from nld_trt.model.checkpoint import COMPANION_FILES, Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import linear_modules
from nld_trt.model.quantized.formats import QuantizedWeight
from nld_trt.model.safetensors_file import SafetensorsWriter, dtype_name

FP8, FP4, BF16 = ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn, ml_dtypes.bfloat16
SCALE_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": BF16}
GROUP_SIZES = {"W4A16_AWQ": 16, "FP8": 0, "FP8_PER_CHANNEL_PER_TOKEN": 0, "W4A16_NVFP4": 16, "NVFP4": 16}
CACHE_SCHEMES = {
    "FP8": {"dynamic": False, "num_bits": 8, "type": "float"},
    "NVFP4": {"dynamic": False, "num_bits": 4, "type": "float"},
    "INT8": {"dynamic": False, "num_bits": 8, "type": "int"},
}
# Largest value of a rounded input in units of its input_scale; of FP4 with FP8 scales of groups, both largest together.
INPUT_RANGES = {"FP8": 448, "NVFP4": 6 * 448}

# Module and its input features to a pre-quantization scale [I], or None.
PreScale = Callable[[str, int], np.ndarray | None]


def no_prescale(module: str, inputs: int) -> None:
    return None


@dataclass(frozen=True)
class Export:
    """What to write.

    Attributes:
        group_size: of formats with groups.
        excluded: names in high precision; a star stands for any characters.
        mixed: pattern of module names to (algorithm, group size), instead of one ``algorithm``; without a match, high
            precision.
        input_peak: largest activation that static input scales are made for, as a calibration would have found.
        kv_cache: algorithm of cached keys and values; their scales are stored with it.
        files: which of the two places say how the checkpoint is quantized.
    """

    algorithm: str = "W4A16_AWQ"
    group_size: int = 16
    excluded: tuple[str, ...] = ("diffusion_head",)
    mixed: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    prescale: PreScale = no_prescale
    scale_dtype: str = "F32"
    input_peak: float = 32.0
    kv_cache: str | None = None
    files: tuple[str, ...] = ("hf_quant_config.json", "config.json")

    def formats(self, config: ModelConfig) -> dict[str, tuple[str, int]]:
        """Algorithm and group size of every quantized module."""
        modules = linear_modules(config)
        if self.mixed:
            found = {}
            for module in modules:
                match = next((entry for name, entry in self.mixed.items() if fnmatchcase(module, name)), None)
                if match is not None:
                    found[module] = match
            return found
        group = self.group_size if GROUP_SIZES[self.algorithm] else 0
        return {
            module: (self.algorithm, group)
            for module in modules
            if not any(fnmatchcase(module, name) for name in self.excluded)
        }


def write_quantized(source: Path, target: Path, export: Export | None = None) -> Path:
    """Quantize the high-precision checkpoint in ``source`` to the new folder ``target``, in release layout."""
    export = export or Export()
    checkpoint = Checkpoint.open(source)
    formats = export.formats(checkpoint.config)
    tensors: dict[str, np.ndarray] = {}
    for name in checkpoint.names:
        module, weight = name.removesuffix(".weight"), checkpoint.read(name)
        if module not in formats:
            tensors[name] = weight
            continue
        prescale = export.prescale(module, weight.shape[1])
        smooth = weight.astype(np.float32)
        if prescale is not None:
            smooth = smooth / prescale
        algorithm, group = formats[module]
        parts = QUANTIZERS[algorithm](smooth, group, SCALE_TYPES[export.scale_dtype])
        if algorithm in INPUT_RANGES:
            step = np.asarray(export.input_peak / INPUT_RANGES[algorithm])
            parts["input_scale"] = step.astype(SCALE_TYPES[export.scale_dtype])
        tensors |= {f"{module}.{part}": value for part, value in parts.items()}
        if prescale is not None:
            tensors[f"{module}.pre_quant_scale"] = prescale.astype(SCALE_TYPES[export.scale_dtype])
    if export.kv_cache:
        tensors |= {name: np.ones((), np.float32) for name in cache_scales(checkpoint.config)}
    target.mkdir(parents=True)
    declared = {name: (dtype_name(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(target / "model.safetensors", declared) as writer:
        for name, tensor in tensors.items():
            writer.write(name, np.ascontiguousarray(tensor).reshape(tensor.shape))
    _write_statements(checkpoint, target, export, formats)
    _copy_others(source, target)
    return target


def cache_scales(config: ModelConfig) -> list[str]:
    """Names of the scales that an export with quantized caches has."""
    layers = range(config.num_hidden_layers)
    return [f"encoder.layers.{layer}.self_attn.{kind}_proj.{kind}_scale" for layer in layers for kind in "kv"]


def effective(stored: QuantizedWeight) -> np.ndarray:
    """[O, I] float32: the weight of the unquantized layer that ``stored`` stands for."""
    weight = stored.dequantized()
    return weight if stored.pre_quant_scale is None else weight * stored.pre_quant_scale


def write_effective(source: Path, target: Path) -> Path:
    """The unquantized float32 checkpoint that the quantized one in ``source`` stands for."""
    checkpoint = Checkpoint.open(source)
    tensors = {}
    for name in checkpoint.names:
        module, _, part = name.rpartition(".")
        if module not in checkpoint.formats or part == "bias":
            tensors[name] = checkpoint.read(name).astype(np.float32)
        elif part == "weight":
            tensors[name] = effective(checkpoint.read_quantized(module))
    target.mkdir(parents=True)
    declared = {name: ("F32", tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(target / "model.safetensors", declared) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
    config = {key: value for key, value in checkpoint.raw_config.items() if key != "quantization_config"}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _copy_others(source, target)
    return target


def _write_statements(
    checkpoint: Checkpoint, target: Path, export: Export, formats: Mapping[str, tuple[str, int]]
) -> None:
    layers = {
        module: {"quant_algo": algorithm, **({"group_size": group} if group else {})}
        for module, (algorithm, group) in formats.items()
    }
    algorithm = "MIXED_PRECISION" if export.mixed else export.algorithm
    group = {"group_size": export.group_size} if not export.mixed and GROUP_SIZES[export.algorithm] else {}
    config = dict(checkpoint.raw_config)
    if "config.json" in export.files:
        config["quantization_config"] = {
            "quant_method": "modelopt",
            "quant_algo": algorithm,
            "config_groups": {"group_0": {"weights": dict(group), "targets": ["Linear"]}},
            **({"quantized_layers": layers} if export.mixed else {"ignore": list(export.excluded)}),
            **({"kv_cache_scheme": CACHE_SCHEMES[export.kv_cache]} if export.kv_cache else {}),
        }
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if "hf_quant_config.json" in export.files:
        statement = {
            "quant_algo": algorithm,
            "kv_cache_quant_algo": export.kv_cache,
            **group,
            **({"quantized_layers": layers} if export.mixed else {"exclude_modules": list(export.excluded)}),
        }
        whole = {"producer": {"name": "another tool", "version": "1.0"}, "quantization": statement}
        (target / "hf_quant_config.json").write_text(json.dumps(whole), encoding="utf-8")


def _copy_others(source: Path, target: Path) -> None:
    """Tokenizer, template, generation settings and adapter, as an exporter leaves them."""
    for path in source.iterdir():
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        elif path.name in COMPANION_FILES:
            shutil.copyfile(path, target / path.name)


def _int4(weight: np.ndarray, group: int, scale_type: type) -> dict[str, np.ndarray]:
    """Two rows to a byte, the even one in the low half; one scale per row and group."""
    outputs, inputs = weight.shape
    groups = weight.reshape(outputs, inputs // group, group)
    scale = np.maximum(np.abs(groups).max(2) / 7, 1e-8).astype(scale_type)
    values = np.clip(np.rint(groups / scale.astype(np.float32)[..., None]), -8, 7).astype(np.int8)
    codes = values.reshape(outputs, inputs).view(np.uint8) & 0xF
    return {"weight": codes[0::2] | codes[1::2] << 4, "weight_scale": scale}


def _fp8(weight: np.ndarray, group: int, scale_type: type) -> dict[str, np.ndarray]:
    """One scale for the matrix."""
    scale = np.asarray(np.abs(weight).max() / 448).astype(scale_type)
    values = np.clip(weight / scale.astype(np.float32), -448, 448).astype(FP8)
    return {"weight": values, "weight_scale": scale}


def _fp8_per_channel(weight: np.ndarray, group: int, scale_type: type) -> dict[str, np.ndarray]:
    """One scale per row; the input is scaled as it comes."""
    scale = (np.abs(weight).max(1) / 448).astype(scale_type)
    values = np.clip(weight / scale.astype(np.float32)[:, None], -448, 448).astype(FP8)
    return {"weight": values, "weight_scale": scale}


def _nvfp4(weight: np.ndarray, group: int, scale_type: type) -> dict[str, np.ndarray]:
    """Two columns to a byte, the even one in the low half; FP8 scales of groups, one scale for them all."""
    outputs, inputs = weight.shape
    groups = weight.reshape(outputs, inputs // group, group)
    whole = np.asarray(np.abs(weight).max() / (6 * 448)).astype(scale_type)
    unit = whole.astype(np.float32)
    scale = np.clip(np.abs(groups).max(2) / 6 / unit, 2**-6, 448).astype(FP8)
    values = np.clip(groups / (scale.astype(np.float32) * unit)[..., None], -6, 6).astype(FP4)
    codes = values.reshape(outputs, inputs).view(np.uint8)
    return {"weight": codes[:, 0::2] | codes[:, 1::2] << 4, "weight_scale": scale, "weight_scale_2": whole}


QUANTIZERS: dict[str, Callable[[np.ndarray, int, type], dict[str, np.ndarray]]] = {
    "W4A16_AWQ": _int4,
    "FP8": _fp8,
    "FP8_PER_CHANNEL_PER_TOKEN": _fp8_per_channel,
    "W4A16_NVFP4": _nvfp4,
    "NVFP4": _nvfp4,
}


def random_prescale(config: ModelConfig, *, foldable: bool, seed: int = 0) -> PreScale:
    """Positive scales around one, different for every input.

    Args:
        foldable: layers that read one input share its scale, and the query heads of a group agree, as AWQ exports
            have it; otherwise every layer has a scale of its own.
    """
    inputs = {"q_proj": "x", "k_proj": "x", "v_proj": "x", "gate_proj": "y", "up_proj": "y"}

    def prescale(module: str, size: int) -> np.ndarray:
        owner, _, name = module.rpartition(".")
        place = f"{owner.rpartition('.')[0]}.{inputs.get(name, name)}" if foldable else module
        random = np.random.default_rng([seed, *place.encode()])
        if foldable and name == "o_proj":
            heads = random.uniform(0.25, 4, (config.num_key_value_heads, 1, config.head_dim))
            group = config.num_attention_heads // config.num_key_value_heads
            return np.broadcast_to(heads, (len(heads), group, config.head_dim)).reshape(-1).astype(np.float32)
        return random.uniform(0.25, 4, size).astype(np.float32)

    return prescale
