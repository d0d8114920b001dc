# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network as an ONNX graph, recorded straight from the checkpoint's tensors: no tracing, no torch.

The graph computes positions, rotary look-up, query scale and attention mask from each row's integers, so that one
network serves prefill, token, draft and verify passes, alone or mixed in a batch (docs/model.md, Passes).

Shapes: B batch, S width, W window, C capacity, L attended slots, H hidden, D head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nld_trt.graph import contract
from nld_trt.graph.network.attention import AttendedPart
from nld_trt.graph.network.draft_head import DraftHeadGraph
from nld_trt.graph.network.head import rounded_head
from nld_trt.graph.network.layout import record_layout
from nld_trt.graph.network.linear import QuantizedLinear, Recorder, float_linear, quantized_linear
from nld_trt.graph.network.prescale import BRANCHED, Prescales, read_prescale
from nld_trt.graph.precision import Precision
from nld_trt.graph.step.decode_step import DecodeStep, OperatorForm
from nld_trt.graph.tape import Dialect, Tape, Value, minimum
from nld_trt.graph.weights import WeightFile
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import BIAS, EMBEDDING, FINAL_NORM, HEAD_MODULE, K_NORM, Q_NORM, layer_tensor
from nld_trt.model.quantized.formats import PRE_QUANT_SCALE, Float32, LinearFormat
from nld_trt.model.safetensors_file import Array


@dataclass(frozen=True)
class StepInputs:
    """Values that every layer uses, computed once per forward.

    Attributes:
        positions: [B, S] int64, never beyond the rotary tables.
        write_at: [B] int64, the first cache slot of the new tokens.
        mask: [B, 1, S, L] bool, what each new token sees.
        attended: the part of the caches that attention reads; None where it reads them whole.
        gate: [B, S, 1] or [B, 1, 1] in the activation precision, 1 where the draft adapter is used; None without one.
        query_cos, query_sin, key_cos, key_sin: rotary tables, [table length, D / 2].
    """

    positions: Value
    write_at: Value
    mask: Value
    attended: AttendedPart | None
    gate: Value | None
    query_cos: Value
    query_sin: Value
    key_cos: Value
    key_sin: Value


class DecoderGraph:
    """Records one checkpoint's network on a tape and its weights in a file."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: Precision,
        weights: WeightFile,
        *,
        table_length: int,
        adapter: bool,
        quadratic: bool,
        prompt_block: int,
        dialect: Dialect,
        operators: OperatorForm,
        head: LinearFormat | None = None,
        drafts: int = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.precision = precision
        self.weights = weights
        self.table_length = table_length
        self.adapter = checkpoint.adapter if adapter else None
        self.quadratic = quadratic
        self.prompt_block = prompt_block
        self.operators: OperatorForm = operators
        self.head = head
        self.drafts = drafts
        self.layer_inputs: dict[int, Value] = {}
        self.tape = Tape()
        self.recorder = Recorder(self.tape, weights, precision, dialect)
        self.inputs = {
            name: self.tape.named(name, precision.numpy_type if binding.dtype == "activation" else binding.dtype)
            for binding in contract.bindings("input", config=self.config)
            for name in binding.names(self.config)
        }

    def record(self) -> None:
        """Record everything from the token ids to the decode operators' outputs."""
        step = self._step_inputs()
        embedding = self._store(EMBEDDING, self.checkpoint.read(EMBEDDING))
        hidden = self._layers(embedding.take(self.inputs["tokens"]), step)
        drafter = self._drafter(step, embedding)
        head = partial(self._linear, module=HEAD_MODULE, scale=read_prescale(self.checkpoint, HEAD_MODULE))
        tail = DecodeStep(
            self.tape,
            self.inputs,
            step.positions,
            quadratic=self.quadratic,
            mask_token_id=self.config.mask_id,
            vocab_size=self.config.vocab_size,
            form=self.operators,
            dialect=self.recorder.dialect,
            renamed=None if drafter is None else drafter.renamed,
            shifted=self.config.family.shifted,
        )
        results = tail.record(hidden, head)
        if drafter is not None:
            drafter.record([self.layer_inputs[layer] for layer in drafter.layers], results)

    def _drafter(self, step: StepInputs, embedding: Value) -> DraftHeadGraph | None:
        """What records the head that drafts for the network; None without one."""
        if self.checkpoint.draft_head is None:
            return None
        return DraftHeadGraph(
            self.checkpoint, self.checkpoint.draft_head, self.recorder, self.inputs, embedding, step.attended,
            positions=step.positions, write_at=step.write_at, table_length=self.table_length, drafts=self.drafts,
        )  # fmt: skip

    def _layers(self, x: Value, step: StepInputs) -> Value:
        """All decoder layers and the final norm."""
        for layer in range(self.config.num_hidden_layers):
            self.tape.scope(f"layer_{layer}/")
            self.layer_inputs[layer] = x
            x = self._layer(layer, x, step)
        self.tape.scope("")
        return self._norm(x, FINAL_NORM, name="final_hidden")

    def _step_inputs(self) -> StepInputs:
        layout = record_layout(self.inputs, quadratic=self.quadratic, prompt_block=self.prompt_block)
        gate = None
        if self.adapter is not None:
            gate = self.recorder.rounded(self.inputs["draft_adapter"].column() & layout.drafts).unsqueeze(2)
        # Padding may run past the table; its result is never used.
        inside = minimum(layout.positions, self.table_length - 1)
        return StepInputs(inside, layout.write_at, layout.mask, self._attended_part(), gate, *self._rotary_tables())

    def _attended_part(self) -> AttendedPart | None:
        """ONNX Runtime binds caches that are as long as attention needs, so there nothing is cut."""
        if self.recorder.dialect == "onnxruntime":
            return None
        return AttendedPart.record(self.inputs["attended_slots"], self.config.num_key_value_heads, self.config.head_dim)

    def _rotary_tables(self) -> tuple[Value, Value, Value, Value]:
        """Weights: cos and sin for queries, then for keys, each [table_length, D / 2].

        The query scale of long contexts (docs/model.md, Query scale) multiplies rotated queries by a factor of their
        position. Rotating by a table that was multiplied by it gives the same result, costs nothing per layer and
        holds in every pass.
        """
        rope = self.config.rope
        cos, sin = rotary.cos_sin_table(rope, self.config.head_dim, self.table_length)
        scale = rotary.query_scale(rope, np.arange(self.table_length))[:, None]
        key = self._store("rotary/key_cos", cos), self._store("rotary/key_sin", sin)
        if np.all(scale == 1.0):
            return *key, *key
        return self._store("rotary/query_cos", cos * scale), self._store("rotary/query_sin", sin * scale), *key

    def _layer(self, layer: int, x: Value, step: StepInputs) -> Value:
        prefix = f"encoder.layers.{layer}"
        scales = Prescales.of_layer(self.checkpoint, layer)

        def norm(part: str, x: Value) -> Value:
            return self._norm(x, f"{prefix}.{part}.weight", factor=scales.factors.get(part))

        def linear(part: str, x: Value) -> Value:
            module, factor = f"{prefix}.{part}", scales.factors.get(part)
            return self._biased(self._linear(x, module, scales.explicit.get(part), factor), [module], [factor])

        x = x + self._attention(layer, norm("input_layernorm", x), step, linear, scales.branch)
        normed = norm("post_attention_layernorm", x)
        gate = linear("mlp.gate_proj", normed)
        up = linear("mlp.up_proj", normed)
        activated = gate * self.tape.op("Sigmoid", gate) * up
        return x + linear("mlp.down_proj", activated)

    def _attention(
        self,
        layer: int,
        x: Value,
        step: StepInputs,
        linear: Callable[[str, Value], Value],
        branch_scale: Float32 | None,
    ) -> Value:
        tape = self.tape
        heads, kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        query = self._heads(linear("self_attn.q_proj", x), heads, self._head_norm(layer, Q_NORM))
        key = self._heads(linear("self_attn.k_proj", x), kv_heads, self._head_norm(layer, K_NORM))
        value = self._heads(linear("self_attn.v_proj", x), kv_heads)
        query = tape.op("RotaryEmbedding", query, step.query_cos, step.query_sin, step.positions, interleaved=0)
        key = tape.op("RotaryEmbedding", key, step.key_cos, step.key_sin, step.positions, interleaved=0)
        keys = self._cached("key", layer, key, step.write_at)
        values = self._cached("value", layer, value, step.write_at)
        if step.attended is not None:
            keys, values = step.attended.of(keys), step.attended.of(values)
        attended = tape.op("Attention", query, keys, values, step.mask, is_causal=0, scale=self.config.head_dim**-0.5)
        merged = attended.transpose(0, 2, 1, 3).reshape([0, 0, -1])
        projected = linear(BRANCHED, merged)
        if self.adapter is None or step.gate is None:
            return projected
        return projected + self._draft_branch(layer, merged, step.gate, branch_scale)

    def _cached(self, part: str, layer: int, new: Value, write_at: Value) -> Value:
        """The layer's key or value cache with those of the new tokens in their slots."""
        past = self.inputs[f"past_{part}_{layer}"]
        return self.tape.op("TensorScatter", past, new, write_at, name=f"present_{part}_{layer}", axis=2, mode="linear")

    def _draft_branch(self, layer: int, x: Value, gate: Value, x_scale: Float32 | None) -> Value:
        """scale · B · A · x where the gate is 1, and 0 elsewhere (docs/model.md, Draft adapter).

        Args:
            x_scale: [Q] was multiplied into x for the projection; the branch reads x without it.
        """
        assert self.adapter is not None
        lora_a, lora_b = self.checkpoint.read_adapter(layer)
        if x_scale is not None:
            lora_a = lora_a / x_scale
        down = self._store(f"lora_A.{layer}", lora_a.T)
        up = self._store(f"lora_B.{layer}", (lora_b * np.float32(self.adapter.scale)).T)
        narrow = self.tape.op("MatMul", x, down) * gate
        return self.tape.op("MatMul", narrow, up)

    def _heads(self, x: Value, count: int, norm: str | None = None) -> Value:
        """[B, S, count · D] to [B, count, S, D]. ``norm`` is the weight by which every head is normed."""
        heads = x.reshape([0, 0, count, self.config.head_dim])
        return (heads if norm is None else self._norm(heads, norm)).transpose(0, 2, 1, 3)

    def _head_norm(self, layer: int, part: str) -> str | None:
        """The weight of the norm of queries or keys; None for families without."""
        return layer_tensor(layer, part) if self.config.family.q_k_norm else None

    def _biased(self, x: Value, modules: Sequence[str], factors: Sequence[Float32 | None]) -> Value:
        """x with the biases of ``modules``, one after another along its last axis; x where they have none.

        Args:
            factors: [O] of each, which multiply the outputs of its product, and so its bias.
        """
        biases = [self.checkpoint.read_bias(module) for module in modules]
        found = [bias for bias in biases if bias is not None]
        if not found:
            return x
        assert len(found) == len(modules), f"some of {', '.join(modules)} have no bias"
        scaled = [
            bias.astype(np.float32) if factor is None else bias.astype(np.float32) * factor
            for bias, factor in zip(found, factors, strict=True)
        ]
        return x + self._store(f"{modules[0]}{BIAS}", np.concatenate(scaled))

    def _norm(self, x: Value, weight: str, *, factor: Float32 | None = None, name: str | None = None) -> Value:
        """RMSNorm of x; ``factor`` [H] multiplies the output."""
        stored = self.recorder.store(weight, self.checkpoint.read(weight), self.precision, factor=factor)
        return self.tape.op(
            "RMSNormalization", x, stored, name=name, axis=-1, epsilon=self.config.rms_norm_eps, stash_type=1
        )

    def _linear(self, x: Value, module: str, scale: Float32 | None = None, factor: Float32 | None = None) -> Value:
        """The linear layer ``module``; ``scale`` [I] multiplies the input, ``factor`` [O] the output."""
        if scale is not None:
            x = x * self._store(f"{module}.{PRE_QUANT_SCALE}", scale)
        if module == HEAD_MODULE and self.head is not None:
            return quantized_linear(self.recorder, QuantizedLinear(module, rounded_head(self.checkpoint, self.head)), x)
        if module not in self.checkpoint.formats:
            return float_linear(self.recorder, module, self.checkpoint.read(f"{module}.weight"), x, factor)
        layer = QuantizedLinear(module, self.checkpoint.read_quantized(module), factor)
        return quantized_linear(self.recorder, layer, x)

    def _store(self, name: str, tensor: Array) -> Value:
        return self.recorder.store(name, tensor, self.precision)
