# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a model on one GPU: does it fit, and what will it do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nld_trt import names
from nld_trt.decode.auto.shapes import PUBLISHED_BLOCK, Shape
from nld_trt.engine.support_table import SUPPORT
from nld_trt.errors import InputError
from nld_trt.files.records import human_bytes
from nld_trt.names import ModeName
from nld_trt.planning.building import BuildCost, build_cost
from nld_trt.planning.forward import ForwardTime, law_of
from nld_trt.planning.memory import Memory
from nld_trt.planning.model import PRECISION_OF, PlannedModel
from nld_trt.planning.platform import GpuPlatform, gpu_platform
from nld_trt.planning.provenance import DATA_SHEET
from nld_trt.planning.rates import PLANNED_MODES, Crossover, Rate, crossovers, rate_of, stated_rate
from nld_trt.planning.times import Calibration, ForwardTimes, LawTimes


@dataclass(frozen=True)
class Question:
    """What is asked of every GPU.

    Attributes:
        users: ascending.
        users_stated: whether the user gave them; otherwise those that do not fit are left out.
        block_length: None means the engine's, or the default; ``block`` says which.
        context: cached tokens of each row when a forward begins.
        max_seq_len: prompt and answer of a row, for which its cache is kept; None likewise, and ``length``.
        acceptance: the distribution of accepted drafts.
        tokens_per_forward: of modes that decode blocks or canvases, as the user has measured it; None: as published.
        backend: None means the first that the GPU has.
    """

    model: PlannedModel
    modes: tuple[ModeName, ...]
    users: tuple[int, ...]
    users_stated: bool
    block_length: int | None
    context: int
    max_seq_len: int | None
    acceptance: Shape
    tokens_per_forward: float | None = None
    backend: str | None = None
    calibration: Calibration | None = None

    @property
    def block(self) -> int:
        """Tokens of the longest block; 1 for families that decode none."""
        if not self.model.family.has_blocks:
            return 1
        released = self.model.family.defaults.get("block_size", names.DEFAULT_PLANNED_BLOCK)
        return self.block_length or self.model.max_block_length or int(released)

    @property
    def length(self) -> int:
        """Tokens that a row has room for."""
        return self.max_seq_len or self.model.max_seq_len or names.DEFAULT_MAX_SEQ_LEN

    def why_unknown(self, mode: str) -> str | None:
        """The reason why the speed of a mode cannot be said; None where it can."""
        if self.states(mode):
            return None
        if self.over_canvas:
            return f"how many tokens {self.model.family.title} commits in a pass over its canvas is not known here"
        if mode not in PLANNED_MODES:
            return "how many tokens its forwards make with few drafts was not published"
        if mode != names.AR and names.LINEAR not in self.model.family.modes:
            return f"how many tokens a forward of {self.model.family.title} makes is not among what was published"
        return None

    def states(self, mode: str) -> bool:
        """Whether the user says how many tokens a forward of this mode makes."""
        return self.tokens_per_forward is not None and mode not in (names.AR, names.AUTO)

    @property
    def over_canvas(self) -> bool:
        """Whether every pass has all ``context`` tokens, prompt and answer together, and nothing is cached."""
        return self.model.family.reads_canvas

    @property
    def widths(self) -> tuple[int, ...]:
        """New tokens of the forwards that are shown for every number of users."""
        return (self.context,) if self.over_canvas else (1, self.block)

    def within_limits(self) -> Question:
        """This question with no more users than an engine has rows, where MODEL is one.

        Raises:
            InputError: the engine was built for less, or the rows have no room for the context.
        """
        built = self.model
        if self.tokens_per_forward is not None and not any(map(self.states, self.modes)):
            raise InputError(
                f"--tokens-per-forward is {self.tokens_per_forward:g}, and of {', '.join(self.modes)} none takes it",
                fix="Leave it out, or name a --mode that decodes blocks or canvases.",
            )
        if self.tokens_per_forward is not None and self.tokens_per_forward > max(self.widths):
            raise InputError(
                f"--tokens-per-forward is {self.tokens_per_forward:g}, and a forward has {max(self.widths)} new tokens"
            )
        if self.block_length is not None and self.block_length > self.block:
            raise InputError(
                f"--block-length is {self.block_length}, and {built.family.title} decodes in "
                f"{', '.join(built.family.modes)}, which has no blocks",
                fix="Leave it out.",
            )
        if built.max_block_length is not None and self.block > built.max_block_length:
            raise InputError(f"--block-length is {self.block}, and the engine was built for {built.max_block_length}")
        if built.max_seq_len is not None and self.length > built.max_seq_len:
            raise InputError(f"--max-seq-len is {self.length}, and the engine was built for {built.max_seq_len}")
        if self.context + self.block > self.length:
            raise InputError(
                f"--context {self.context} and a block of {self.block} are more than the {self.length} tokens of a row",
                fix="Give a larger --max-seq-len, or a smaller --context.",
            )
        built_rows = built.max_rows
        users = self.users
        if built_rows is not None and max(users) > built_rows:
            if self.users_stated:
                raise InputError(f"--users has {max(users)}, and the engine was built for {built_rows} rows")
            users = tuple(sorted({*(count for count in users if count < built_rows), built_rows}))
        return replace(self, users=users)


@dataclass(frozen=True)
class Plan:
    """The answers for one GPU. Make one with :func:`plan_on`.

    Attributes:
        users: those that fit.
        unknown: what was asked and has no number, and why.
    """

    question: Question
    platform: GpuPlatform
    backend: str
    users: tuple[int, ...]
    times: ForwardTimes
    unknown: tuple[str, ...]

    @property
    def precision(self) -> str:
        return "+".join(self.question.model.shape.precisions)

    @property
    def memory(self) -> Memory:
        return _memory(self.question, self.platform, max(self.users))

    @property
    def build(self) -> BuildCost | None:
        return build_cost(self.backend, self.question.model.shape)

    @cached_property
    def rates(self) -> tuple[Rate, ...]:
        asked = self.question
        known = [mode for mode in asked.modes if asked.why_unknown(mode) is None]
        return tuple(self._rate(mode, users) for mode in known for users in self.users)

    def _rate(self, mode: ModeName, users: int) -> Rate:
        asked = self.question
        if asked.tokens_per_forward is None or not asked.states(mode):
            return rate_of(mode, self.times, asked.acceptance, users, asked.block)
        return stated_rate(mode, self.times, asked.tokens_per_forward, users, max(asked.widths))

    @cached_property
    def forwards(self) -> tuple[ForwardTime, ...]:
        """One token and a block, or a canvas, for every number of users, and every forward that a rate is made of."""
        found = {(each.width, each.rows): each for rate in self.rates for each, _ in rate.forwards}
        for users in self.users:
            for width in self.question.widths:
                found.setdefault((width, users), self.times.forward(users, width))
        return tuple(found[place] for place in sorted(found))

    @cached_property
    def crossovers(self) -> list[Crossover]:
        if names.LINEAR not in self.question.model.family.modes:
            return []
        return crossovers(self.times, self.question.acceptance, self.question.block)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(_notes(self))

    def points(self) -> list[dict[str, Any]]:
        asked = {"platform": self.platform.name, "precision": self.precision}
        return [{**asked, **rate.to_dict(), "context": self.question.context} for rate in self.rates]


def plans_on(platforms: Sequence[str], question: Question) -> tuple[list[Plan], list[str]]:
    """The plans of all ``platforms``, and a line for each that has none.

    Raises:
        InputError: a platform is unknown, or none of them has a plan.
    """
    found: list[Plan] = []
    refused: list[InputError] = []
    for platform in [gpu_platform(name) for name in platforms]:
        try:
            found.append(plan_on(platform, question))
        except InputError as error:
            refused.append(error)
    if not found:
        if len(refused) == 1:
            raise refused[0]
        raise InputError("none of the platforms can be planned for", details=[error.what for error in refused])
    return found, [error.what for error in refused]


def plan_on(platform: GpuPlatform, question: Question) -> Plan:
    """The plan for one GPU.

    Raises:
        InputError: nothing is known of this precision there, it has no kernels for it, or the engine does not fit.
    """
    shape = question.model.shape
    backend = _backend(platform, question)
    if question.calibration is None or question.calibration.table is None:  # a table needs no law
        for precision in (names.BF16, *shape.precisions, shape.head.precision):
            law_of(platform, precision)
        for algorithm in question.model.algorithms:
            _check_kernels(platform, backend, algorithm)
    users = _fitting_users(question, platform)
    times: ForwardTimes = LawTimes(platform, shape, question.context)
    if question.calibration is not None:
        times = question.calibration.times(LawTimes(platform, shape, question.context))
    unknown = tuple(
        f"{mode}: {reason}; --tokens-per-forward takes a number of yours"
        for mode in question.modes
        if (reason := question.why_unknown(mode)) is not None
    )
    return Plan(question, platform, backend, users, times, unknown)


def _backend(platform: GpuPlatform, question: Question) -> str:
    """The backend that is planned for: the asked one, or the first that GPU and engine have."""
    built = question.model.backends or platform.backends
    asked = [question.backend] if question.backend else [name for name in platform.backends if name in built]
    if not asked or asked[0] not in platform.backends or asked[0] not in built:
        engine = f", and the engine has {', '.join(built)}" if question.model.backends else ""
        raise InputError(
            f"{platform.title} can run {', '.join(platform.backends)}{engine}; "
            f"{question.backend or 'none of them'} was asked for"
        )
    return asked[0]


def _check_kernels(platform: GpuPlatform, backend: str, algorithm: str) -> None:
    """Refuse a quantization whose matrix kernels the backend or the GPU does not have: no law is of them."""
    found = SUPPORT[algorithm].get(backend)
    if found is None or found.status != "native":
        native = [name for name in platform.backends if SUPPORT[algorithm][name].status == "native"]
        how = "it is refused" if found is None else found.how
        raise InputError(
            f"plan has no number for {PRECISION_OF[algorithm]} with {backend} on {platform.title}, which has no "
            f"kernels that read {algorithm}: {how}",
            fix=f"Plan for --backend {' or '.join(native)}." if native else "Plan another --precision.",
        )
    least = found.compute_capability
    if least and _number(platform.compute_capability) < _number(least):
        raise InputError(f"{algorithm} needs compute capability {least}, and {platform.title} has "
                         f"{platform.compute_capability}")  # fmt: skip


def _number(compute_capability: str) -> tuple[int, ...]:
    return tuple(map(int, compute_capability.split(".")))


def _memory(question: Question, platform: GpuPlatform, users: int) -> Memory:
    return Memory.on(
        platform, question.model.shape, users=users, max_seq_len=question.length,
        block_length=question.block,
    )  # fmt: skip


def _fitting_users(question: Question, platform: GpuPlatform) -> tuple[int, ...]:
    """The users that fit.

    Raises:
        InputError: none does, or one that the user gave does not. It says by how much, and what would fit.
    """
    fitting = tuple(users for users in question.users if _memory(question, platform, users).missing <= 0)
    if fitting and (len(fitting) == len(question.users) or not question.users_stated):
        return fitting
    wanted = max(question.users) if question.users_stated else min(question.users)
    memory = _memory(question, platform, wanted)
    nearest = list(_nearest(question, platform, memory))
    raise InputError(
        f"{question.model.shape.name} in {'+'.join(question.model.shape.precisions)} with {wanted} rows of "
        f"{memory.max_seq_len} tokens does not fit {platform.title}: it needs {human_bytes(int(memory.total))} of "
        f"{human_bytes(int(memory.capacity))}, {human_bytes(int(memory.missing))} too much",
        details=nearest,
        fix="These are the nearest settings that fit." if nearest else "No setting of this model fits.",
    )


def _nearest(question: Question, platform: GpuPlatform, memory: Memory) -> Iterator[str]:
    """Settings that fit, each with one thing changed."""
    if memory.most_users:
        yield f"--users {memory.most_users} with --max-seq-len {memory.max_seq_len}"
    if memory.longest >= question.block:
        yield f"--max-seq-len {memory.longest} with --users {memory.users}"
    shape = question.model.shape
    if shape.stored_products or set(shape.precisions) & {*PRECISION_OF.values()}:
        return
    smaller = replace(memory, shape=replace(shape, precision=names.INT4, stored_bytes=None))
    if smaller.missing <= 0:
        yield f"--precision {names.INT4} with --users {memory.users} and --max-seq-len {memory.max_seq_len}"
    elif smaller.most_users > memory.most_users:
        yield f"--precision {names.INT4} with --users {smaller.most_users} and --max-seq-len {memory.max_seq_len}"


def _notes(plan: Plan) -> Iterator[str]:
    yield from plan.platform.notes
    if plan.platform.unified_memory:
        yield "the operating system and the host process use the GPU's memory, too"
    left_out = [users for users in plan.question.users if users not in plan.users]
    if left_out:
        yield f"{', '.join(map(str, left_out))} users do not fit; the largest batch is under memory"
    if plan.question.over_canvas:
        yield (
            f"a pass has the whole canvas, here {plan.question.context} tokens (--context), and takes more memory for "
            "activations than the chunk of a prompt that was measured"
        )
    elif plan.question.block > PUBLISHED_BLOCK:
        yield f"acceptance beyond {PUBLISHED_BLOCK} tokens is extrapolated"
    if plan.question.calibration is not None:
        yield f"times by {plan.question.calibration.of}"
        return
    shape = plan.question.model.shape
    if plan.platform.laws[names.BF16].provenance == DATA_SHEET:
        yield "no product was measured on this GPU: the range is that of GPUs where they were"
    if names.INT4 in shape.precisions:
        yield "the INT4 term was fitted to DGX Spark and RTX PRO 6000"
    if set(shape.precisions) & {names.NVFP4}:
        yield "no NVFP4 speed of this model was published: its law is of single products"
    if min(product.bytes for product, _ in shape.products) < _SMALL:
        yield "matrices of a few MB stay in the L2 cache, for which the law is too slow"


# Bytes of a matrix below which the law was not fitted: less than the L2 cache of a small GPU.
_SMALL = 8e6
