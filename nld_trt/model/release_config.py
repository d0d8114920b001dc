# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``config.json`` of a release with any geometry, as its family's releases write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from nld_trt.model.family import DREAM, FAMILIES, LLADA, MISTRAL, NLD, QWEN3, SDAR
from nld_trt.model.releases import Geometry


def release_config(geometry: Geometry) -> dict[str, Any]:
    """Make the ``config.json`` of an instruct release with this geometry (docs/model.md, Configuration)."""
    sizes = asdict(geometry)
    make = _CONFIGS[sizes.pop("family_name")]
    tied, rope_theta = sizes.pop("tied"), sizes.pop("rope_theta")
    return make(sizes, rope_theta) | {"tie_word_embeddings": tied}


def _nld(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    return {
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": "nemotron_labs_diffusion",
        **sizes,
        "hidden_act": "silu",
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-05,
        "initializer_range": 0.02,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": False,
        "attn_implementation": "sdpa",
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 11,
        "mask_token_id": 100,
        "block_size": 32,
        "dlm_paradigm": "bidirectional",
        "dlm_loss_weight": None,
        "ar_loss_weight": 1.0,
        "dp_varying_mask_ratio": False,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": rope_theta,
            "factor": 16.0,
            "original_max_position_embeddings": 16384,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
        "transformers_version": "5.0.0",
    }


def _qwen3(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    # The releases have ids next to the end of their vocabulary, which tests make smaller.
    last = sizes["vocab_size"]
    bos, eos = (151643, 151645) if last > 151645 else (last - 2, last - 1)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **sizes,
        "hidden_act": "silu",
        "max_position_embeddings": 40960,
        "max_window_layers": sizes["num_hidden_layers"],
        "rms_norm_eps": 1e-06,
        "initializer_range": 0.02,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "sliding_window": None,
        "use_sliding_window": False,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": bos,
        "eos_token_id": eos,
        "rope_scaling": None,
        "rope_theta": rope_theta,
        "transformers_version": "4.51.0",
    }


def _sdar(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    last = sizes["vocab_size"]
    end, turn_end, mask = (151643, 151645, 151669) if last > 151669 else (last - 3, last - 2, last - 1)
    return _qwen3(sizes, rope_theta) | {
        "architectures": ["SDARForCausalLM"],
        "model_type": "sdar",
        "block_size": 4,
        "bos_token_id": end,
        "eos_token_id": [end, turn_end],
        "mask_token_id": mask,
    }


def _mistral(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        **sizes,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-05,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "sliding_window": 32768,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_theta": rope_theta,
        "transformers_version": "4.46.0",
    }


def _llada(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    eos, mask = _ids(sizes["vocab_size"], 126081, 126336)
    theirs = {ours: key for key, ours in FAMILIES[LLADA].keys.items()}
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        **{theirs.get(key, key): value for key, value in sizes.items() if key != "head_dim"},
        "embedding_size": sizes["vocab_size"],
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "max_sequence_length": 4096,
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": rope_theta,
        "scale_logits": False,
        "use_cache": False,
        "weight_tying": False,
        "torch_dtype": "bfloat16",
        "eos_token_id": eos,
        "pad_token_id": eos,
        "mask_token_id": mask,
        "transformers_version": "4.46.3",
    }


def _dream(sizes: dict[str, Any], rope_theta: float) -> dict[str, Any]:
    eos, mask = _ids(sizes["vocab_size"], 151643, 151666)
    return {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        **{key: value for key, value in sizes.items() if key != "head_dim"},
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "max_window_layers": sizes["num_hidden_layers"],
        "rms_norm_eps": 1e-06,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "sliding_window": None,
        "use_sliding_window": False,
        "use_mrope": False,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": eos,
        "eos_token_id": eos,
        "pad_token_id": eos,
        "mask_token_id": mask,
        "rope_scaling": None,
        "rope_theta": rope_theta,
        "transformers_version": "4.46.2",
    }


def _ids(vocab_size: int, eos: int, mask: int) -> tuple[int, int]:
    """The ids of EOS and MASK: those of the releases, or the last ones of a smaller vocabulary."""
    return (eos, mask) if vocab_size > max(eos, mask) else (vocab_size - 2, vocab_size - 1)


_CONFIGS: Final[Mapping[str, Callable[[dict[str, Any], float], dict[str, Any]]]] = {
    NLD: _nld,
    QWEN3: _qwen3,
    MISTRAL: _mistral,
    SDAR: _sdar,
    LLADA: _llada,
    DREAM: _dream,
}
