# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writing the weight file of a ``torch`` engine, one stack of matrices at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nld_trt.engine.torch.forms import FLOAT, FORMS, WEIGHT
from nld_trt.engine.torch.layout import Part, plan_head, plan_layer
from nld_trt.graph.network.prescale import BRANCHED, Prescales, read_prescale
from nld_trt.graph.precision import Precision
from nld_trt.graph.weights import converted
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.draft_head import TABLES, TO_TARGET
from nld_trt.model.inventory import BIAS, EMBEDDING, FINAL_NORM, HEAD_MODULE, K_NORM, Q_NORM, layer_tensor
from nld_trt.model.quantized.formats import Float32
from nld_trt.model.safetensors_file import PYTORCH_METADATA, Array, SafetensorsWriter, dtype_name
from nld_trt.progress import Progress

WEIGHTS_FILE = "weights.safetensors"
PARTS_KEY = "parts"
EMBEDDING_NAME = "embedding"
FACTOR = "input_factor"
OUTPUT_BIAS = "bias"
DRAFT_PREFIX = "draft_head."

# Norms of a layer, by their names in the file.
NORMS = {"input_norm": "input_layernorm", "post_norm": "post_attention_layernorm"}
# Of the families that norm queries and keys.
HEAD_NORMS = {"query_norm": Q_NORM, "key_norm": K_NORM}


@dataclass(frozen=True)
class WeightWriter:
    """Writes the weights of one checkpoint in one precision.

    Attributes:
        adapter: include the draft adapter; the checkpoint must have one.
    """

    checkpoint: Checkpoint
    precision: Precision
    adapter: bool

    def write(self, path: Path, progress: Progress, stage: str) -> tuple[Part, ...]:
        """Write the file, and return the parts of the linear layers.

        Raises:
            InputError: a finite weight has no finite value in the precision (FP16 overflow).
        """
        layers = self.checkpoint.config.num_hidden_layers
        with progress.stage(stage, total=layers, unit="layers") as shown:
            scales = [Prescales.of_layer(self.checkpoint, layer) for layer in range(layers)]
            parts = [list(plan_layer(self.checkpoint, layer, scales[layer])) for layer in range(layers)]
            head = list(plan_head(self.checkpoint))
            head_scale = read_prescale(self.checkpoint, head[0].modules[0])
            head_scales = Prescales({}, {} if head_scale is None else {head[0].modules[0]: head_scale}, None)
            every = [*(part for layer in parts for part in layer), *head]
            metadata = {**PYTORCH_METADATA, PARTS_KEY: json.dumps([part.to_dict() for part in every])}
            with SafetensorsWriter(path, self._tensors(every), metadata) as writer:
                writer.write(EMBEDDING_NAME, self._converted(EMBEDDING))
                for layer in range(layers):
                    for part in parts[layer]:
                        self._write_part(writer, part, scales[layer], f"encoder.layers.{layer}.")
                    for name, tensor in self._small(layer, scales[layer]):
                        writer.write(name, tensor)
                    shown.advance(1)
                writer.write("final_norm", self._converted(FINAL_NORM))
                for part in head:
                    self._write_part(writer, part, head_scales, "")
                self._write_draft_head(writer)
        return tuple(every)

    def _tensors(self, parts: list[Part]) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of every tensor of the file, by name."""
        config, activation = self.checkpoint.config, self.precision.numpy_type
        hidden = (config.hidden_size,)
        shapes: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {
            EMBEDDING_NAME: (activation, (config.vocab_size, config.hidden_size)),
            "final_norm": (activation, hidden),
        }
        for layer in range(config.num_hidden_layers):
            shapes |= {f"layers.{layer}.{name}": (activation, hidden) for name in NORMS}
            if config.family.q_k_norm:
                shapes |= {f"layers.{layer}.{name}": (activation, (config.head_dim,)) for name in HEAD_NORMS}
            if self.adapter:
                assert self.checkpoint.adapter is not None
                rank = self.checkpoint.adapter.rank
                shapes[f"layers.{layer}.lora_a"] = activation, (rank, config.query_size)
                shapes[f"layers.{layer}.lora_b"] = activation, (config.hidden_size, rank)
        if (drafter := self.checkpoint.draft_head) is not None:
            own = [name for name in drafter.names if name not in TABLES]
            shapes |= {f"{DRAFT_PREFIX}{name}": (activation, drafter.shape_of(name)) for name in own}
            shapes[f"{DRAFT_PREFIX}{TO_TARGET}"] = np.dtype(np.int32), (drafter.config.vocab_size,)
        for part in parts:
            if not self._is_embedding(part):
                declared = FORMS[part.form].tensors(part.outputs, part.inputs, part.group, activation)
                shapes |= {f"{part.name}.{name}": stored for name, stored in declared.items()}
            if part.has_bias:
                shapes[f"{part.name}.{OUTPUT_BIAS}"] = activation, (part.outputs,)
            if part.has_factor:
                shapes[f"{part.name}.{FACTOR}"] = activation, (part.inputs,)
        return {name: (dtype_name(dtype), shape) for name, (dtype, shape) in shapes.items()}

    def _write_part(self, writer: SafetensorsWriter, part: Part, scales: Prescales, prefix: str) -> None:
        """One part. ``prefix`` begins the names of its modules, and ``scales`` have the rest of the names."""
        form = FORMS[part.form]
        factors = [scales.factors.get(module.removeprefix(prefix)) for module in part.modules]
        if self._is_embedding(part):
            pass
        elif form is FLOAT:
            pieces = (piece for module, factor in zip(part.modules, factors, strict=True)
                      for piece in self._float_pieces(f"{module}.weight", factor))  # fmt: skip
            writer.write_chunks(f"{part.name}.{WEIGHT}", pieces)
        else:
            packed = [
                form.pack(self.checkpoint.read_quantized(module), factor, self.precision)
                for module, factor in zip(part.modules, factors, strict=True)
            ]
            for name in packed[0]:
                writer.write_chunks(f"{part.name}.{name}", [each[name] for each in packed])
        if part.has_bias:
            biases = (self._bias(module, factor) for module, factor in zip(part.modules, factors, strict=True))
            writer.write(f"{part.name}.{OUTPUT_BIAS}", np.concatenate([*biases]))
        if part.has_factor:
            factor = scales.explicit[part.modules[0].removeprefix(prefix)]
            writer.write(f"{part.name}.{FACTOR}", factor.astype(self.precision.numpy_type))

    def _write_draft_head(self, writer: SafetensorsWriter) -> None:
        """The Eagle3 head, if there is one: its matrices, and the target's id of each of its tokens."""
        head = self.checkpoint.draft_head
        if head is None:
            return
        for name in (name for name in head.names if name not in TABLES):
            writer.write(f"{DRAFT_PREFIX}{name}", converted(name, head.read(name), self.precision))
        writer.write(f"{DRAFT_PREFIX}{TO_TARGET}", head.target_ids())

    def _is_embedding(self, part: Part) -> bool:
        """Whether it is a tied head, which is not stored a second time."""
        return part.modules == (HEAD_MODULE,) and self.checkpoint.has_tied_head

    def _bias(self, module: str, factor: Float32 | None) -> Array:
        stored = self.checkpoint.read_bias(module)
        assert stored is not None
        return converted(f"{module}{BIAS}", stored, self.precision, factor)

    def _float_pieces(self, name: str, factor: Float32 | None) -> Iterator[Array]:
        """A matrix in the activation precision, its rows multiplied by ``factor``."""
        tensor = self.checkpoint.read(name)
        step = max(1, (1 << 24) // tensor.shape[1])
        for start in range(0, len(tensor), step):
            rows = tensor[start : start + step]
            if factor is not None:
                rows = rows.astype(np.float32) * factor[start : start + step, None]
            yield converted(name, rows, self.precision)

    def _small(self, layer: int, scales: Prescales) -> Iterator[tuple[str, Array]]:
        """Norms and draft adapter of a layer."""
        norms = {**NORMS, **(HEAD_NORMS if self.checkpoint.config.family.q_k_norm else {})}
        for name, part in norms.items():
            yield f"layers.{layer}.{name}", self._converted(layer_tensor(layer, part), scales.factors.get(part))
        if not self.adapter:
            return
        assert self.checkpoint.adapter is not None
        lora_a, lora_b = self.checkpoint.read_adapter(layer)
        # The branch reads the input of the projection without the factor that quantization put into it.
        lora_a = lora_a if scales.branch is None else lora_a / scales.branch
        lora_b = lora_b * np.float32(self.checkpoint.adapter.scale)
        for name, tensor in (("lora_a", lora_a), ("lora_b", lora_b)):
            yield f"layers.{layer}.{name}", converted(f"{BRANCHED}.{name}", tensor, self.precision)

    def _converted(self, name: str, factor: Float32 | None = None) -> Array:
        return converted(name, self.checkpoint.read(name), self.precision, factor)
