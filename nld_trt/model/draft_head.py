# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An Eagle3 head: one decoder layer that drafts for a network, its target, from what this has computed.

docs/model.md, Eagle3 head, describes what it computes. In a checkpoint it has the folder ``eagle3/``, with its
configuration and its tensors under the names that heads are released with.

Shapes: H hidden, Q query heads · head_dim, K key/value heads · head_dim, I intermediate, V tokens of the target,
D tokens of the head.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nld_trt import names
from nld_trt.errors import InputError, some
from nld_trt.files import inside, read_json
from nld_trt.model.config import ModelConfig
from nld_trt.model.draft_config import DraftConfig
from nld_trt.model.family import FAMILIES
from nld_trt.model.safetensors_file import Array
from nld_trt.model.shards import Shards, StoredTensor

DRAFT_FOLDER: Final = names.EAGLE3
CONFIG_FILE: Final = "config.json"

LAYER: Final = "midlayer"
# The linear layers and norms, with their axes. The attention reads the token and the state of the target side by side.
_AXES: Final[Mapping[str, tuple[str, ...]]] = {
    "fc": ("H", "3H"),
    f"{LAYER}.input_layernorm": ("H",),
    f"{LAYER}.hidden_norm": ("H",),
    f"{LAYER}.self_attn.q_proj": ("Q", "2H"),
    f"{LAYER}.self_attn.k_proj": ("K", "2H"),
    f"{LAYER}.self_attn.v_proj": ("K", "2H"),
    f"{LAYER}.self_attn.o_proj": ("H", "Q"),
    f"{LAYER}.post_attention_layernorm": ("H",),
    f"{LAYER}.mlp.gate_proj": ("I", "H"),
    f"{LAYER}.mlp.up_proj": ("I", "H"),
    f"{LAYER}.mlp.down_proj": ("H", "I"),
    "norm": ("H",),
    "lm_head": ("D", "H"),
}
# From a token of the head to the target's: its id there less its id here. The other way: whether the head has it.
TO_TARGET: Final = "d2t"
FROM_TARGET: Final = "t2d"
TABLES: Final = (TO_TARGET, FROM_TARGET)
_EMBEDDING: Final = "embed_tokens.weight"
_FLOATS: Final = ("BF16", "F16", "F32")
_INTEGERS: Final = ("I64", "I32")
# Two embeddings are one if they differ by no more than another type rounds.
_RELATIVE, _ABSOLUTE = 0.01, 1e-4
# Names of the layer that some tools write.
_OTHER_LAYERS: Final = re.compile(r"^(model\.)?(layers\.0|midlayer)\.")
_FIX: Final = "Use a head that was trained for this target, complete and unedited."


@dataclass(frozen=True)
class DraftHead:
    """A checked head, whose tensors are read on request.

    Attributes:
        raw_config: the head's ``config.json``.
        notes: a line about tensors that have another place or another name than in a release.
    """

    config: DraftConfig
    raw_config: Mapping[str, Any]
    notes: tuple[str, ...]
    _sources: Mapping[str, StoredTensor]

    @classmethod
    def of_checkpoint(cls, folder: Path, target: ModelConfig, embedding: StoredTensor) -> DraftHead | None:
        """Open the head of a checkpoint folder. Returns None when it has no ``eagle3/``. Raises as :meth:`open`."""
        own = inside(folder, DRAFT_FOLDER)
        return cls.open(own, target, embedding) if own.exists() else None

    @classmethod
    def open(cls, folder: Path, target: ModelConfig, embedding: StoredTensor) -> DraftHead:
        """Open the head in ``folder``.

        Args:
            embedding: that of the target, which the head shares.

        Raises:
            InputError: it is no head, or one for another target. All faults are listed.
        """
        check_family(target)
        path = inside(folder, CONFIG_FILE)
        if not path.is_file():
            raise InputError(f"{folder} is no Eagle3 head: it has no {CONFIG_FILE}", fix=_FIX)
        raw = read_json(path)
        config, problems = DraftConfig.read(raw, target.to_dict())
        if config is None:
            raise InputError(f"The Eagle3 head in {folder} is not for this target", details=problems, fix=_FIX)
        shards = Shards.find(folder)
        stored = {_canonical(name): tensor for name, tensor in shards.tensors.items()}
        own_embedding = stored.pop(_EMBEDDING, None)
        notes = [f"the head's {shards.note}"] if shards.note else []
        renamed = [(tensor.name, name) for name, tensor in stored.items() if tensor.name != name]
        if renamed:
            notes.append(f"{len(renamed)} tensors of the head renamed, such as {renamed[0][0]} to {renamed[0][1]}")
        problems = [*shards.problems, *_tensor_problems(stored, expected_shapes(config, target))]
        if not problems:
            problems += _vocabulary_problems(stored, config, target.vocab_size)
        if problems:
            raise InputError(f"The Eagle3 head in {folder} cannot be used", details=some(problems), fix=_FIX)
        if own_embedding is not None:
            _require_same(folder, own_embedding, embedding)
            notes.append("the head's embed_tokens left out: it is the target's")
        kept = {name: stored[name] for name in tensor_names(config, target) if name in stored}
        return cls(config, raw, tuple(notes), kept)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors, in canonical order."""
        return tuple(self._sources)

    @property
    def parameters(self) -> int:
        """Elements of its linear layers and norms."""
        return sum(math.prod(each.info.shape) for name, each in self._sources.items() if name not in TABLES)

    @property
    def weight_bytes(self) -> int:
        return sum(each.info.nbytes for each in self._sources.values())

    def dtype_of(self, name: str) -> str:
        return self._sources[name].info.dtype

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self._sources[name].info.shape

    def read(self, name: str) -> Array:
        """Read one tensor in its stored dtype."""
        return self._sources[name].read()

    def chunks(self, name: str) -> Iterator[Array]:
        """Yield one tensor as flat pieces in its stored dtype, each valid until the next is taken."""
        return self._sources[name].chunks()

    def target_ids(self) -> npt.NDArray[np.int32]:
        """[D]: the target's id of each token of the head."""
        return _target_ids(self._sources, self.config.vocab_size)


def tensor_names(config: DraftConfig, target: ModelConfig) -> tuple[str, ...]:
    """The names of a head's tensors in canonical order."""
    return (*expected_shapes(config, target), *TABLES)


def expected_shapes(config: DraftConfig, target: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a head's linear layers and norms, by name and in canonical order."""
    hidden = target.hidden_size
    size = {
        "H": hidden,
        "2H": 2 * hidden,
        "3H": len(config.layers) * hidden,
        "Q": config.num_attention_heads * target.head_dim,
        "K": target.key_value_size,
        "I": config.intermediate_size,
        "D": config.vocab_size,
    }
    return {f"{module}.weight": tuple(size[axis] for axis in axes) for module, axes in _AXES.items()}


def check_family(target: ModelConfig) -> None:
    """Raise InputError for a target of a family that heads cannot draft for."""
    if target.family.takes_head:
        return
    able = ", ".join(family.title for family in FAMILIES.values() if family.takes_head)
    raise InputError(
        f"an Eagle3 head was given for {target.family.title}; heads are supported for {able}",
        fix="Leave the head out.",
    )


def _canonical(name: str) -> str:
    return _OTHER_LAYERS.sub(f"{LAYER}.", name).removeprefix("model.")


def _tensor_problems(stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    missing = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in stored]
    unexpected = [f"unexpected: {tensor.name}" for name, tensor in stored.items() if name not in (*expected, *TABLES)]
    shapes, dtypes = [], []
    for name in (name for name in expected if name in stored):
        info = stored[name].info
        if info.shape != expected[name]:
            shapes.append(f"{name} is {list(info.shape)}; {list(expected[name])} was expected")
        if info.dtype not in _FLOATS:
            dtypes.append(f"{name} is {info.dtype}; supported: {', '.join(_FLOATS)}")
    return some(missing, unexpected, shapes, dtypes)


def _vocabulary_problems(stored: Mapping[str, StoredTensor], config: DraftConfig, vocab: int) -> list[str]:
    """What is wrong with the tables between the head's vocabulary and the target's."""
    if TO_TARGET not in stored:
        if config.vocab_size == vocab:
            return []
        return [f"missing: {TO_TARGET} [{config.vocab_size}], from the head's {config.vocab_size} tokens to {vocab}"]
    info = stored[TO_TARGET].info
    if info.shape != (config.vocab_size,) or info.dtype not in _INTEGERS:
        return [f"{TO_TARGET} is {info.dtype} {list(info.shape)}; I64 [{config.vocab_size}] was expected"]
    ids = _target_ids(stored, config.vocab_size)
    if ids.min() < 0 or ids.max() >= vocab:
        return [f"{TO_TARGET} leads to token {ids.min() if ids.min() < 0 else ids.max()}; the target has {vocab}"]
    if len(np.unique(ids)) != len(ids):
        return [f"{TO_TARGET} leads to one token twice"]
    if FROM_TARGET in stored:
        has = stored[FROM_TARGET].read().astype(np.bool_)
        if has.shape != (vocab,) or not np.array_equal(np.flatnonzero(has), np.sort(ids)):
            return [f"{FROM_TARGET} and {TO_TARGET} are not of the same tokens"]
    return []


def _target_ids(stored: Mapping[str, StoredTensor], count: int) -> npt.NDArray[np.int32]:
    own = np.arange(count, dtype=np.int64)
    ids = own + stored[TO_TARGET].read().astype(np.int64) if TO_TARGET in stored else own
    return ids.clip(np.iinfo(np.int32).min, np.iinfo(np.int32).max).astype(np.int32)


def _require_same(folder: Path, own: StoredTensor, embedding: StoredTensor) -> None:
    """Raise InputError unless the head's embedding is the target's, up to rounding."""
    same = own.info.shape == embedding.info.shape and own.info.nbytes == embedding.info.nbytes
    if same:
        with closing(own.chunks()) as first, closing(embedding.chunks()) as second:
            same = all(a is not None and b is not None and _close(a, b) for a, b in zip_longest(first, second))
    if not same:
        raise InputError(
            f"The Eagle3 head in {folder} has an embedding of its own, {own.info.dtype} {list(own.info.shape)}, which "
            f"is not the target's, {embedding.info.dtype} {list(embedding.info.shape)}; heads share it",
            fix=_FIX,
        )


def _close(one: Array, other: Array) -> bool:
    return np.allclose(one.astype(np.float32), other.astype(np.float32), rtol=_RELATIVE, atol=_ABSOLUTE)
