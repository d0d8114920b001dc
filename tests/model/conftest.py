# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Golden checkpoints as they are, and copies of one that tests break in one way each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

GOLDENS = Path(__file__).parents[1] / "goldens"

Tensors = dict[str, np.ndarray]


class Release:
    """A copy of a golden checkpoint, in release layout, with ways to damage it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "model.safetensors"
        self.adapter = folder / "linear_spec_lora"

    def edit_json(self, name: str, **changes: object) -> None:
        path = self.folder / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    def edit_config(self, **changes: object) -> None:
        self.edit_json("config.json", **changes)

    def edit_generation(self, **changes: object) -> None:
        self.edit_json("generation_config.json", **changes)

    def edit_rope(self, **changes: object) -> None:
        rope = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["rope_parameters"]
        self.edit_config(rope_parameters={**rope, **changes})

    def edit_adapter_config(self, **changes: object) -> None:
        self.edit_json("linear_spec_lora/adapter_config.json", **changes)

    def edit_tensors(self, edit: Callable[[Tensors], object], path: Path | None = None) -> None:
        path = path or self.weights
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    def edit_adapter(self, edit: Callable[[Tensors], object]) -> None:
        self.edit_tensors(edit, self.adapter / "adapter_model.safetensors")

    def shard(self, parts: int = 3) -> Path:
        """Spread the weights over several files with an index; returns the index."""
        tensors, weight_map = load_file(self.weights), {}
        for part in range(parts):
            shard = f"model-{part + 1:05}-of-{parts:05}.safetensors"
            names = sorted(tensors)[part::parts]
            save_file({name: tensors[name] for name in names}, self.folder / shard, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(names, shard))
        self.weights.unlink()
        index = self.folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
        return index


def tokenizer() -> Tokenizer:
    """A byte-level tokenizer with 256 ids, which every golden checkpoint's vocabulary holds."""
    letters = sorted(ByteLevel.alphabet())
    made = Tokenizer(BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


@pytest.fixture(params=["tiny-a", "tiny-b"])
def golden_folder(request: pytest.FixtureRequest) -> Path:
    """Each golden checkpoint folder in turn. Not to be written to."""
    return GOLDENS / request.param


@pytest.fixture
def tiny_a() -> Path:
    return GOLDENS / "tiny-a"


@pytest.fixture
def tiny_b() -> Path:
    return GOLDENS / "tiny-b"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A writable copy of tiny-a with a tokenizer file beside it."""
    folder = tmp_path / "release"
    shutil.copytree(GOLDENS / "tiny-a", folder)
    for name in ("cases.json", "forwards.json", "forwards.safetensors"):
        (folder / name).unlink()
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}\n", encoding="utf-8")
    return Release(folder)
