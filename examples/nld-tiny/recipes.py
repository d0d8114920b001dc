# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What each family that ``train.py`` can train is trained on, and the ``config.json`` of its release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import tokenizer as nld_tokenizer
from batches import ALIGNED_BLOCKS, BONUS_BLOCKS, NO_BLOCKS, BlockKind

from nld_trt.model import names

GEOMETRY: Final = {
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
_COMMON: Final = {
    "vocab_size": nld_tokenizer.VOCAB_SIZE,
    **GEOMETRY,
    "hidden_act": "silu",
    "max_position_embeddings": 16384,
    "initializer_range": 0.02,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": nld_tokenizer.BOS_ID,
    "eos_token_id": nld_tokenizer.EOS_ID,
}


def _nld_config(block_size: int) -> dict[str, object]:
    return {
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": "nemotron_labs_diffusion",
        **_COMMON,
        "rms_norm_eps": 1e-5,
        "mlp_bias": False,
        "sliding_window": None,
        "use_cache": False,
        "mask_token_id": nld_tokenizer.MASK_ID,
        "block_size": block_size,
        "dlm_paradigm": "bidirectional",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 1024,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
        "transformers_version": "5.0.0",
    }


def _qwen3_config(block_size: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **_COMMON,
        "rms_norm_eps": 1e-6,
        "max_window_layers": GEOMETRY["num_hidden_layers"],
        "sliding_window": None,
        "use_sliding_window": False,
        "use_cache": True,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "transformers_version": "4.51.0",
    }


def _sdar_config(block_size: int) -> dict[str, object]:
    return _qwen3_config(block_size) | {
        "architectures": ["SDARForCausalLM"],
        "model_type": "sdar",
        "mask_token_id": nld_tokenizer.MASK_ID,
        "block_size": block_size,
    }


@dataclass(frozen=True)
class Recipe:
    """How a family is trained.

    Attributes:
        config: makes the ``config.json`` of a release with a block size.
        blocks: the kind of its noised blocks.
        block_lengths: of the noised blocks, one of them for each row. The release's block size is that of the family.
        next_weight: of the loss of next tokens, in causal passes.
        masked_weight: of the loss of masked tokens, at their own position.
        tensor_name: the release's name of a tensor of ``nld_trt.model.network.Network``.
        has_adapter: a draft adapter is trained after the network.
    """

    config: Callable[[int], dict[str, object]]
    blocks: BlockKind
    block_lengths: tuple[int, ...]
    next_weight: float
    masked_weight: float
    tensor_name: Callable[[str], str] = names.stock_name
    has_adapter: bool = False


def _unchanged(name: str) -> str:
    return name


# The model's paper found 0.3 times the masked-block loss best for both of its objectives.
RECIPES: Final[Mapping[str, Recipe]] = {
    "nld": Recipe(_nld_config, BONUS_BLOCKS, (8, 16, 32), 1.0, 0.3, tensor_name=_unchanged, has_adapter=True),
    "qwen3": Recipe(_qwen3_config, NO_BLOCKS, (), 1.0, 0.0),
    "sdar": Recipe(_sdar_config, ALIGNED_BLOCKS, (4,), 0.0, 1.0),
}


def from_release(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint of any family by the network's names."""
    return {names.canonical(name): tensor for name, tensor in tensors.items()}
