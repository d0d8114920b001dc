# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder: everything about it is checked from headers, tensors are read one at a time."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.errors import InputError
from nld_trt.files import inside, read_json
from nld_trt.model.adapter import Adapter, Float32
from nld_trt.model.config import ModelConfig
from nld_trt.model.generation import GENERATION_FILE, GenerationConfig, GenerationDefaults
from nld_trt.model.inventory import (
    EMBEDDING,
    FOREIGN_PREFIXES,
    HEAD,
    TensorSpec,
    expected_tensors,
    is_ignored,
    linear_modules,
)
from nld_trt.model.manifest import MANIFEST_FILE, check_files, read_manifest
from nld_trt.model.quant_config import QUANT_CONFIG_FILE, QuantConfig
from nld_trt.model.quantized import WEIGHT_SCALE, LinearFormat, QuantizedWeight
from nld_trt.model.safetensors_file import Array, SafetensorsFile, TensorInfo
from nld_trt.model.text.files import TEXT_FILES, template_files

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
COMPANION_FILES = (*TEXT_FILES, GENERATION_FILE)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

# What else has been given as a checkpoint, told by a file in it.
_OTHER_FOLDERS: dict[str, str] = {
    "engine.json": "It is an engine folder: pass the folder that it was built from.",
    "adapter_config.json": "It is an adapter folder: pass the checkpoint folder around it.",
    "snapshots": "It is a Hugging Face cache entry: pass the folder snapshots/REVISION in it.",
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. Make one with :meth:`open` or :meth:`open_converted`.

    Attributes:
        raw_config: ``config.json`` as it is.
        generation: defaults of requests, from ``generation_config.json``.
        adapter: the draft adapter; None on base models.
        manifest: ``checkpoint.json`` of a converted checkpoint; None for a release.
        quantization: what the checkpoint says about it; None in high precision.
        formats: of the quantized linear layers, by module name.
    """

    folder: Path
    config: ModelConfig
    raw_config: Mapping[str, Any]
    generation: GenerationDefaults
    adapter: Adapter | None
    manifest: dict[str, Any] | None
    quantization: QuantConfig | None
    formats: Mapping[str, LinearFormat]
    _sources: Mapping[str, SafetensorsFile]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Open a release or converted folder: configuration, inventory, shapes, dtypes and adapter are checked.

        Raises:
            InputError: the folder is not a usable checkpoint; all its faults of one kind are listed together.
        """
        raw = _read_config(folder)
        generation = GenerationConfig.read(folder)
        config = generation.with_eos(ModelConfig.from_hf(generation.completed(raw)))
        quantization = QuantConfig.read(folder, raw)
        sources, problems = _find_tensors(folder)
        formats = _formats(config, quantization, sources)
        expected = _expected(config, formats)
        problems += _inventory_problems(config, expected, sources)
        if problems:
            raise InputError(
                f"The tensors in {folder} are not those of the network that its config.json describes",
                details=problems,
                fix=_inventory_fix(sources, quantization),
            )
        if config.tie_word_embeddings:
            _check_tied(folder, sources)
        sources = {name: sources[name] for name in expected if name in sources}
        adapter = Adapter.open(folder, config)
        return cls(
            folder, config, raw, generation.defaults, adapter, read_manifest(folder), quantization, formats, sources
        )

    @classmethod
    def open_converted(cls, folder: Path, *, verify: bool = False) -> Checkpoint:
        """Open a folder that ``nld-trt convert`` wrote.

        Args:
            verify: also compare the SHA-256 of every file, which reads all of it.

        Raises:
            InputError: no manifest, one of another version, files that changed since; or as :meth:`open`.
        """
        _check_folder(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            raise InputError(
                f"{folder} is not a converted checkpoint: it has no {MANIFEST_FILE}",
                fix=f"Run: nld-trt convert {folder} -o DIR, then use DIR.",
            )
        check_files(folder, manifest, verify=verify)
        return cls.open(folder)

    def refuse_quantized(self) -> None:
        """Raises InputError when the checkpoint is quantized, for work that starts from the released weights."""
        if self.quantization is not None:
            raise InputError(
                f"{self.folder} is already quantized ({self.quantization.algorithm}); "
                "the original BF16 checkpoint is needed here",
                fix="Pass the released checkpoint, or the folder that nld-trt convert wrote from it.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The network's tensors in canonical order; ignored ones are not among them."""
        return tuple(self._sources)

    @property
    def weight_bytes(self) -> int:
        return sum(self._info(name).nbytes for name in self.names)

    def dtype_of(self, name: str) -> str:
        """The stored dtype in the spelling of safetensors, such as BF16."""
        return self._info(name).dtype

    def nbytes_of(self, name: str) -> int:
        return self._info(name).nbytes

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self._info(name).shape

    def read(self, name: str) -> Array:
        """One tensor in its stored dtype."""
        return self._sources[name].read(name)

    def chunks(self, name: str) -> Iterator[Array]:
        """One tensor as flat pieces in its stored dtype, each valid until the next is taken."""
        return self._sources[name].chunks(name)

    def read_quantized(self, module: str) -> QuantizedWeight:
        """One quantized linear layer, unpacked. Raises KeyError for a module in high precision."""
        prefix = f"{module}."
        names = [name for name in self._sources if name.startswith(prefix)]
        return QuantizedWeight.from_tensors(
            self.formats[module], {name.removeprefix(prefix): self.read(name) for name in names}
        )

    def read_adapter(self, layer: int) -> tuple[Float32, Float32]:
        """A [rank, query_size] and B [hidden, rank] of one layer, float32, without the scale."""
        if self.adapter is None:
            raise ValueError(f"{self.folder} has no adapter")
        return self.adapter.read(layer)

    def companions(self) -> list[Path]:
        """The tokenizer, template and generation files that exist."""
        return companions_in(self.folder)

    def copy_companions(self, target: Path) -> None:
        """Copy :meth:`companions` to the same places in ``target``, as UTF-8 without a byte order mark."""
        for path in self.companions():
            copy = target / path.relative_to(self.folder)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF8))

    def _info(self, name: str) -> TensorInfo:
        return self._sources[name].tensors[name]


def companions_in(folder: Path) -> list[Path]:
    """Whatever an engine or checkpoint folder has of the tokenizer, template and generation files."""
    found = [path for name in COMPANION_FILES if (path := inside(folder, name)).is_file()]
    return [*found, *(path for path in template_files(folder) if path not in found)]


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"The checkpoint folder {folder} {found}",
            fix="Download a checkpoint first: hf download REPOSITORY --local-dir DIR, then pass DIR.",
        )


def _read_config(folder: Path) -> dict[str, Any]:
    _check_folder(folder)
    path = inside(folder, CONFIG_FILE)
    if not path.is_file():
        fix = next((text for name, text in _OTHER_FOLDERS.items() if (folder / name).exists()), None)
        raise InputError(
            f"{folder} is not a checkpoint: it has no {CONFIG_FILE}",
            fix=fix or "Pass the folder that holds config.json and the *.safetensors files.",
        )
    return read_json(path)


def _find_tensors(folder: Path) -> tuple[dict[str, SafetensorsFile], list[str]]:
    """Which file holds each tensor, without the ignored ones, and what is wrong with that."""
    single, index = inside(folder, WEIGHTS_FILE), inside(folder, INDEX_FILE)
    if single.is_file():
        file = SafetensorsFile.open(single)
        return {name: file for name in file.tensors if not is_ignored(name)}, []
    if index.is_file():
        return _read_shards(folder, index)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder} has pickled weights only ({', '.join(pickles)}); loading a pickle can run any code in it",
            fix='Use a release with *.safetensors files, or convert files you trust: python -c "import torch, '
            f"safetensors.torch as s; s.save_file(torch.load('{pickles[0]}', weights_only=True), '{WEIGHTS_FILE}')\"",
        )
    raise InputError(
        f"{folder} has no weights: neither {WEIGHTS_FILE} nor {INDEX_FILE}",
        fix="Download the whole repository: hf download REPOSITORY --local-dir DIR",
    )


def _read_shards(folder: Path, index: Path) -> tuple[dict[str, SafetensorsFile], list[str]]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise InputError(f"{index} has no weight_map from tensor names to files")
    paths = {shard: inside(folder, shard) for shard in sorted(set(weight_map.values()))}
    foreign = [shard for shard in paths if not shard.endswith(".safetensors")]
    if foreign:
        raise InputError(f"{index} names files that are not safetensors: {', '.join(foreign)}")
    absent = [shard for shard, path in paths.items() if not path.is_file()]
    if absent:
        raise InputError(
            f"{folder} lacks {len(absent)} of the {len(paths)} files that {index.name} names",
            details=absent,
            fix="Download the whole repository: hf download REPOSITORY --local-dir DIR",
        )
    shards = {shard: SafetensorsFile.open(path) for shard, path in paths.items()}
    problems = [
        f"{name} is in {shard}, and {index.name} says {weight_map.get(name, 'nothing about it')}"
        for shard, file in shards.items()
        for name in file.tensors
        if weight_map.get(name) != shard and not is_ignored(name)
    ]
    sources = {}
    for name, shard in weight_map.items():
        if name in shards[shard].tensors and not is_ignored(name):
            sources[name] = shards[shard]
    return sources, problems


def _formats(
    config: ModelConfig, quantization: QuantConfig | None, sources: Mapping[str, SafetensorsFile]
) -> dict[str, LinearFormat]:
    """Format of every linear layer that should be quantized by what the checkpoint says."""
    if quantization is None:
        return {}
    formats = {}
    for module, (_, inputs) in linear_modules(config).items():
        found = quantization.format_of(module)
        if found is None:
            continue
        scale = f"{module}.{WEIGHT_SCALE}"
        if found.group_size and quantization.group_size is None and not quantization.layers and scale in sources:
            # config.json alone does not carry the group size of every algorithm; the scales' shape does.
            columns = sources[scale].tensors[scale].shape[-1:]
            found = replace(found, group_size=inputs // columns[0] if columns and columns[0] else found.group_size)
        formats[module] = found
    return formats


def _expected(config: ModelConfig, formats: Mapping[str, LinearFormat]) -> dict[str, TensorSpec]:
    """Every tensor of the checkpoint in canonical order: scales come behind their weight."""
    linears = linear_modules(config)
    expected: dict[str, TensorSpec] = {}
    for name, shape in expected_tensors(config).items():
        module = name.removesuffix(".weight")
        expected |= (
            formats[module].tensors(module, *linears[module]) if module in formats else {name: TensorSpec(shape)}
        )
    return expected


def _inventory_problems(
    config: ModelConfig, expected: Mapping[str, TensorSpec], sources: Mapping[str, SafetensorsFile]
) -> list[str]:
    problems = []
    for name in (name for name, spec in expected.items() if name not in sources and not spec.optional):
        tied = name == HEAD and config.tie_word_embeddings
        why = "; config.json says tie_word_embeddings, but released models have a head of their own" if tied else ""
        problems.append(f"missing: {name} {list(expected[name].shape)}{why}")
    problems += [f"unexpected: {name}" for name in sources if name not in expected]
    for name in (name for name in expected if name in sources):
        info, spec = sources[name].tensors[name], expected[name]
        if info.shape != spec.shape and not (spec.shape == () and info.shape == (1,)):
            problems.append(f"{name} is {list(info.shape)}; {list(spec.shape)} was expected")
        if info.dtype not in spec.dtypes:
            problems.append(f"{name} is {info.dtype}; supported: {', '.join(spec.dtypes)}")
    return problems


def _inventory_fix(names: Iterable[str], quantization: QuantConfig | None) -> str:
    for prefix, kind in FOREIGN_PREFIXES.items():
        if any(name.startswith(prefix) for name in names):
            return f"Names that begin with {prefix!r} mean {kind}: use the released checkpoint."
    if quantization is not None:
        return (
            f"The checkpoint says {quantization.algorithm} for all layers but its exclude_modules: use weights and "
            f"{QUANT_CONFIG_FILE} of one export, complete and unedited."
        )
    if any(name.endswith(f".{WEIGHT_SCALE}") for name in names):
        return f"There are quantization scales and no {QUANT_CONFIG_FILE}: copy that file of the export as well."
    return "Use config.json and weights of one release, complete and unedited."


def _check_tied(folder: Path, sources: Mapping[str, SafetensorsFile]) -> None:
    # Closed by hand: a difference ends the comparison early and would leave both files open.
    with closing(sources[EMBEDDING].chunks(EMBEDDING)) as embedding, closing(sources[HEAD].chunks(HEAD)) as head:
        pairs = zip_longest(embedding, head)
        equal = all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)
    if not equal:
        raise InputError(
            f"config.json in {folder} says tie_word_embeddings, and {HEAD} differs from {EMBEDDING}",
            fix="Set tie_word_embeddings to false if the head was trained; released models are untied.",
        )
