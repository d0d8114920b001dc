# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The weights files of a checkpoint folder: one file, shards with an index, or shards with numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nld_trt.errors import InputError, some
from nld_trt.files import inside, read_json
from nld_trt.model.names import canonical, is_rotary_buffer
from nld_trt.model.safetensors_file import Array, SafetensorsFile, TensorInfo

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_SUFFIX = ".safetensors"
_INDEX_SUFFIX = f"{_SUFFIX}.index.json"
# Files with the same suffix that are not weights of the network.
_NO_WEIGHTS = ("adapter_model.safetensors", "optimizer.safetensors", "scheduler.safetensors")
_NUMBERED = re.compile(r"(?P<stem>.*?)[-_.]?(?P<part>\d+)-of-(?P<parts>\d+)\.safetensors")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_REFETCH = "Download the whole repository: hf download REPOSITORY --local-dir DIR"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in one of the files, with its name there."""

    file: SafetensorsFile
    name: str

    @property
    def info(self) -> TensorInfo:
        return self.file.tensors[self.name]

    def read(self) -> Array:
        """Read the whole tensor in its stored dtype."""
        return self.file.read(self.name)

    def chunks(self) -> Generator[Array, None, None]:
        """Yield the tensor as flat pieces in its stored dtype, each valid until the next is taken."""
        return self.file.chunks(self.name)


@dataclass(frozen=True)
class Shards:
    """The tensors of a folder, with the file of each.

    Attributes:
        tensors: the tensors, by stored name.
        problems: tensors that are in two files, or in another file than the index says.
        note: a line that names the files, if they have other names than in a release.
    """

    tensors: Mapping[str, StoredTensor]
    problems: tuple[str, ...] = ()
    note: str | None = None

    @classmethod
    def find(cls, folder: Path) -> Shards:
        """Find the tensors of ``folder``. Only headers are read.

        Without ``model.safetensors`` and its index, an index of another name is used; without one, a complete set of
        numbered shards; without these, a single file of any name.

        Raises:
            InputError: there are no weights or only pickles, shards are missing, or several files have neither an index
                nor numbers.
        """
        single, index = inside(folder, WEIGHTS_FILE), inside(folder, INDEX_FILE)
        if single.is_file():
            return cls._of({WEIGHTS_FILE: single})
        if index.is_file():
            return cls._indexed(folder, index)
        others = sorted(path.name for path in folder.glob(f"*{_INDEX_SUFFIX}"))
        if len(others) == 1:
            return cls._indexed(folder, inside(folder, others[0]), f"weights are those of {others[0]}")
        names = sorted(path.name for path in folder.glob(f"*{_SUFFIX}") if path.name not in _NO_WEIGHTS)
        if not names:
            raise _no_weights(folder)
        _check_set(folder, names)
        files = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return cls._of(
            {name: inside(folder, name) for name in names}, f"weights are those of {files}, without an index"
        )

    @classmethod
    def _of(cls, paths: Mapping[str, Path], note: str | None = None) -> Shards:
        tensors: dict[str, StoredTensor] = {}
        problems = []
        for path in paths.values():
            file = SafetensorsFile.open(path)
            for name in file.tensors:
                if name in tensors:
                    problems.append(f"{name} is in {tensors[name].file.path.name} and in {path.name}")
                tensors[name] = StoredTensor(file, name)
        return cls(tensors, tuple(problems), note)

    @classmethod
    def _indexed(cls, folder: Path, index: Path, note: str | None = None) -> Shards:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise InputError(f"{index} has no weight_map from tensor names to files")
        paths = {shard: inside(folder, shard) for shard in sorted(set(weight_map.values()))}
        foreign = [shard for shard in paths if not shard.endswith(_SUFFIX)]
        if foreign:
            raise InputError(f"{index} names files that are not safetensors: {', '.join(foreign)}")
        absent = [shard for shard, path in paths.items() if not path.is_file()]
        if absent:
            raise InputError(
                f"{folder} lacks {len(absent)} of the {len(paths)} files that {index.name} names",
                details=some(absent),
                fix=_REFETCH,
            )
        shards = {shard: SafetensorsFile.open(path) for shard, path in paths.items()}
        problems = [
            f"{name} is in {shard}, and {index.name} says {weight_map.get(name, 'nothing about it')}"
            for shard, file in shards.items()
            for name in file.tensors
            if weight_map.get(name) != shard and not is_rotary_buffer(canonical(name))
        ]
        tensors = {
            name: StoredTensor(shards[shard], name)
            for name, shard in weight_map.items()
            if name in shards[shard].tensors
        }
        return cls(tensors, tuple(problems), note)


def _check_set(folder: Path, names: list[str]) -> None:
    """Refuse files that are neither a single file nor one complete set of numbered shards."""
    numbered = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    sets = {(match["stem"], match["parts"]) for match in numbered}
    if len(names) > 1 and (len(sets) != 1 or len(numbered) != len(names)):
        raise InputError(
            f"{folder} has {len(names)} weights files, and cannot be read as one checkpoint: it has neither "
            f"{WEIGHTS_FILE} nor {INDEX_FILE}",
            details=some(names),
            fix=f"Leave the files of one export, numbered as -00001-of-0000N{_SUFFIX}, or copy its {INDEX_FILE} too.",
        )
    if not numbered:
        return
    parts = int(numbered[0]["parts"])
    found = {int(match["part"]) for match in numbered}
    if found != set(range(1, len(numbered) + 1)) or len(numbered) != parts:
        raise InputError(
            f"{folder} has {len(numbered)} of {parts} weights files, by their numbers",
            details=some(names),
            fix=_REFETCH,
        )


def _no_weights(folder: Path) -> InputError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{folder} has pickled weights only ({', '.join(some(pickles))}); loading a pickle can run any code in it",
            fix=f"Use a release with *.safetensors files, or {converting(pickles[0], WEIGHTS_FILE)}",
        )
    return InputError(f"{folder} has no weights: neither {WEIGHTS_FILE} nor {INDEX_FILE}", fix=_REFETCH)


def converting(pickle: str, target: str) -> str:
    """Returns the advice for a folder that only has pickled tensors."""
    return (
        'convert files you trust: python -c "import torch, safetensors.torch as s; '
        f"s.save_file(torch.load('{pickle}', weights_only=True), '{target}')\""
    )
