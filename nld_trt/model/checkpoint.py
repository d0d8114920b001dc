# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder. It is checked from the files' headers, and its tensors are read one at a time."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.files import inside, read_json
from nld_trt.model.adapter import Adapter, Float32
from nld_trt.model.config import ModelConfig
from nld_trt.model.draft_head import DraftHead
from nld_trt.model.expected import expected_of, linear_formats, require_complete, require_tied
from nld_trt.model.generation import GENERATION_FILE, GenerationConfig, GenerationDefaults
from nld_trt.model.inventory import BIAS, EMBEDDING, HEAD, HEAD_MODULE
from nld_trt.model.manifest import MANIFEST_FILE, check_files, read_manifest
from nld_trt.model.names import Names
from nld_trt.model.quantized.config import NO_WEIGHTS, QuantConfig
from nld_trt.model.quantized.formats import LinearFormat, QuantizedWeight
from nld_trt.model.safetensors_file import Array, TensorInfo
from nld_trt.model.shards import Shards, StoredTensor
from nld_trt.model.spelling import Spelling
from nld_trt.model.text.files import TEXT_FILES, template_files

CONFIG_FILE = "config.json"
COMPANION_FILES = (*TEXT_FILES, GENERATION_FILE)

# Other folders that users pass as a checkpoint, recognised by a file in them.
_OTHER_FOLDERS: dict[str, str] = {
    "engine.json": "It is an engine folder: pass the folder that it was built from.",
    "adapter_config.json": "It is an adapter folder: pass the checkpoint folder around it.",
    "snapshots": "It is a Hugging Face cache entry: pass the folder snapshots/REVISION in it.",
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. Make one with :meth:`open` or :meth:`open_converted`.

    Attributes:
        raw_config: ``config.json`` in our spelling (``model.spelling``).
        respelled_config: whether ``raw_config`` differs from the file.
        generation: defaults of requests, from ``generation_config.json``.
        adapter: the draft adapter; None on base models.
        draft_head: the Eagle3 head that drafts for the network; None without one.
        manifest: ``checkpoint.json`` of a converted checkpoint; None for a release.
        quantization: what the checkpoint says about its quantization; None in high precision.
        formats: the format of each quantized linear layer, by module name.
        kv_cache: format of the KV cache that the checkpoint was made for, such as FP8; None for the engine's precision.
        notes: a line for everything that has another place or another name than in a release.
    """

    folder: Path
    config: ModelConfig
    raw_config: Mapping[str, Any]
    generation: GenerationDefaults
    respelled_config: bool
    adapter: Adapter | None
    draft_head: DraftHead | None
    manifest: dict[str, Any] | None
    quantization: QuantConfig | None
    formats: Mapping[str, LinearFormat]
    kv_cache: str | None
    notes: tuple[str, ...]
    _sources: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, folder: Path, draft: Path | None = None) -> Checkpoint:
        """Open a released or converted checkpoint, and check configuration, tensor names, shapes, dtypes and adapter.

        Names and settings in the forms of other tools are accepted where their meaning is unambiguous.

        Args:
            draft: the folder of an Eagle3 head; None for the one that the checkpoint has, if it has one.

        Raises:
            InputError: the folder is not a usable checkpoint. Faults of all kinds are listed together.
        """
        raw = _read_config(folder)
        generation = GenerationConfig.read(folder)
        config = generation.with_eos(ModelConfig.from_hf(generation.completed(raw)))
        spelled = Spelling.of(raw)
        stated = QuantConfig.read(folder, raw)
        quantization = None if stated is None or stated.algorithm == NO_WEIGHTS else stated
        shards = Shards.find(folder)
        names = Names.of(shards.tensors, layers=config.num_hidden_layers, family=config.family)
        sources = {name: shards.tensors[stored] for name, stored in names.stored.items()}
        notes = [*([shards.note] if shards.note else []), *([spelled.note] if spelled.note else []), *names.notes()]
        if config.tie_word_embeddings and HEAD not in sources and EMBEDDING in sources:
            sources[HEAD] = sources[EMBEDDING]
            notes.append(f"{HEAD} is not stored, and taken from {EMBEDDING}: config.json says tie_word_embeddings")
        formats = linear_formats(config, quantization, sources)
        expected = expected_of(config, formats)
        require_complete(folder, config, expected, sources, [*shards.problems, *names.problems], quantization)
        if config.tie_word_embeddings and HEAD_MODULE not in formats:
            require_tied(folder, sources)
            sources[HEAD] = sources[EMBEDDING]
        adapter = Adapter.open(folder, config)
        if draft is None:
            head = DraftHead.of_checkpoint(folder, config, sources[EMBEDDING])
        else:
            head = DraftHead.open(draft, config, sources[EMBEDDING])
        return cls(
            folder=folder,
            config=config if head is None else config.with_draft(head.config),
            raw_config=spelled.raw,
            respelled_config=spelled.raw != raw,
            generation=generation.defaults,
            adapter=adapter,
            draft_head=head,
            manifest=read_manifest(folder),
            quantization=quantization,
            formats=formats,
            kv_cache=None if stated is None else stated.kv_cache,
            notes=(*notes, *(adapter.notes if adapter else ()), *(head.notes if head else ())),
            _sources={name: sources[name] for name in expected if name in sources},
        )

    @classmethod
    def open_converted(cls, folder: Path, *, verify: bool = False) -> Checkpoint:
        """Open a folder that ``nld-trt convert`` wrote.

        Args:
            verify: also compare the SHA-256 of every file, which reads all of them completely.

        Raises:
            InputError: the manifest is missing or has another version, files have changed, or :meth:`open` raises.
        """
        _check_folder(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            raise InputError(
                f"{folder} is not a converted checkpoint: it has no {MANIFEST_FILE}",
                fix=f"Run: nld-trt convert {shlex.quote(str(folder))} -o DIR, then use DIR.",
            )
        check_files(folder, manifest, verify=verify)
        return cls.open(folder)

    def refuse_quantized(self) -> None:
        """Raise InputError if the checkpoint is quantized, for work that needs weights in high precision."""
        if self.quantization is not None:
            raise InputError(
                f"{self.folder} is already quantized ({self.quantization.algorithm}); "
                "the original BF16 checkpoint is needed here",
                fix="Pass the released checkpoint, or the folder that nld-trt convert wrote from it.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the network's tensors in canonical order, without a head that is the embedding."""
        return tuple(name for name in self._sources if name != HEAD or not self.has_tied_head)

    @property
    def has_tied_head(self) -> bool:
        """Whether the head is the embedding. It can be read under its own name, too."""
        return self._sources[HEAD] is self._sources[EMBEDDING]

    @property
    def weight_bytes(self) -> int:
        return sum(self._info(name).nbytes for name in self.names)

    def dtype_of(self, name: str) -> str:
        """Returns the stored dtype by its name in safetensors, such as BF16."""
        return self._info(name).dtype

    def nbytes_of(self, name: str) -> int:
        return self._info(name).nbytes

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self._info(name).shape

    def read(self, name: str) -> Array:
        """Read one tensor in its stored dtype."""
        return self._sources[name].read()

    def chunks(self, name: str) -> Iterator[Array]:
        """Yield one tensor as flat pieces in its stored dtype, each valid until the next is taken."""
        return self._sources[name].chunks()

    def read_quantized(self, module: str) -> QuantizedWeight:
        """Read and unpack one quantized linear layer. Raises KeyError for a module in high precision."""
        prefix = f"{module}."
        names = [name for name in self._sources if name.startswith(prefix) and not name.endswith(BIAS)]
        return QuantizedWeight.from_tensors(
            self.formats[module], {name.removeprefix(prefix): self.read(name) for name in names}
        )

    def read_bias(self, module: str) -> Array | None:
        """Read the bias of a linear layer in its stored dtype. Returns None where it has none."""
        name = f"{module}{BIAS}"
        return self.read(name) if name in self._sources else None

    def read_adapter(self, layer: int) -> tuple[Float32, Float32]:
        """Read the adapter's A [rank, query_size] and B [hidden, rank] of one layer, in float32, without the scale."""
        if self.adapter is None:
            raise ValueError(f"{self.folder} has no adapter")
        return self.adapter.read(layer)

    def companions(self) -> list[Path]:
        """Returns the tokenizer, template and generation files that exist."""
        return companions_in(self.folder)

    def copy_companions(self, target: Path) -> None:
        """Copy :meth:`companions` to the same places in ``target``, as UTF-8 without a byte order mark."""
        for path in self.companions():
            copy = target / path.relative_to(self.folder)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF8))

    def _info(self, name: str) -> TensorInfo:
        return self._sources[name].info


def companions_in(folder: Path) -> list[Path]:
    """Returns the tokenizer, template and generation files that an engine or checkpoint folder has."""
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
