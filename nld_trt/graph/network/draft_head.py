# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An Eagle3 head in the graph of its target: a forward that verifies a draft makes the next one, too.

After the decode operators have decided how many of the new tokens are accepted, the head reads them with the states
that the target had at three of its layers, and writes its own caches, which are those of one layer more. Then it goes
on from its own state and its own tokens, one at a time: a chain of drafts, whose keys and values it keeps beside the
caches, since the next forward computes them again from what the target says. docs/model.md, Eagle3 head.

Shapes: B batch, S width, W window, L attended slots, H hidden, D head_dim, N drafts, V tokens of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nld_trt import names
from nld_trt.graph.contract import DRAFTED, MAX_DRAFTS
from nld_trt.graph.network.attention import AttendedPart
from nld_trt.graph.network.linear import Recorder
from nld_trt.graph.step.slots import only_if
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.graph.tape import Value, maximum, minimum, where
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.draft_head import LAYER, DraftHead
from nld_trt.model.safetensors_file import Array

_END: Final = np.iinfo(np.int64).max
_PREFIX: Final = "draft_head/"


@dataclass(frozen=True)
class _Seen:
    """The keys and values that the chain attends to.

    Attributes:
        keys, values: [B, KV, L + drafts until now, D].
        mask: [B, 1, 1, L + drafts until now] bool.
    """

    keys: Value
    values: Value
    mask: Value

    def with_token(self, key: Value, value: Value) -> _Seen:
        """With one token more, which the chain sees from now on."""
        tape = key.tape
        seen = self.mask.slice(0, 1, axis=3) | True
        keys, values, mask = (
            tape.op("Concat", old, new, axis=axis)
            for old, new, axis in ((self.keys, key, 2), (self.values, value, 2), (self.mask, seen, 3))
        )
        return _Seen(keys, values, mask)


class DraftHeadGraph:
    """Records the head on its target's tape."""

    # The target's next passes are completed here, and get their names of the step contract.
    renamed: Final[Mapping[str, str]] = {"next_tokens": f"{_PREFIX}next_tokens"}

    def __init__(
        self,
        checkpoint: Checkpoint,
        head: DraftHead,
        recorder: Recorder,
        inputs: Mapping[str, Value],
        embedding: Value,
        attended: AttendedPart | None,
        *,
        positions: Value,
        write_at: Value,
        table_length: int,
        drafts: int,
    ) -> None:
        """
        Args:
            inputs: those of the step contract.
            embedding: the target's, [V, H].
            attended: the part of the caches that attention reads; None where it reads them whole.
            positions: [B, S] int64 of the new tokens, never beyond the rotary tables.
            write_at: [B] int64, the first cache slot of the new tokens.
            drafts: how many tokens the head drafts.
        """
        self.target = checkpoint.config
        self.head, self.config = head, head.config
        self.recorder, self.tape = recorder, recorder.tape
        self.inputs = inputs
        self.embedding = embedding
        self.attended = attended
        self.positions = positions
        self.write_at = write_at
        self.table_length = table_length
        self.drafts = drafts
        self._cos, self._sin = self._rotary_tables()

    @property
    def layers(self) -> tuple[int, ...]:
        """The target's layers whose inputs the head reads."""
        return self.config.layers

    def record(self, states: Sequence[Value], results: Mapping[str, Value]) -> None:
        """Record the head and the outputs ``draft_tokens`` and ``next_tokens``.

        Args:
            states: [B, S, H] of the layers that the head reads.
            results: of the decode operators.
        """
        self.tape.scope(_PREFIX)
        last = self._last_accepted(results["accepted_count"])
        bonus = maximum(results["bonus_token"], 0)
        hidden, seen = self._read(states, self._followers(last, bonus), last)
        wants = self.inputs["next_token"].equals(DRAFTED)

        def nothing() -> list[Value]:
            return [
                self.tape.op("Expand", self.tape.constant([0], dtype), self._shape(wants, self.drafts, *last))
                for dtype, *last in ((np.int32,), (np.float32, self.config.vocab_size))
            ]

        drafts, logits = only_if(
            self.recorder.dialect, wants, lambda: self._chain(hidden, seen, self.write_at + last), nothing
        )
        self.tape.scope("")
        rest = MAX_DRAFTS - self.drafts
        drafts.pad(0, rest, 0, axis=1).cast(np.int32, name="draft_tokens")
        logits.pad(0, rest, 0, axis=1).cast(np.float32, name="draft_logits")
        self._complete(results, bonus, drafts)

    def _shape(self, rows: Value, *rest: int) -> Value:
        """[axes] int64: B, the length of ``rows``, and the others."""
        return self.tape.op("Concat", rows.shape(0, 1), self.tape.constant(rest, np.int64), axis=0)

    def _rotary_tables(self) -> tuple[Value, Value]:
        tables = rotary.cos_sin_table(self.target.draft_rope, self.target.head_dim, self.table_length)
        cos, sin = (self.recorder.store(f"{_PREFIX}{name}", each, self.recorder.precision)
                    for name, each in zip(("cos", "sin"), tables, strict=True))  # fmt: skip
        return cos, sin

    def _last_accepted(self, accepted_count: Value) -> Value:
        """[B] int64: which of the new tokens is the last that stays in the cache."""
        slot = maximum(accepted_count - 1, 0).column()
        token = self.inputs["logit_rows"].take_along(slot.cast(np.int64), axis=1)
        return maximum(token, 0).squeeze(1).cast(np.int64)

    def _followers(self, last: Value, bonus: Value) -> Value:
        """[B, S] int32: the token after each of the new ones. After the last of them that is the bonus token, or the
        next one of the prompt."""
        stated = self.inputs["next_token"]
        after = where(stated >= 0, stated, bonus)
        tokens = self.inputs["tokens"]
        shifted = tokens.slice(1, _END, axis=1).pad(0, 1, 0, axis=1)
        order = self.tape.arange(tokens.size(1))
        return where(order.equals(last.column()), after.column(), shifted)

    def _read(self, states: Sequence[Value], followers: Value, last: Value) -> tuple[Value, _Seen]:
        """Read the new tokens and write the caches. Returns the state after the last accepted one [B, 1, H], and what
        the tokens after it see."""
        joined = self.tape.op("Concat", *states, axis=-1)
        features = self._linear("fc", joined)
        slots = self.inputs["attended_slots"].cast(np.int64)
        mask = ~(slots >= (self.positions + 1).unsqueeze(1, 3))

        written: list[Value] = []

        def cached(key: Value, value: Value) -> tuple[Value, Value, Value]:
            for part, new in (("key", key), ("value", value)):
                cache = self._cached(part, new)
                written.append(cache if self.attended is None else self.attended.of(cache))
            return written[0], written[1], mask

        hidden = self._layer(self.embedding.take(followers), features, self.positions, cached)
        state = self.tape.op("GatherND", hidden, last.unsqueeze(1, 2), batch_dims=1)
        first_free = (self.write_at + last + 1).column()
        return state, _Seen(written[0], written[1], ~(slots >= first_free.unsqueeze(1, 3)))

    def _chain(self, state: Value, seen: _Seen, position: Value) -> list[Value]:
        """The drafts after the bonus token [B, N] int32, and the logits of each [B, N, V] float32.

        Args:
            state: [B, 1, H], after the last accepted token, which stands at ``position`` [B].
        """
        logits = [self._logits(state)]
        drafts = [self._most_likely(logits[0])]
        held = [seen]

        def grown(key: Value, value: Value) -> tuple[Value, Value, Value]:
            held.append(held[-1].with_token(key, value))
            return held[-1].keys, held[-1].values, held[-1].mask

        for step in range(1, self.drafts):
            at = minimum(position + step, self.table_length - 1).column()
            state = self._layer(self.embedding.take(drafts[-1]), state, at, grown)
            logits.append(self._logits(state))
            drafts.append(self._most_likely(logits[-1]))
        return [self.tape.op("Concat", *each, axis=1) for each in (drafts, logits)]

    def _layer(
        self,
        token: Value,
        state: Value,
        positions: Value,
        seen: Callable[[Value, Value], tuple[Value, Value, Value]],
    ) -> Value:
        """The state after the layer.

        Args:
            token: [B, S, H], embedded.
            state: [B, S, H], of the token before it.
            seen: gives keys, values and mask for attention from the keys and values of these tokens.
        """
        tape, head_dim = self.tape, self.target.head_dim
        pair = self._norm(f"{LAYER}.input_layernorm", token), self._norm(f"{LAYER}.hidden_norm", state)
        x = tape.op("Concat", *pair, axis=-1)
        counts = (self.config.num_attention_heads, *[self.target.num_key_value_heads] * 2)
        query, key, value = (
            self._linear(f"{LAYER}.self_attn.{part}_proj", x).reshape([0, 0, count, head_dim]).transpose(0, 2, 1, 3)
            for part, count in zip("qkv", counts, strict=True)
        )
        query, key = (
            tape.op("RotaryEmbedding", each, self._cos, self._sin, positions, interleaved=0) for each in (query, key)
        )
        attended = tape.op("Attention", query, *seen(key, value), is_causal=0, scale=head_dim**-0.5)
        merged = attended.transpose(0, 2, 1, 3).reshape([0, 0, -1])
        state = state + self._linear(f"{LAYER}.self_attn.o_proj", merged)
        normed = self._norm(f"{LAYER}.post_attention_layernorm", state)
        gate, up = (self._linear(f"{LAYER}.mlp.{part}_proj", normed) for part in ("gate", "up"))
        return state + self._linear(f"{LAYER}.mlp.down_proj", gate * tape.op("Sigmoid", gate) * up)

    def _cached(self, part: str, new: Value) -> Value:
        """The head's key or value cache with those of the new tokens in their slots."""
        name = f"{part}_{self.target.num_hidden_layers}"
        past = self.inputs[f"past_{name}"]
        return self.tape.op("TensorScatter", past, new, self.write_at, name=f"present_{name}", axis=2)

    def _logits(self, state: Value) -> Value:
        """[B, 1, V] float32, of the head's vocabulary, after ``state`` [B, 1, H]."""
        return self._linear("lm_head", self._norm("norm", state)).cast(np.float32)

    def _most_likely(self, logits: Value) -> Value:
        """[B, 1] int32: the target's id of the head's most likely token."""
        return self.tape.constant(self.head.target_ids(), np.int32).take(logits.argmax())

    def _complete(self, results: Mapping[str, Value], bonus: Value, drafts: Value) -> None:
        """The rows' next tokens: those of the decode operators, or the bonus token and its drafts."""
        tape = self.tape
        block = tape.op("Concat", bonus.column(), drafts, axis=1)
        width = self.inputs["logit_rows"].size(1)
        slots = minimum(tape.arange(width), self.drafts).unsqueeze(0)
        rows = tape.op("Concat", bonus.shape(0, 1), width.unsqueeze(0), axis=0)
        opened = block.take_along(tape.op("Expand", slots, rows), axis=1)
        # A row that repeats its pass keeps its tokens.
        goes_on = results["next_cache_length"] > self.inputs["cache_length"]
        speculates = self.inputs["program"].equals(PROGRAMS.index(names.QUADRATIC)) & goes_on
        tape.op("Where", speculates.column(), opened, results["next_tokens"], dtype=np.int32, name="next_tokens")

    def _linear(self, module: str, x: Value) -> Value:
        """The head stays in the engine's precision, whatever its target is quantized to."""
        name = f"{module}.weight"
        return self.tape.op("MatMul", x, self._weight(name, lambda: self.head.read(name).T))

    def _norm(self, module: str, x: Value) -> Value:
        stored = self._weight(f"{module}.weight", lambda: self.head.read(f"{module}.weight"))
        return self.tape.op("RMSNormalization", x, stored, axis=-1, epsilon=self.config.rms_norm_eps, stash_type=1)

    def _weight(self, name: str, read: Callable[[], Array]) -> Value:
        """A weight, which is read and stored once, however often the chain uses it."""
        stored = f"{_PREFIX}{name}"
        return self.recorder.once((stored,), lambda: self.recorder.store(stored, read(), self.recorder.precision))
