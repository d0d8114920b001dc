# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The step contract: every input and output of an engine, declared once.

The graph builder, the build profiles, the runtimes, the manifest, the documentation and the tests all read this table.
One network serves every mode and phase: a forward takes a few new tokens and a few integers for each row of a batch,
and rows in different phases may share a forward. Tensors that the decode operators read or write are declared in
``step.tensors`` and only listed here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from nld_trt.graph.step.tensors import CANDIDATES, TENSORS
from nld_trt.model.config import MAX_EOS_IDS, ModelConfig

# Version 2 added sampling, quadratic passes, and rows whose next pass the graph prepares. Version 3 added several EOS
# ids per row. Version 4 added the cache slots that attention reads.
CONTRACT_VERSION = 4

Direction = Literal["input", "output"]
Phase = Literal["prompt", "token", "block", "quadratic", "canvas"]
Part = Literal["adapter", "quadratic", "functions", "draft_head"]

# Drafts that an output has places for: the longest chain that an Eagle3 head may draft.
MAX_DRAFTS = 15
# In the place of the token after a pass: the bonus token, after which the head drafts, or does not.
DRAFTED, NOT_DRAFTED = -1, -2

# Phases of engines with blocks. A quadratic phase is an option of the build.
PHASES: tuple[Phase, ...] = ("prompt", "token", "block")


@dataclass(frozen=True)
class Binding:
    """One engine input or output.

    Attributes:
        dtype: NumPy name, or ``activation`` for the precision that the engine was built in.
        axes: their names. ``batch``, ``width``, ``window``, ``slots``, ``attended`` and ``capacity`` change at run
            time, the others are fixed by the checkpoint.
        per_layer: the name is a pattern with one ``{layer}``.
        debug: only engines with debug outputs have it.
        carries: the input that this output becomes in the next pass, for rows whose next pass the graph prepares.
        parts: parts of an engine that the binding is for. An engine that was built without one of them does not read
            the input; without ``draft_head`` it has no such binding at all.
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

    def exists(self, config: ModelConfig | None) -> bool:
        """Whether an engine for ``config`` has it; None stands for an engine without an Eagle3 head."""
        return "draft_head" not in self.parts or (config is not None and config.draft is not None)

    def names(self, config: ModelConfig) -> list[str]:
        """The name, or the names for all layers; none where the engine does not have it."""
        if not self.exists(config):
            return []
        if not self.per_layer:
            return [self.name]
        return [self.name.format(layer=layer) for layer in range(config.cached_layers)]


def _step(
    name: str,
    direction: Direction,
    *,
    debug: bool = False,
    carries: str | None = None,
    parts: tuple[Part, ...] = (),
) -> Binding:
    """The binding of a tensor of the decode operators."""
    tensor = TENSORS[name]
    return Binding(
        name, direction, tensor.dtype, tensor.axes, tensor.meaning, debug=debug, carries=carries, parts=parts
    )


_CACHE_AXES = ("batch", "kv_heads", "capacity", "head_dim")

BINDINGS: tuple[Binding, ...] = (
    Binding("tokens", "input", "int32", ("batch", "width"), "new tokens, right-padded to the widest row"),
    _step("cache_length", "input"),
    _step("valid_count", "input"),
    _step("causal", "input"),
    Binding(
        "draft_adapter",
        "input",
        "bool",
        ("batch",),
        "drafts of this row use the o_proj adapter; no other pass does",
        parts=("adapter",),
    ),
    _step("segments", "input"),
    Binding(
        "logit_rows", "input", "int32", ("batch", "window"), "new tokens whose logits are wanted, a prefix; -1 after it"
    ),
    _step("sampled_slots", "input"),
    _step("threshold", "input"),
    _step("quota", "input"),
    _step("eos_token_id", "input"),
    _step("ensemble", "input", parts=("quadratic", "functions")),
    _step("temperature", "input"),
    _step("top_k", "input"),
    _step("top_p", "input"),
    _step("min_p", "input"),
    _step("seed", "input"),
    _step("sample", "input"),
    Binding("rejection", "input", "bool", ("batch",), "verify drafts by rejection sampling, and draft accordingly"),
    _step("drafted_ids", "input"),
    _step("drafted_probabilities", "input"),
    _step("program", "input"),
    _step("tokens_left", "input"),
    Binding(
        "attended_slots",
        "input",
        "int32",
        ("attended",),
        "0, 1, 2, ...: the cache slots that attention reads, at least all that hold a token after the pass",
    ),
    Binding(
        "next_token",
        "input",
        "int32",
        ("batch",),
        f"token after the new ones, in the middle of a prompt; {DRAFTED}: the bonus token, after which the head "
        f"drafts; {NOT_DRAFTED}: the bonus token, and no drafts are wanted",
        parts=("draft_head",),
    ),
    Binding("past_key_{layer}", "input", "activation", _CACHE_AXES, "key cache after rotary", per_layer=True),
    Binding("past_value_{layer}", "input", "activation", _CACHE_AXES, "value cache", per_layer=True),
    _step("block_tokens", "output"),
    _step("masks_left", "output"),
    _step("verified_tokens", "output"),
    _step("accepted_count", "output"),
    _step("bonus_token", "output"),
    _step("eos_position", "output"),
    _step("finite", "output"),
    _step("candidate_ids", "output", carries="drafted_ids"),
    _step("candidate_probabilities", "output", carries="drafted_probabilities"),
    _step("next_tokens", "output", carries="tokens"),
    _step("next_cache_length", "output", carries="cache_length"),
    _step("next_causal", "output", carries="causal"),
    _step("next_sample", "output", carries="sample"),
    _step("next_tokens_left", "output", carries="tokens_left"),
    Binding(
        "draft_tokens",
        "output",
        "int32",
        ("batch", "drafts"),
        "the head's drafts after the bonus token, as many as a block has places for, then 0",
        parts=("draft_head",),
    ),
    Binding("present_key_{layer}", "output", "activation", _CACHE_AXES, "same memory as past_key", per_layer=True),
    Binding("present_value_{layer}", "output", "activation", _CACHE_AXES, "same memory as past_value", per_layer=True),
    _step("confidence", "output", debug=True),
    Binding(
        "draft_logits",
        "output",
        "float32",
        ("batch", "drafts", "draft_vocab"),
        "the head's, of its own vocabulary; 0 after the last draft",
        debug=True,
        parts=("draft_head",),
    ),
    Binding("logits", "output", "float32", ("batch", "window", "vocab"), "what the decode operators saw", debug=True),
    Binding("final_hidden", "output", "activation", ("batch", "width", "hidden"), "after the last norm", debug=True),
)

# Outputs of a pass that are inputs of the row's next one: output to input.
CARRIED = {binding.name: binding.carries for binding in BINDINGS if binding.carries is not None}


@dataclass(frozen=True)
class Limits:
    """The largest sizes that an engine was built for, in rows and tokens.

    Attributes:
        max_canvas_length: tokens of a pass over a canvas, prompt and answer whole. 0 for engines whose passes continue
            what is cached, as those of nearly all families do.
    """

    max_batch_size: int
    max_seq_len: int
    max_block_length: int
    prompt_chunk: int
    max_quadratic_length: int = 0
    max_canvas_length: int = 0

    @property
    def capacity(self) -> int:
        """Cache slots per row. The last block may be written whole and cut afterwards, so they are more than tokens."""
        return self.max_seq_len + max(self.max_block_length, quadratic_width(self.max_quadratic_length))

    @property
    def phases(self) -> tuple[Phase, ...]:
        if self.max_canvas_length:
            return ("canvas",)
        # A block of one token is the phase of one token.
        own = tuple(phase for phase in PHASES if phase != "block" or self.max_block_length > 1)
        return (*own, "quadratic") if self.max_quadratic_length else own

    def phase_for(self, width: int, window: int) -> Phase:
        """The narrowest phase that holds a forward of ``width`` new tokens and ``window`` logits per row."""
        if self.max_canvas_length:
            return "canvas"
        if width == 1:
            return "token"
        if width <= self.max_block_length:
            return "block"
        beyond = width > self.prompt_chunk or window > self.max_block_length
        return "quadratic" if beyond and self.max_quadratic_length else "prompt"

    def to_dict(self) -> dict[str, int]:
        """Returns the limits as plain data, without that of a canvas where there is none."""
        values = asdict(self)
        if not self.max_canvas_length:
            del values["max_canvas_length"]
        return values


def quadratic_width(drafts: int) -> int:
    """New tokens of a quadratic pass over ``drafts`` drafted tokens: these, and as many masks after each of them."""
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
        "canvas": (1, limits.max_canvas_length, limits.max_canvas_length),
    }
    windows: dict[Phase, Range] = {
        "prompt": (1, 1, block),
        "token": (1, 1, 1),
        "block": (1, block, block),
        "quadratic": (1, quadratic, quadratic),
        # The block whose masks are filled; the rest of the canvas has no logits.
        "canvas": (1, block, block),
    }
    return {
        "batch": (1, 1, limits.max_batch_size),
        "width": widths[phase],
        "window": windows[phase],
        "slots": (1, 1, limits.max_batch_size * windows[phase][2]),
        # The compiler makes no cut of one length, so that one-token forwards may read the caches where they are.
        "attended": (limits.capacity if phase == "token" else 1, limits.capacity, limits.capacity),
        "capacity": (limits.capacity,) * 3,
    }


def prompt_block(config: ModelConfig, limits: Limits) -> int:
    """The tokens that see each other in prompts as well, 0 where prompts are causal (``model.family``, ``blocks``).

    Such an engine has blocks of one length, the longest: they stand at multiples of it from the first token on.
    """
    return limits.max_block_length if config.family.aligns_blocks else 0


def fixed_axes(config: ModelConfig) -> dict[str, int]:
    return {
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocab": config.vocab_size,
        "candidates": CANDIDATES,
        "eos_ids": MAX_EOS_IDS,
        "hidden": config.hidden_size,
        "drafts": MAX_DRAFTS,
        "draft_vocab": config.draft.vocab_size if config.draft else 0,
    }


def attention_count(config: ModelConfig, limits: Limits) -> int:
    """How often a graph attends to a cache: once in each layer, and once for each draft of a head."""
    return config.num_hidden_layers + (limits.max_block_length - 1 if config.draft else 0)


def bindings(direction: Direction, *, debug: bool = False, config: ModelConfig | None = None) -> list[Binding]:
    """The inputs or outputs of an engine for ``config``; None stands for one without an Eagle3 head."""
    return [
        binding
        for binding in BINDINGS
        if binding.direction == direction and (debug or not binding.debug) and binding.exists(config)
    ]


def table() -> list[dict[str, object]]:
    """The contract as plain data, for manifests and documentation."""
    return [{**asdict(binding), "axes": list(binding.axes), "parts": list(binding.parts)} for binding in BINDINGS]
