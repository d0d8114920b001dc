# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network as an ONNX graph, recorded straight from the checkpoint's tensors: no tracing, no torch.

Positions, rotary look-up, query scale and attention mask come from each row's integers inside the
graph, so that one network serves prefill, token, draft and verify passes, alone or mixed in a batch.

Shapes: B batch, S width, W window, C capacity, H hidden, D head_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from nld_trt.graph import operators
from nld_trt.graph.linear import Dialect, QuantizedLinear, Recorder, float_linear, quantized_linear
from nld_trt.graph.precision import Precision
from nld_trt.graph.prescale import BRANCHED, Prescales, read_prescale
from nld_trt.graph.tape import DOMAIN, Tape
from nld_trt.graph.weights import WeightFile
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import EMBEDDING, FINAL_NORM, HEAD
from nld_trt.model.quantized import PRE_QUANT_SCALE, Float32
from nld_trt.model.safetensors_file import Array

_HEAD = HEAD.removesuffix(".weight")


@dataclass(frozen=True)
class StepInputs:
    """Names of values every layer uses, computed once per forward from the rows' integers."""

    positions: str  # [B, S] int64
    write_at: str  # [B] int64
    mask: str  # [B, 1, S, C] bool
    gate: str | None  # [B, 1, 1] activation
    query_cos: str
    query_sin: str
    key_cos: str
    key_sin: str


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
        dialect: Dialect,
    ) -> None:
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.precision = precision
        self.weights = weights
        self.table_length = table_length
        self.adapter = checkpoint.adapter if adapter else None
        self.tape = Tape()
        self.recorder = Recorder(self.tape, weights, precision, dialect)

    def record(self) -> None:
        """Record everything from the token ids to the decode operators' outputs."""
        step = self._step_inputs()
        embedding = self._store(EMBEDDING, self.checkpoint.read(EMBEDDING))
        x = self.tape.op("Gather", embedding, "tokens", axis=0)
        for layer in range(self.config.num_hidden_layers):
            self.tape.scope(f"layer_{layer}/")
            x = self._layer(layer, x, step)
        self.tape.scope("")
        hidden = self._norm(x, FINAL_NORM, name="final_hidden")
        self._decode(hidden)

    def _step_inputs(self) -> StepInputs:
        tape = self.tape
        width = tape.op("Squeeze", tape.op("Shape", "tokens", start=1, end=2), tape.constant([0], np.int64))
        offsets = tape.op("Range", tape.constant(0, np.int64), width, tape.constant(1, np.int64))
        write_at = tape.op("Cast", "cache_length", to=TensorProto.INT64)
        start = tape.op("Unsqueeze", write_at, tape.constant([1], np.int64))
        positions = tape.op("Add", start, offsets)

        # A query sees keys below its bound: its own position + 1, or the end of the row's new tokens.
        valid = tape.op("Cast", "valid_count", to=TensorProto.INT64)
        row_end = tape.op("Add", start, tape.op("Unsqueeze", valid, tape.constant([1], np.int64)))
        own_end = tape.op("Add", positions, tape.constant(1, np.int64))
        causal = tape.op("Unsqueeze", "causal", tape.constant([1], np.int64))
        bound = tape.op("Where", causal, own_end, row_end)
        capacity = tape.op("Squeeze", tape.op("Shape", "past_key_0", start=2, end=3), tape.constant([0], np.int64))
        slots = tape.op("Range", tape.constant(0, np.int64), capacity, tape.constant(1, np.int64))
        # Not(GreaterOrEqual) and not Less: TensorRT-RTX 1.7 cannot share a Less mask among many Attention nodes.
        beyond = tape.op("GreaterOrEqual", slots, tape.op("Unsqueeze", bound, tape.constant([1, 3], np.int64)))
        mask = tape.op("Not", beyond)

        gate = None
        if self.adapter is not None:
            flag = tape.op("Cast", "draft_adapter", to=self.precision.onnx_type)
            gate = tape.op("Unsqueeze", flag, tape.constant([1, 2], np.int64))
        # Padding may run past the table; its result is never used.
        inside = tape.op("Min", positions, tape.constant(self.table_length - 1, np.int64))
        return StepInputs(inside, write_at, mask, gate, *self._rotary_tables())

    def _rotary_tables(self) -> tuple[str, str, str, str]:
        """Weights: cos and sin for queries, then for keys, each [table_length, D / 2].

        The query scale of long contexts multiplies rotated queries by a factor of their position, which
        is the same as rotating by a table scaled by it: it costs nothing per layer and cannot be
        forgotten in one phase.
        """
        rope = self.config.rope
        cos, sin = rotary.cos_sin_table(rope, self.config.head_dim, self.table_length)
        scale = rotary.query_scale(rope, np.arange(self.table_length))[:, None]
        key = self._store("rotary/key_cos", cos), self._store("rotary/key_sin", sin)
        if np.all(scale == 1.0):
            return *key, *key
        return self._store("rotary/query_cos", cos * scale), self._store("rotary/query_sin", sin * scale), *key

    def _layer(self, layer: int, x: str, step: StepInputs) -> str:
        prefix = f"encoder.layers.{layer}"
        scales = Prescales.of_layer(self.checkpoint, layer)

        def norm(part: str, x: str) -> str:
            return self._norm(x, f"{prefix}.{part}.weight", factor=scales.factors.get(part))

        def linear(part: str, x: str) -> str:
            return self._linear(x, f"{prefix}.{part}", scales.explicit.get(part), scales.factors.get(part))

        x = self.tape.op("Add", x, self._attention(layer, norm("input_layernorm", x), step, linear, scales.branch))
        normed = norm("post_attention_layernorm", x)
        gate = linear("mlp.gate_proj", normed)
        up = linear("mlp.up_proj", normed)
        activated = self.tape.op("Mul", self.tape.op("Mul", gate, self.tape.op("Sigmoid", gate)), up)
        return self.tape.op("Add", x, linear("mlp.down_proj", activated))

    def _attention(
        self, layer: int, x: str, step: StepInputs, linear: Callable[[str, str], str], branch_scale: Float32 | None
    ) -> str:
        tape = self.tape
        heads, kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        query = self._heads(linear("self_attn.q_proj", x), heads)
        key = self._heads(linear("self_attn.k_proj", x), kv_heads)
        value = self._heads(linear("self_attn.v_proj", x), kv_heads)
        query = tape.op("RotaryEmbedding", query, step.query_cos, step.query_sin, step.positions, interleaved=0)
        key = tape.op("RotaryEmbedding", key, step.key_cos, step.key_sin, step.positions, interleaved=0)
        keys = tape.op(
            "TensorScatter", f"past_key_{layer}", key, step.write_at, name=f"present_key_{layer}", axis=2, mode="linear"
        )
        values = tape.op(
            "TensorScatter",
            f"past_value_{layer}",
            value,
            step.write_at,
            name=f"present_value_{layer}",
            axis=2,
            mode="linear",
        )
        attended = tape.op("Attention", query, keys, values, step.mask, is_causal=0, scale=self.config.head_dim**-0.5)
        merged = tape.op(
            "Reshape", tape.op("Transpose", attended, perm=[0, 2, 1, 3]), tape.constant([0, 0, -1], np.int64)
        )
        projected = linear(BRANCHED, merged)
        if self.adapter is None or step.gate is None:
            return projected
        return tape.op("Add", projected, self._draft_branch(layer, merged, step.gate, branch_scale))

    def _draft_branch(self, layer: int, x: str, gate: str, x_scale: Float32 | None) -> str:
        """scale · B · A · x for rows whose gate is 1, and 0 for the others (model-spec 2.2).

        Args:
            x_scale: [Q] was multiplied into x for the projection; the branch means x without it.
        """
        assert self.adapter is not None
        lora_a, lora_b = self.checkpoint.read_adapter(layer)
        if x_scale is not None:
            lora_a = lora_a / x_scale
        down = self._store(f"lora_A.{layer}", lora_a.T)
        up = self._store(f"lora_B.{layer}", (lora_b * np.float32(self.adapter.scale)).T)
        narrow = self.tape.op("Mul", self.tape.op("MatMul", x, down), gate)
        return self.tape.op("MatMul", narrow, up)

    def _decode(self, hidden: str) -> None:
        """Logits of the wanted rows only, and both decode operators on them."""
        tape = self.tape
        zero = tape.constant(0, np.int32)
        rows = tape.op("Max", "logit_rows", zero)
        index = tape.op("Unsqueeze", tape.op("Cast", rows, to=TensorProto.INT64), tape.constant([2], np.int64))
        window = tape.op("GatherND", hidden, index, batch_dims=1)
        block = tape.op("GatherElements", "tokens", rows, axis=1)
        wanted = tape.op("Cast", tape.op("GreaterOrEqual", "logit_rows", zero), to=TensorProto.INT32)
        valid = tape.op("ReduceSum", wanted, tape.constant([-1], np.int64), keepdims=0)
        logits = self._linear(window, _HEAD, read_prescale(self.checkpoint, _HEAD))
        tape.op("Cast", logits, to=TensorProto.FLOAT, name="logits")
        shared = {"logits": logits, "block": block, "valid": valid}
        # A bidirectional pass predicts the position of each token itself, a causal one the next. One operator reads
        # the rows of the one, the other those of the other; to both, foreign rows are greedy and cost no noise.
        start = tape.op("Unsqueeze", "cache_length", tape.constant([1], np.int64))
        own = tape.op("Add", start, rows)
        off = tape.constant(0.0, np.float32)
        bidirectional = {"position": own, "temperature": tape.op("Where", "causal", off, "temperature")}
        causal = {
            "position": tape.op("Add", own, tape.constant(1, np.int32)),
            "temperature": tape.op("Where", "causal", "temperature", off),
        }
        for name, inputs, outputs, sources in (
            ("BlockDenoise", operators.DENOISE_INPUTS, operators.DENOISE_OUTPUTS, shared | bidirectional),
            ("SpecVerify", operators.VERIFY_INPUTS, operators.VERIFY_OUTPUTS, shared | causal),
        ):
            values = [sources.get(value, value) for value in inputs]
            tape.ops(name, *values, outputs=len(outputs), names=outputs, domain=DOMAIN)

    def _heads(self, x: str, count: int) -> str:
        """[B, S, count · D] to [B, count, S, D]."""
        split = self.tape.op("Reshape", x, self.tape.constant([0, 0, count, self.config.head_dim], np.int64))
        return self.tape.op("Transpose", split, perm=[0, 2, 1, 3])

    def _norm(self, x: str, weight: str, *, factor: Float32 | None = None, name: str | None = None) -> str:
        """``factor`` [H] multiplies the output."""
        stored = self.weights.add(weight, self.checkpoint.read(weight), self.precision, factor=factor)
        return self.tape.op(
            "RMSNormalization", x, stored, name=name, axis=-1, epsilon=self.config.rms_norm_eps, stash_type=1
        )

    def _linear(self, x: str, module: str, scale: Float32 | None = None, factor: Float32 | None = None) -> str:
        """``scale`` [I] multiplies the input, ``factor`` [O] the output."""
        if scale is not None:
            x = self.tape.op("Mul", x, self._store(f"{module}.{PRE_QUANT_SCALE}", scale))
        if module not in self.checkpoint.formats:
            return float_linear(self.recorder, module, self.checkpoint.read(f"{module}.weight"), x, factor)
        layer = QuantizedLinear(module, self.checkpoint.read_quantized(module), factor)
        return quantized_linear(self.recorder, layer, x)

    def _store(self, name: str, tensor: Array) -> str:
        return self.weights.add(name, tensor, self.precision)
