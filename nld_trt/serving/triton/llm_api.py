# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A model repository for TensorRT-LLM's own Triton model, which serves AR decoding to many users at once.

TensorRT-LLM has no model of this architecture. Its dense Mistral computes the same causal pass but for the query scale,
which is 1 at all positions before ``original_max_position_embeddings``; longer contexts are refused here. Nothing of
TensorRT-LLM can be run where this project is developed, which the repository says wherever one will look.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nld_trt
from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.files import inside, publish_folder, read_json, write_json
from nld_trt.model.checkpoint import CONFIG_FILE
from nld_trt.model.head_order import write_as_pairs
from nld_trt.serving.triton.container import MOUNT
from nld_trt.serving.triton.llm_api_readme import render_readme
from nld_trt.serving.triton.model_config import FILE_NAME, render_python_config
from nld_trt.serving.triton.naming import check_model_name

# At the root of the repository: says that it is none of ours to serve.
MARKER: Final = "tensorrt-llm.json"
VERSION: Final = "1"
SETTINGS: Final = "model.yaml"
CHECKPOINT: Final = "checkpoint"
_MODEL_TYPE: Final = "ministral3"
# Files of an export that its readers open.
_WEIGHTS: Final = ".safetensors"
_SUFFIXES: Final = (_WEIGHTS, ".json", ".jinja")

# Inputs and outputs of the container's model that a client of text needs: name, type and whether it may hold many.
_INPUTS: Final = (
    ("text_input", "STRING", True),
    ("streaming", "BOOL", False),
    ("sampling_param_temperature", "FP32", False),
    ("sampling_param_top_k", "INT32", False),
    ("sampling_param_top_p", "FP32", False),
    ("sampling_param_max_tokens", "INT32", False),
    ("sampling_param_stop", "STRING", True),
    ("sampling_param_seed", "UINT64", False),
    ("sampling_param_exclude_input_from_output", "BOOL", False),
    ("return_finish_reason", "BOOL", False),
    ("return_stop_reason", "BOOL", False),
    ("return_cumulative_logprob", "BOOL", False),
    ("stop", "BOOL", False),
)
_OUTPUTS: Final = (
    ("text_output", "STRING", True),
    ("finish_reason", "STRING", True),
    ("stop_reason", "STRING", True),
    ("cumulative_logprob", "FP32", True),
)
_REQUIRED: Final = "text_input"


@dataclass(frozen=True)
class Export:
    """A checkpoint as ``nld-trt convert --to ministral3`` writes it."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Export:
        """Raises InputError if ``folder`` is no such checkpoint."""
        path = folder / CONFIG_FILE
        config = read_json(path) if path.is_file() else {}
        if config.get("model_type") != _MODEL_TYPE:
            found = f"its {CONFIG_FILE} says {config.get('model_type')!r}" if config else f"it has no {CONFIG_FILE}"
            raise InputError(
                f"{folder} is not a checkpoint that TensorRT-LLM could serve: {found}",
                fix="Export one: nld-trt convert CHECKPOINT -o DIR --to ministral3",
            )
        return cls(folder, config)

    @property
    def rope(self) -> Mapping[str, Any]:
        rope: Mapping[str, Any] = self.config["rope_parameters"]
        return rope

    @property
    def longest(self) -> int:
        """Tokens of a context at all of whose positions the query scale is 1."""
        return min(int(self.rope["original_max_position_embeddings"]), int(self.config["max_position_embeddings"]))

    def mistral_config(self, max_seq_len: int) -> dict[str, Any]:
        """The ``config.json`` of the same network as a dense Mistral, in the keys that TensorRT-LLM reads.

        ``max_position_embeddings`` is the length that is right, so that no setting of a server can exceed it.
        """
        rope = self.rope
        kept = (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "hidden_act", "initializer_range", "rms_norm_eps", "use_cache",
            "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings", "sliding_window",
            "attention_dropout", "dtype",
        )  # fmt: skip
        scaling = (
            "rope_type", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
            "mscale_all_dim",
        )  # fmt: skip
        return {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            **{name: self.config[name] for name in kept},
            "torch_dtype": self.config["dtype"],
            "max_position_embeddings": max_seq_len,
            "rope_theta": rope["rope_theta"],
            "rope_scaling": {name: rope[name] for name in scaling},
        }


def write_llm_api_repository(
    checkpoint: Path,
    target: Path,
    *,
    name: str = names.DEFAULT_MODEL_NAME,
    max_seq_len: int | None = None,
    rotary_layout: str = names.PAIRS,
    command: str = "nld-trt repo",
    force: bool = False,
) -> dict[str, Any]:
    """Write the repository, with the checkpoint's weights as hard links where the file system allows it.

    Args:
        max_seq_len: longest context, prompt and answer; None for the default, or as much as is right.
        rotary_layout: one of ``names.ROTARY_LAYOUTS``; pairs are for a server that rotates neighbouring elements of a
            head, and take a copy of the weights. By its sources, TensorRT-LLM does that where there is YaRN.

    Returns:
        What was written, for the user.

    Raises:
        InputError: ``checkpoint`` is no export, the length is one that TensorRT-LLM would get wrong, the name cannot be
            used, or ``target`` exists. Nothing is written.
    """
    check_model_name(name)
    export = Export.open(checkpoint)
    length = _checked_length(export, max_seq_len)
    with publish_folder(target, force, marker=MARKER) as work:
        version = work / name / VERSION
        (version / CHECKPOINT).mkdir(parents=True)
        linked = _take_checkpoint(export, version / CHECKPOINT, rotary_layout)
        write_json(version / CHECKPOINT / CONFIG_FILE, export.mistral_config(length))
        config = render_python_config(name, _INPUTS, _OUTPUTS, required=_REQUIRED, comment=f"Made by: {command}")
        (work / name / FILE_NAME).write_text(config, encoding="utf-8", errors="backslashreplace")
        place = f"{MOUNT}/{name}/{VERSION}/{CHECKPOINT}"
        (version / SETTINGS).write_text(_settings(place, length), encoding="utf-8")
        facts = {
            "serve_with": names.TENSORRT_LLM, "model": name, "max_seq_len": length, "rotary_layout": rotary_layout,
            "command": command,
        }  # fmt: skip
        write_json(work / MARKER, {**facts, "tool_version": nld_trt.__version__})
        readme = render_readme(name, length, rotary_layout, command)
        (work / "README.md").write_text(readme, encoding="utf-8", errors="backslashreplace")
    return {"repository": str(target), **facts, "linked": linked}


def _checked_length(export: Export, asked: int | None) -> int:
    longest = export.longest
    if asked is None:
        return min(names.DEFAULT_MAX_SEQ_LEN, longest)
    if asked < 2:
        raise InputError(f"max_seq_len is {asked}; it must hold a prompt and a generated token, so at least 2")
    if asked > longest:
        raise InputError(
            f"max_seq_len is {asked}, and TensorRT-LLM would get positions from {longest} on wrong: its dense Mistral "
            "has no query scale, by which this model multiplies queries there",
            fix=f"Use --max-seq-len {longest} or less, or serve an engine of nld-trt for longer contexts.",
        )
    return asked


def _take_checkpoint(export: Export, target: Path, rotary_layout: str) -> int:
    """Link, copy or reorder the export's files but its configuration. Returns how many were linked."""
    linked = 0
    for path in sorted(export.folder.rglob("*")):
        relative = path.relative_to(export.folder).as_posix()
        if path.suffix not in _SUFFIXES or not path.is_file() or relative == CONFIG_FILE:
            continue
        source, copy = inside(export.folder, relative), target / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        if rotary_layout == names.PAIRS and path.suffix == _WEIGHTS:
            write_as_pairs(source, copy, int(export.config["head_dim"]))
            continue
        try:
            os.link(source.resolve(), copy)
            linked += 1
        except OSError:
            shutil.copyfile(source, copy)
    return linked


def _settings(place: str, max_seq_len: int) -> str:
    """``model.yaml``: arguments of TensorRT-LLM's ``LLM``, and what its Triton model tells Triton."""
    return f"""\
# Arguments of tensorrt_llm.LLM. The path is that inside the container (README.md).
model: {json.dumps(place)}
backend: pytorch
tensor_parallel_size: 1
pipeline_parallel_size: 1
# Positions beyond this would be wrong: the checkpoint has a query scale that TensorRT-LLM lacks.
max_seq_len: {max_seq_len}
triton_config:
  max_batch_size: 0
  decoupled: true
"""
