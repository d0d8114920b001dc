# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An Eagle3 head as PyTorch's operators, after the decode operators of its target's forward.

It computes what ``graph.network.draft_head`` records. docs/model.md, Eagle3 head, describes it.

Shapes: B rows, S new tokens, W window tokens, L attended slots, H hidden, D head_dim, N drafts, V tokens of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt import names
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LayerCaches
from nld_trt.engine.torch.eager import rotate
from nld_trt.engine.torch.types import ACTIVATIONS
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.engine.torch.writer import DRAFT_PREFIX, EMBEDDING_NAME
from nld_trt.graph.contract import DRAFTED, MAX_DRAFTS
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.model import rotary
from nld_trt.model.draft_head import LAYER, TO_TARGET

# Outputs that the decode operators do not have.
DRAFT_OUTPUTS = ("draft_tokens", "draft_logits")


@dataclass(frozen=True)
class _Seen:
    """Keys and values [B, KV, L, D] that tokens attend to, and which of them each token sees, [B, 1, S, L] bool."""

    keys: Tensor
    values: Tensor
    mask: Tensor

    def with_token(self, key: Tensor, value: Tensor) -> _Seen:
        """With one token more, which all later ones see."""
        seen = torch.ones_like(self.mask[..., :1])
        pairs = ((self.keys, key, 2), (self.values, value, 2), (self.mask, seen, 3))
        return _Seen(*(torch.cat([old, new], axis) for old, new, axis in pairs))


class DraftHeadStep:
    """Drafts after every forward of the target, for all of its rows."""

    def __init__(self, weights: EngineWeights, info: EngineInfo, device: torch.device) -> None:
        assert info.config.draft is not None
        self._target, self._config = info.config, info.config.draft
        self._drafts = info.limits.max_block_length - 1
        self._last_position = info.limits.capacity - 1
        self._embedding = weights.tensors[EMBEDDING_NAME]
        self._weights = {
            name.removeprefix(DRAFT_PREFIX).removesuffix(".weight"): tensor
            for name, tensor in weights.tensors.items()
            if name.startswith(DRAFT_PREFIX)
        }
        tables = rotary.cos_sin_table(info.config.draft_rope, info.config.head_dim, info.limits.capacity)
        dtype = ACTIVATIONS[info.precision]
        self._cos, self._sin = (torch.from_numpy(table).to(device, dtype) for table in tables)

    def states(self) -> dict[int, Tensor]:
        """A place for the input of each layer of the target that the head reads, in the order in which it does."""
        return dict.fromkeys(self._config.layers, self._embedding)

    def run(
        self,
        inputs: Mapping[str, Tensor],
        made: Mapping[str, Tensor],
        states: Sequence[Tensor],
        positions: Tensor,
        caches: LayerCaches,
    ) -> dict[str, Tensor]:
        """Read the accepted tokens, write the head's caches, and draft.

        Args:
            inputs: those of the step contract.
            made: the outputs of the decode operators.
            states: [B, S, H] of the layers that the head reads.
            positions: [B, S] int64 of the new tokens.

        Returns:
            The outputs ``draft_tokens``, ``draft_logits`` and ``next_tokens``.
        """
        # Padding may run past the tables; its result is never used.
        positions = positions.clamp_max(self._last_position)
        bonus = made["bonus_token"].clamp_min(0)
        slot = (made["accepted_count"].long() - 1).clamp_min(0)
        last = inputs["logit_rows"].gather(1, slot[:, None])[:, 0].clamp_min(0).long()
        features = F.linear(torch.cat([*states], -1), self._weights["fc"])
        slots = torch.arange(inputs["attended_slots"].shape[0], device=positions.device)
        written: list[_Seen] = []

        def cached(key: Tensor, value: Tensor) -> _Seen:
            rows, new = positions.shape
            own = torch.arange(rows, device=positions.device)[:, None]
            at = inputs["cache_length"].long()[:, None] + torch.arange(new, device=positions.device)
            # Two index tensors around a slice put the indexed axes first: [B, S, KV, D].
            caches.keys[own, :, at], caches.values[own, :, at] = key.transpose(1, 2), value.transpose(1, 2)
            keys, values = (each[:, :, : len(slots)] for each in (caches.keys, caches.values))
            written.append(_Seen(keys, values, slots <= positions[:, None, :, None]))
            return written[0]

        hidden = self._layer(self._followers(inputs, last, bonus), features, positions, cached)
        state = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1]))
        position = inputs["cache_length"].long() + last
        seen = _Seen(written[0].keys, written[0].values, slots <= position[:, None, None, None])
        # On a GPU this would have to wait for the rows, and a captured forward has no branches.
        wanted = positions.device.type != "cpu" or bool((inputs["next_token"] == DRAFTED).any())
        drafts, logits = self._chain(state, seen, position, self._drafts if wanted else 1)
        rest = MAX_DRAFTS - drafts.shape[1]
        return {
            "draft_tokens": F.pad(drafts, (0, rest)),
            "draft_logits": F.pad(logits, (0, 0, 0, rest)),
            "next_tokens": self._next_tokens(inputs, made, torch.cat([bonus[:, None], drafts], 1)),
        }

    def _followers(self, inputs: Mapping[str, Tensor], last: Tensor, bonus: Tensor) -> Tensor:
        """[B, S]: the token after each of the new ones. After the last of them that is the bonus token, or the next one
        of the prompt."""
        stated, tokens = inputs["next_token"], inputs["tokens"]
        after = torch.where(stated >= 0, stated, bonus)
        shifted = F.pad(tokens[:, 1:], (0, 1))
        order = torch.arange(tokens.shape[1], device=tokens.device)
        return torch.where(order == last[:, None], after[:, None], shifted)

    def _chain(self, state: Tensor, seen: _Seen, position: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """``count`` drafts after the bonus token [B, N] int32, and the logits of each [B, N, V] float32.

        Args:
            state: [B, 1, H], of the token at ``position`` [B].
        """
        logits = [self._logits(state)]
        drafts = [self._most_likely(logits[0])]
        held = [seen]

        def grown(key: Tensor, value: Tensor) -> _Seen:
            held.append(held[-1].with_token(key, value))
            return held[-1]

        for step in range(1, count):
            at = (position + step).clamp_max(self._last_position)[:, None]
            state = self._layer(drafts[-1], state, at, grown)
            logits.append(self._logits(state))
            drafts.append(self._most_likely(logits[-1]))
        return torch.cat(drafts, 1), torch.cat(logits, 1)

    def _layer(
        self, tokens: Tensor, state: Tensor, positions: Tensor, attends: Callable[[Tensor, Tensor], _Seen]
    ) -> Tensor:
        """The state [B, S, H] after the layer.

        Args:
            tokens: [B, S] ids.
            state: [B, S, H], of the token before each.
            attends: gives what these tokens see from their keys and values.
        """
        pair = self._norm("input_layernorm", F.embedding(tokens, self._embedding)), self._norm("hidden_norm", state)
        x = torch.cat(pair, -1)
        query, key, value = (self._heads(self._linear(f"self_attn.{part}_proj", x)) for part in "qkv")
        cos, sin = self._cos[positions], self._sin[positions]
        seen = attends(rotate(key, cos, sin).transpose(1, 2), value.transpose(1, 2))
        merged = F.scaled_dot_product_attention(
            rotate(query, cos, sin).transpose(1, 2), seen.keys, seen.values,
            attn_mask=seen.mask, scale=self._target.head_dim**-0.5, enable_gqa=True,
        )  # fmt: skip
        state = state + self._linear("self_attn.o_proj", merged.transpose(1, 2).flatten(2))
        normed = self._norm("post_attention_layernorm", state)
        gate, up = (self._linear(f"mlp.{part}_proj", normed) for part in ("gate", "up"))
        return state + self._linear("mlp.down_proj", F.silu(gate) * up)

    def _heads(self, x: Tensor) -> Tensor:
        """[B, S, heads · D] to [B, S, heads, D]."""
        return x.reshape(*x.shape[:-1], -1, self._target.head_dim)

    def _logits(self, state: Tensor) -> Tensor:
        """[B, 1, V] float32, of the head's vocabulary, after ``state`` [B, 1, H]."""
        return F.linear(self._normed(state, self._weights["norm"]), self._weights["lm_head"]).float()

    def _most_likely(self, logits: Tensor) -> Tensor:
        """[B, 1] int32: the target's id of the head's most likely token."""
        return self._weights[TO_TARGET][logits.argmax(-1)]

    def _next_tokens(self, inputs: Mapping[str, Tensor], made: Mapping[str, Tensor], block: Tensor) -> Tensor:
        """The rows' next tokens [B, W]: those of the decode operators, or ``block``: the bonus token and its drafts."""
        decided = made["next_tokens"]
        places = torch.arange(decided.shape[1], device=decided.device).clamp_max(block.shape[1] - 1)
        # A row that repeats its pass keeps its tokens.
        goes_on = made["next_cache_length"] > inputs["cache_length"]
        speculates = (inputs["program"] == PROGRAMS.index(names.QUADRATIC)) & goes_on
        return torch.where(speculates[:, None], block[:, places], decided)

    def _linear(self, part: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[f"{LAYER}.{part}"])

    def _norm(self, part: str, x: Tensor) -> Tensor:
        return self._normed(x, self._weights[f"{LAYER}.{part}"])

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        statistics = x.float()
        normed = statistics * torch.rsqrt(statistics.pow(2).mean(-1, keepdim=True) + self._config.rms_norm_eps)
        return normed.to(x.dtype) * weight
