# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of transformers, which are what engines of other families are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from nld_trt.model.family import Family

SIZES: Mapping[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 40960,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The name of the class of transformers, and what its configuration has beside SIZES.
# Layers with biases, which no family here has that decodes in ar.
BIASED = Family(
    "qwen2", "Qwen2", releases=(), licence="", model_types=("qwen2",), modes=("ar",), qkv_bias=True,
    defaults={"block_size": 1}, may_lack=("head_dim",),
)  # fmt: skip

_QWEN3 = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
_MISTRAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e8}, "sliding_window": 32768}
STOCK: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "qwen3": ("Qwen3", _QWEN3),
    "qwen3-tied": ("Qwen3", {**_QWEN3, "tie_word_embeddings": True}),
    "mistral": ("Mistral", _MISTRAL),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "ministral": ("Ministral", {**_MISTRAL, "layer_types": ["full_attention", "sliding_attention"]}),
}


def make_stock(name: str, folder: Path, **changes: Any) -> Any:
    """Save a random model of :data:`STOCK` to ``folder`` as transformers does, and return it.

    Its weights are large enough that the places of tokens matter, and its norms are not all one.
    """
    import transformers

    kind, settings = STOCK[name]
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **settings, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval().float()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in parameter_name else 0.0, 0.15)
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    return model


def edit_tensors(folder: Path, edit: Any) -> None:
    """Apply ``edit`` to the tensors of a checkpoint folder, by name."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_config(folder: Path, **changes: Any) -> None:
    """Change entries of ``config.json``."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
