# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network in the form that ONNX Runtime computes fastest on a CPU: fewer nodes, each with more to do.

It computes what :class:`DecoderGraph` does. What differs:

- q, k and v are one matrix product, and so are gate and up (``products``);
- the sum of a residual and what is added to it is computed together with the norm that reads it;
- where every row has one new token, one operator takes q, k and v as the product gives them, rotates them, writes the
  caches and attends, without transposes and reading no more slots than are in use. Its window is causal, so it cannot
  serve rows of several new tokens that see each other; a branch decides. For one token nothing else of the layout is
  computed, mask included;
- the draft adapter is computed only where a row drafts.

Shapes: B batch, S width, C capacity, H hidden, D head_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nld_trt.graph.network.decoder import DecoderGraph, StepInputs
from nld_trt.graph.network.layout import Layout, record_layout
from nld_trt.graph.network.prescale import BRANCHED, Prescales
from nld_trt.graph.network.products import GATE_UP, QKV, JoinedLinear
from nld_trt.graph.step.greedy_token import is_one_token
from nld_trt.graph.tape import ORT_DOMAIN, Value, minimum
from nld_trt.model.inventory import FINAL_NORM, K_NORM, Q_NORM


@dataclass(frozen=True)
class HostInputs(StepInputs):
    """Further values that every layer uses.

    Attributes:
        one_token: [1] bool, every row has one new token.
        last_slot: [B] int32, the cache slot of each row's new token, where it has one.
        most_slots: scalar int32, the cache slots in use after this forward in the longest row.
        drafts: scalar bool, some row drafts with the adapter; None without an adapter.
    """

    one_token: Value
    last_slot: Value
    most_slots: Value
    drafts: Value | None


class HostDecoderGraph(DecoderGraph):
    """Records one checkpoint's network for ONNX Runtime's CPU kernels."""

    def _step_inputs(self) -> HostInputs:
        inputs, tape = self.inputs, self.tape
        one_token, last_slot = is_one_token(inputs["tokens"]), inputs["cache_length"]

        def short() -> list[Value]:
            write_at = last_slot.cast(np.int64)
            nothing = tape.constant(np.zeros((1, 1, 1, 1)), np.bool_)
            return [write_at.column(), write_at, nothing, ~inputs["causal"].column()]

        def full() -> list[Value]:
            found = record_layout(inputs, quadratic=self.quadratic, prompt_block=self.prompt_block)
            # Padding may run past the table; its result is never used.
            inside = minimum(found.positions, self.table_length - 1)
            return [inside, found.write_at, found.mask, found.drafts]

        layout = Layout(*tape.when(one_token, short, full))
        gate = drafts = None
        if self.adapter is not None:
            gate = self.recorder.rounded(inputs["draft_adapter"].column() & layout.drafts).unsqueeze(2)
            drafts = gate.max().cast(np.bool_)
        return HostInputs(
            layout.positions, layout.write_at, layout.mask, self._attended_part(), gate, *self._rotary_tables(),
            one_token=one_token, last_slot=last_slot, most_slots=last_slot.max() + 1, drafts=drafts,
        )  # fmt: skip

    def _layers(self, x: Value, step: StepInputs) -> Value:
        assert isinstance(step, HostInputs)
        count = self.config.num_hidden_layers
        every = [Prescales.of_layer(self.checkpoint, layer) for layer in range(count)]
        norms = [f"encoder.layers.{layer}.input_layernorm" for layer in range(count)]
        normed = self._norm(x, f"{norms[0]}.weight", factor=every[0].factors.get("input_layernorm"))
        for layer, scales in enumerate(every):
            self.tape.scope(f"layer_{layer}/")
            self.layer_inputs[layer] = x
            after = "post_attention_layernorm"
            attended = self._attended(layer, normed, step, scales)
            gamma = self._gamma(f"encoder.layers.{layer}.{after}.weight", scales.factors.get(after))
            normed, x = self._added_projection(layer, x, attended, step, scales, gamma)
            added = self._mlp(layer, normed, scales)
            if layer + 1 < count:
                gamma = self._gamma(f"{norms[layer + 1]}.weight", every[layer + 1].factors.get("input_layernorm"))
                normed, x = self._added_norm(x, added, gamma)
        self.tape.scope("")
        return self._added_norm(x, added, self._gamma(FINAL_NORM, None), name="final_hidden")[0]

    def _attended(self, layer: int, x: Value, step: HostInputs, scales: Prescales) -> Value:
        """Attention of all heads [B, S, heads · D], before the output projection. Writes the layer's caches."""
        tape, config = self.tape, self.config
        heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        counts = [heads, kv_heads, kv_heads]
        joined, parts = self._products(QKV, layer, x, scales, [count * size for count in counts])
        past = [self.inputs[f"past_{part}_{layer}"] for part in ("key", "value")]
        # The operator rotates queries and keys by one table, and norms none. Long contexts have a table for each.
        apart = config.family.q_k_norm or step.query_cos.name != step.key_cos.name
        packed = None if apart else joined

        def one_token() -> list[Value]:
            new = [packed, tape.absent, tape.absent] if packed is not None else one_by_one()
            tables = [] if packed is None else [step.key_cos, step.key_sin]
            return tape.ops(
                "GroupQueryAttention", *new, *past, step.last_slot, step.most_slots, *tables, dtypes=[x.dtype] * 3,
                domain=ORT_DOMAIN, num_heads=heads, kv_num_heads=kv_heads, scale=size**-0.5,
                do_rotary=int(bool(tables)),
            )  # fmt: skip

        def one_by_one() -> list[Value]:
            query, key, value = parts()
            return self._rotated(
                [self._normed(layer, Q_NORM, query), self._normed(layer, K_NORM, key), value], step, counts
            )

        def several_tokens() -> list[Value]:
            if joined is None:
                split = [self._heads(each, count) for each, count in zip(parts(), counts, strict=True)]
            else:
                # Heads are split after their transposition, where each of the three is in one piece.
                every = self._heads(joined, sum(counts))
                sizes = tape.constant(counts, np.int64)
                split = tape.ops("Split", every, sizes, dtypes=[x.dtype] * len(counts), axis=1)
            query, key, value = split
            query, key, value = self._rotated(
                [self._normed(layer, Q_NORM, query, split=True), self._normed(layer, K_NORM, key, split=True), value],
                step,
            )
            keys, values = (
                tape.op("TensorScatter", old, new, step.write_at, axis=2)
                for old, new in zip(past, (key, value), strict=True)
            )
            attended = tape.op("Attention", query, keys, values, step.mask, is_causal=0, scale=size**-0.5)
            return [attended.transpose(0, 2, 1, 3).reshape([0, 0, -1]), keys, values]

        present = [f"present_{part}_{layer}" for part in ("key", "value")]
        return tape.when(step.one_token, one_token, several_tokens, names=[f"attended_{layer}", *present])[0]

    def _rotated(self, parts: list[Value], step: StepInputs, counts: list[int] | None = None) -> list[Value]:
        """Queries, keys and values, the first two rotated to their positions.

        Args:
            parts: [B, heads, S, D], or [B, S, heads · D] where there are ``counts``, the heads of each.
        """
        query, key, value = parts
        tables = [(step.query_cos, step.query_sin), (step.key_cos, step.key_sin)]
        heads: list[dict[str, Any]] = [{}, {}] if counts is None else [{"num_heads": count} for count in counts[:2]]
        query, key = (
            self.tape.op("RotaryEmbedding", each, cos, sin, step.positions, interleaved=0, **count)
            for each, (cos, sin), count in zip((query, key), tables, heads, strict=True)
        )
        return [query, key, value]

    def _normed(self, layer: int, part: str, x: Value, *, split: bool = False) -> Value:
        """x [B, S, heads · D], or ``split`` into [B, heads, S, D], with every head normed where the family has it."""
        weight = self._head_norm(layer, part)
        if weight is None:
            return x
        if split:
            return self._norm(x, weight)
        return self._norm(x.reshape([0, 0, -1, self.config.head_dim]), weight).reshape([0, 0, -1])

    def _added_projection(
        self, layer: int, x: Value, attended: Value, step: HostInputs, scales: Prescales, gamma: Value
    ) -> tuple[Value, Value]:
        """The norm of x with the output projection added, and the sum itself."""
        projected = self._layer_linear(BRANCHED, layer, attended, scales)
        gate, drafts = step.gate, step.drafts
        if gate is None or drafts is None:
            return self._added_norm(x, projected, gamma)

        def drafted() -> list[Value]:
            branch = self._draft_branch(layer, attended, gate, scales.branch)
            return list(self._added_norm(x, projected + branch, gamma))

        normed, total = self.tape.when(drafts, drafted, lambda: list(self._added_norm(x, projected, gamma)))
        return normed, total

    def _mlp(self, layer: int, x: Value, scales: Prescales) -> Value:
        width = self.config.intermediate_size
        gate, up = self._products(GATE_UP, layer, x, scales, [width, width])[1]()
        # ONNX Runtime computes Sigmoid and the product after it as one node.
        return self._layer_linear("mlp.down_proj", layer, gate * self.tape.op("Sigmoid", gate) * up, scales)

    def _products(
        self, group: JoinedLinear, layer: int, x: Value, scales: Prescales, widths: list[int]
    ) -> tuple[Value | None, Callable[[], list[Value]]]:
        """The outputs of the layers of ``group``: joined where they can be, and a call that gives them one by one."""
        if not group.is_possible(self.checkpoint, layer, scales):
            apart = [self._layer_linear(part, layer, x, scales) for part in group.parts]
            return None, lambda: apart
        joined = group.record(self.recorder, self.checkpoint, layer, x, scales)
        modules = group.modules(f"encoder.layers.{layer}.")
        joined = self._biased(joined, modules, [scales.factors.get(part) for part in group.parts])
        sizes = self.tape.constant(widths, np.int64)
        dtypes = [x.dtype] * len(widths)
        return joined, lambda: self.tape.ops("Split", joined, sizes, dtypes=dtypes, axis=-1)

    def _layer_linear(self, part: str, layer: int, x: Value, scales: Prescales) -> Value:
        module = f"encoder.layers.{layer}.{part}"
        factor = scales.factors.get(part)
        return self._biased(self._linear(x, module, scales.explicit.get(part), factor), [module], [factor])

    def _gamma(self, weight: str, factor: Any) -> Value:
        return self.recorder.store(weight, self.checkpoint.read(weight), self.precision, factor=factor)

    def _added_norm(self, x: Value, added: Value, gamma: Value, *, name: str | None = None) -> tuple[Value, Value]:
        """RMSNorm of x + added, and the sum."""
        normed, _, _, total = self.tape.ops(
            "SkipSimplifiedLayerNormalization", x, added, gamma, dtypes=[x.dtype] * 4,
            names=[name or self.tape.fresh("normed"), "", "", self.tape.fresh("sum")], domain=ORT_DOMAIN,
            epsilon=self.config.rms_norm_eps,
        )  # fmt: skip
        return normed, total
