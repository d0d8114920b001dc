# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Export to a stock Hugging Face ``Ministral3ForCausalLM`` checkpoint.

The causal pass of the network is exactly that class, so the export runs in any stack that knows it:
for evaluation in AR mode, and as a reference for nld-trt. The class has no draft adapter and no block modes,
so they are left out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.files import human_bytes, publish_folder, write_json
from nld_trt.model.checkpoint import CONFIG_FILE, Checkpoint
from nld_trt.model.convert import SPARE_BYTES, copy_weights, refuse_non_finite, refuse_overlap
from nld_trt.model.family import FAMILIES, NLD
from nld_trt.model.names import stock_name
from nld_trt.model.shards import WEIGHTS_FILE
from nld_trt.model.text.check import check_text
from nld_trt.progress import SILENT, Progress, Stage

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def ministral3_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Make the ``config.json`` of the export, for transformers 5.0 or later and for vLLM.

    The two read the query scale and the cos/sin magnitude from different keys, so the file has both sets.
    """
    config, rope = checkpoint.config, checkpoint.config.rope
    (stored, _), *_ = Counter(checkpoint.dtype_of(name) for name in checkpoint.names).most_common(1)
    return {
        "architectures": ["Ministral3ForCausalLM"],
        "model_type": "ministral3",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": checkpoint.raw_config.get("initializer_range", 0.02),
        "rms_norm_eps": config.rms_norm_eps,
        "use_cache": True,
        # A null is written, too: without the key the class takes 11, which is the EOS of this model family.
        "pad_token_id": checkpoint.raw_config.get("pad_token_id"),
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.to_dict()["eos_token_id"],
        "tie_word_embeddings": False,
        "sliding_window": None,
        "attention_dropout": 0.0,
        "rope_parameters": {
            "rope_type": rope.rope_type,
            "rope_theta": rope.rope_theta,
            "factor": rope.factor,
            "original_max_position_embeddings": rope.original_max_position_embeddings,
            "beta_fast": rope.beta_fast,
            "beta_slow": rope.beta_slow,
            "mscale": rope.mscale,
            "mscale_all_dim": rope.mscale_all_dim,
            # Without this, mscale 0 (or a reader that ignores mscale) would scale cos and sin by 1.277.
            "attention_factor": 1.0,
            # The same for vLLM, which does not read mscale, and reads attention_factor only in later versions.
            "apply_yarn_scaling": False,
            "llama_4_scaling_beta": rope.llama_4_scaling_beta,
        },
        # vLLM reads the query scale from this block.
        "llama_4_scaling": {
            "original_max_position_embeddings": rope.original_max_position_embeddings,
            "beta": rope.llama_4_scaling_beta,
        },
        "dtype": _DTYPES[stored],
    }


def export_ministral3(
    checkpoint: Checkpoint, target: Path, *, force: bool = False, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write ``checkpoint`` to ``target`` in the stock form. Returns a summary for the user.

    Args:
        force: replace an earlier export in ``target``.
        progress: is told of the stage, and warned of everything that will not work.

    Raises:
        InputError: the tokenizer or a chat template cannot be used, a weight is NaN or infinite (all such
            tensors are listed), or ``target`` is taken. Nothing is left behind.
        OperationError: the disk has too little space.
    """
    with progress.stage("converting") as stage:
        return _export(checkpoint, target, force, progress, stage)


def _export(checkpoint: Checkpoint, target: Path, force: bool, progress: Progress, stage: Stage) -> dict[str, Any]:
    family = checkpoint.config.family
    if family.rotary != "yarn":
        raise InputError(
            f"{checkpoint.folder} is a {family.title} checkpoint, which is no Ministral 3: the export is for "
            f"{FAMILIES[NLD].title}",
            fix="Leave --to out. The release itself is a stock checkpoint.",
        )
    checkpoint.refuse_quantized()
    refuse_overlap(checkpoint.folder, target)
    for warning in check_text(checkpoint.folder, checkpoint.config.vocab_size):
        progress.warn(warning)
    needs = checkpoint.weight_bytes + SPARE_BYTES
    with publish_folder(target, force, needs_bytes=needs, marker=CONFIG_FILE) as folder:
        stage.detail(f"checking and copying {len(checkpoint.names)} tensors, {human_bytes(checkpoint.weight_bytes)}")
        names = {name: stock_name(name) for name in checkpoint.names}
        refuse_non_finite(checkpoint.folder, copy_weights(checkpoint, folder / WEIGHTS_FILE, names))
        write_json(folder / CONFIG_FILE, ministral3_config(checkpoint))
        checkpoint.copy_companions(folder)
    return {
        "architecture": "Ministral3ForCausalLM",
        "tensors": len(names),
        "bytes": checkpoint.weight_bytes,
        "adapter_left_out": checkpoint.adapter is not None,
        "generation": checkpoint.generation.to_dict(),
        "notes": list(checkpoint.notes),
    }
