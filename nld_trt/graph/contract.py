# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The step contract: every input and output of an engine, declared once.

The graph builder, the build profiles, the runtimes, the manifest, the documentation and the tests
all read this table. One network serves every mode and phase: a forward takes, per row of a batch,
a few new tokens and a few integers, and rows in different phases may share it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from nld_trt import names
from nld_trt.graph.step.candidates import CANDIDATES
from nld_trt.model.config import MAX_EOS_IDS, ModelConfig
from nld_trt.names import Program

# 2: sampling, quadratic passes, and rows that go on by themselves. 3: several EOS ids per row.
CONTRACT_VERSION = 3

Direction = Literal["input", "output"]
Phase = Literal["prompt", "token", "block", "quadratic"]
Part = Literal["adapter", "quadratic", "functions"]

# Every engine has these; a quadratic phase is an option of the build.
PHASES: tuple[Phase, ...] = ("prompt", "token", "block")

# What a row does after a pass, without being told: nothing, or the next pass of its mode. Values of `program`.
PROGRAMS: tuple[Program, ...] = (names.HOLD, names.TOKEN, names.DIFFUSION, names.LINEAR, names.QUADRATIC)


@dataclass(frozen=True)
class Binding:
    """One engine input or output.

    Attributes:
        dtype: NumPy name, or ``activation`` for the precision that the engine was built in.
        axes: names; ``batch``, ``width``, ``window``, ``slots`` and ``capacity`` change at run time, the others
            are fixed by the checkpoint.
        per_layer: the name is a pattern with one ``{layer}``.
        debug: present only in engines built with debug outputs.
        parts: what an engine may be built without, and then does not read this input.
        carries: the input that this output is in the next pass, for rows that go on by themselves.
    """

    name: str
    direction: Direction
    dtype: str
    axes: tuple[str, ...]
    meaning: str
    per_layer: bool = False
    debug: bool = False
    carries: str | None = None
    parts: tuple[Part, ...] = ()

    def names(self, config: ModelConfig) -> list[str]:
        if not self.per_layer:
            return [self.name]
        return [self.name.format(layer=layer) for layer in range(config.num_hidden_layers)]


_CACHE_AXES = ("batch", "kv_heads", "capacity", "head_dim")

_WINDOW = ("batch", "window")
_LISTS = ("batch", "window", "candidates")

BINDINGS: tuple[Binding, ...] = (
    Binding("tokens", "input", "int32", ("batch", "width"), "new tokens, right-padded to the widest row"),
    Binding(
        "cache_length", "input", "int32", ("batch",), "tokens already in the cache: position of the first new token"
    ),
    Binding("valid_count", "input", "int32", ("batch",), "how many of the new tokens are real"),
    Binding("causal", "input", "bool", ("batch",), "causal pass (prefill, token, verify, commit) or bidirectional"),
    Binding(
        "draft_adapter",
        "input",
        "bool",
        ("batch",),
        "drafts of this row use the o_proj adapter; no other pass does",
        parts=("adapter",),
    ),
    Binding("segments", "input", "int32", ("batch",), "quadratic pass of k drafts and k masks behind each; 0: not one"),
    Binding("logit_rows", "input", "int32", _WINDOW, "new tokens whose logits are wanted, a prefix; -1 after it"),
    Binding(
        "drawn_slots", "input", "int32", ("slots",), "row * window + slot of those that draw; one of any kind if none"
    ),
    Binding("threshold", "input", "float32", ("batch",), "BlockDenoise commits masks with at least this confidence"),
    Binding("quota", "input", "int32", ("batch",), "BlockDenoise commits at least this many masks, the most confident"),
    Binding("eos_token_id", "input", "int32", ("batch", "eos_ids"), "tokens that end the answer, then -1: no token"),
    Binding(
        "ensemble",
        "input",
        "float32",
        ("batch",),
        "quadratic: weight of AR against diffusion in verifying",
        parts=("quadratic", "functions"),
    ),
    Binding("temperature", "input", "float32", ("batch",), "0: the likeliest token; above: a draw from softmax(z / T)"),
    Binding("top_k", "input", "int32", ("batch",), "only so many of the likeliest tokens are drawn; 0: all"),
    Binding("top_p", "input", "float32", ("batch",), "of those, the fewest that reach this share; 1: all"),
    Binding("min_p", "input", "float32", ("batch",), "of those, at least this likely against the likeliest; 0: all"),
    Binding("seed", "input", "int64", ("batch",), "key of the row's random numbers, 0 or more"),
    Binding("draw", "input", "int32", ("batch",), "which draw of the predicted positions; 0 but for denoise passes"),
    Binding("rejection", "input", "bool", ("batch",), "verify drafts by rejection sampling, and draft accordingly"),
    Binding("drafted_ids", "input", "int32", _LISTS, "what each block token was drawn from; -1: not told"),
    Binding("drafted_shares", "input", "float32", _LISTS, "probability of each of those"),
    Binding("program", "input", "int32", ("batch",), f"how the row goes on: {', '.join(PROGRAMS)} are 0 to 4"),
    Binding("room", "input", "int32", ("batch",), "tokens that the row may still commit; at 0 it stands still"),
    Binding("past_key_{layer}", "input", "activation", _CACHE_AXES, "key cache after rotary", per_layer=True),
    Binding("past_value_{layer}", "input", "activation", _CACHE_AXES, "value cache", per_layer=True),
    Binding("block_tokens", "output", "int32", _WINDOW, "window tokens after one BlockDenoise step"),
    Binding("masks_left", "output", "int32", ("batch",), "masks still in the window after that step"),
    Binding("verified_tokens", "output", "int32", _WINDOW, "causal prediction behind each window token"),
    Binding("accepted_count", "output", "int32", ("batch",), "SpecVerify: matching draft tokens + 1"),
    Binding("next_seed", "output", "int32", ("batch",), "SpecVerify: the last accepted token, not yet cached"),
    Binding("eos_position", "output", "int32", ("batch",), "first accepted EOS in verified_tokens, or the window size"),
    Binding("finite", "output", "int32", ("batch",), "0 where wanted logits hold NaN or infinity, or choose nothing"),
    Binding("candidate_ids", "output", "int32", _LISTS, "what a draft's tokens were drawn from", carries="drafted_ids"),
    Binding("candidate_shares", "output", "float32", _LISTS, "probability of each", carries="drafted_shares"),
    Binding("next_tokens", "output", "int32", _WINDOW, "of the row's next pass", carries="tokens"),
    Binding("next_cache_length", "output", "int32", ("batch",), "of the row's next pass", carries="cache_length"),
    Binding("next_causal", "output", "bool", ("batch",), "of the row's next pass", carries="causal"),
    Binding("next_draw", "output", "int32", ("batch",), "of the row's next pass", carries="draw"),
    Binding("next_room", "output", "int32", ("batch",), "of the row's next pass; 0: it has ended", carries="room"),
    Binding("present_key_{layer}", "output", "activation", _CACHE_AXES, "same memory as past_key", per_layer=True),
    Binding("present_value_{layer}", "output", "activation", _CACHE_AXES, "same memory as past_value", per_layer=True),
    Binding("confidence", "output", "float32", _WINDOW, "probability of each masked slot's choice", debug=True),
    Binding("logits", "output", "float32", ("batch", "window", "vocab"), "what the decode operators saw", debug=True),
    Binding("final_hidden", "output", "activation", ("batch", "width", "hidden"), "after the last norm", debug=True),
)

# Inputs that a pass hands on to the next one of its row, by the output that they come from.
CARRIED = {binding.name: binding.carries for binding in BINDINGS if binding.carries is not None}


@dataclass(frozen=True)
class Limits:
    """What an engine was built for. Counts are in rows and tokens."""

    max_batch_size: int
    max_seq_len: int
    max_block_length: int
    prompt_chunk: int
    max_quadratic_length: int = 0

    @property
    def capacity(self) -> int:
        """Cache slots per row: the last block may be written whole and cut afterwards."""
        return self.max_seq_len + max(self.max_block_length, quadratic_width(self.max_quadratic_length))

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (*PHASES, "quadratic") if self.max_quadratic_length else PHASES

    def phase_for(self, width: int, window: int) -> Phase:
        """The narrowest phase that holds a forward of ``width`` new tokens and ``window`` logits per row."""
        if width == 1:
            return "token"
        if width <= self.max_block_length:
            return "block"
        beyond = width > self.prompt_chunk or window > self.max_block_length
        return "quadratic" if beyond and self.max_quadratic_length else "prompt"

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def quadratic_width(drafts: int) -> int:
    """New tokens of a quadratic pass over ``drafts`` drafted tokens: they, and as many masks behind each."""
    return drafts + drafts**2


Range = tuple[int, int, int]


def axis_ranges(limits: Limits, phase: Phase) -> dict[str, Range]:
    """(minimum, best, maximum) of every run-time axis in one phase's optimisation profile."""
    block, quadratic = limits.max_block_length, quadratic_width(limits.max_quadratic_length)
    # Rows of other kinds may share a quadratic pass, a prompt chunk among them.
    widest = max(quadratic, limits.prompt_chunk)
    widths: dict[Phase, Range] = {
        "prompt": (1, limits.prompt_chunk, limits.prompt_chunk),
        "token": (1, 1, 1),
        "block": (1, block, block),
        "quadratic": (1, quadratic, widest),
    }
    windows: dict[Phase, Range] = {
        "prompt": (1, 1, block),
        "token": (1, 1, 1),
        "block": (1, block, block),
        "quadratic": (1, quadratic, quadratic),
    }
    return {
        "batch": (1, 1, limits.max_batch_size),
        "width": widths[phase],
        "window": windows[phase],
        "slots": (1, 1, limits.max_batch_size * windows[phase][2]),
        "capacity": (limits.capacity,) * 3,
    }


def fixed_axes(config: ModelConfig) -> dict[str, int]:
    return {
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocab": config.vocab_size,
        "candidates": CANDIDATES,
        "eos_ids": MAX_EOS_IDS,
        "hidden": config.hidden_size,
    }


def bindings(direction: Direction, *, debug: bool = False) -> list[Binding]:
    return [binding for binding in BINDINGS if binding.direction == direction and (debug or not binding.debug)]


def table() -> list[dict[str, object]]:
    """The contract as plain data, for manifests and documentation."""
    return [{**asdict(binding), "axes": list(binding.axes), "parts": list(binding.parts)} for binding in BINDINGS]
