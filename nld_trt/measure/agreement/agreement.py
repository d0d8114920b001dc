# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a server gives the answers of our engine, and if not, from which position on and by which fault.

The server answers greedily. Our engine then reads its answer, and says of each token how far it is below the token
that it would have chosen itself. A token that is within ``tie`` of that one is no difference: rounding decides there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from nld_trt import names
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError
from nld_trt.measure.agreement.hypotheses import hypotheses, network
from nld_trt.measure.agreement.probes import Range, probes, ranges
from nld_trt.measure.agreement.scorer import Scorer, Scores, ids_of
from nld_trt.measure.agreement.server import OpenAIServer, Reply
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.text.codec import Codec
from nld_trt.progress import SILENT, Progress, Stage

# The part of a server's tokens that a fault must explain, and how close another fault may come to be as good.
_EXPLAINED: Final = 0.95
_AS_GOOD: Final = 0.005
TRUE: Final = "the model as it is"
CHAT: Final = "chat"


@dataclass(frozen=True)
class Settings:
    """How much is asked for.

    Attributes:
        samples: prompts of each range.
        max_tokens: tokens of each answer.
        tie: nats between two tokens that are as good as equally likely.
    """

    samples: int = names.DEFAULT_CHECK_SAMPLES
    max_tokens: int = names.DEFAULT_CHECK_TOKENS
    tie: float = names.DEFAULT_TIE

    def check(self) -> None:
        """Raises InputError for a value that cannot be used."""
        for name, least in (("samples", 1), ("max_tokens", 1), ("tie", 0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class Heard:
    """An answer of the server, as token ids.

    Attributes:
        prompt: what the answer follows.
        answer: its tokens, with one that ends answers where the server ended it.
        own_ended: number of tokens after which our own engine ends an answer to the prompt; None if it does not.
        silent: the server has the text of our own answer, which it does not end; what follows has no text.
        empty: there is no text and no end, while our own answer has some.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    stopped: bool
    own_ended: int | None
    silent: bool
    empty: bool
    reply: Reply


@dataclass(frozen=True)
class Difference:
    """The first token that our engine would not have chosen.

    Attributes:
        prompt: number of the prompt.
        position: of the token in the sequence.
        server, engine: the tokens as text; a token that ends the answer is written as it is.
        margin: nats between them.
        goes_on: our engine ends the answer there, and the server's token is what follows such an end.
    """

    prompt: int
    position: int
    server: str
    engine: str
    margin: float
    goes_on: bool


@dataclass(frozen=True)
class Row:
    """What was found in one range of positions.

    Attributes:
        first_position, last_position: of the answers' tokens.
        agreed: tokens that our engine would have chosen as well; ``ties`` are not among them.
        endless: answers whose text agrees and that do not end.
        empty: answers without any text that do not end.
        logprob_error: largest difference of a token's log-probability; None if the server tells none.
    """

    name: str
    first_position: int
    last_position: int
    tokens: int
    agreed: int
    ties: int
    difference: Difference | None
    endless: int
    empty: int
    logprob_error: float | None

    @property
    def differing(self) -> int:
        return self.tokens - self.agreed - self.ties


@dataclass(frozen=True)
class Explanation:
    """A network with a fault, and how well it explains the server's tokens.

    Attributes:
        agreement: part of the tokens that it would have chosen, ties included.
        mean_margin: mean distance of the tokens from those that it would have chosen, in nats.
        logprob_error: as in :class:`Row`.
    """

    name: str
    agreement: float
    mean_margin: float
    logprob_error: float | None

    @property
    def rank(self) -> tuple[float, ...]:
        """The best explanation has the lowest. Log-probabilities tell more than choices, where the server has them."""
        return (self.logprob_error or 0.0, -self.agreement, self.mean_margin)


@dataclass(frozen=True)
class Agreement:
    """What was found.

    Attributes:
        form: how prompts were sent.
        facts: sentences on what the server misses; empty if it agrees.
        explanations: the best first; empty if no checkpoint was given or nothing differs.
        notes: what was not compared, and why.
    """

    form: str
    rows: Sequence[Row]
    facts: Sequence[str]
    explanations: Sequence[Explanation] = ()
    notes: Sequence[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.facts

    def to_dict(self) -> dict[str, Any]:
        return {"agrees": self.agrees, **asdict(self)}


class Examination:
    """Asks a server, and scores its answers with an engine.

    Args:
        engine: an engine with a tokenizer and a backend that has debug outputs.

    Raises:
        InputError: the engine has no tokenizer, or no backend with debug outputs runs here.
    """

    def __init__(
        self, server: OpenAIServer, engine: EngineFolder, settings: Settings, *, backend: str | None = None
    ) -> None:
        settings.check()
        codec = Codec.open(engine.path)
        if codec is None:
            raise InputError(f"the engine in {engine.path} has no tokenizer, and a server answers with text")
        self._server, self._engine, self._settings, self._codec = server, engine, settings, codec
        self._scorer = Scorer(engine.open_session(backend, debug=True))
        self._heard: list[Heard] = []
        self._facts: list[str] = []
        self._notes: list[str] = []

    def run(self, *, checkpoint: Checkpoint | None = None, progress: Progress = SILENT) -> Agreement:
        """Ask everything.

        Args:
            checkpoint: what the engine was built from, with which faults are looked for where something differs.

        Raises:
            OperationError: the server does not answer, or the engine failed.
        """
        limits, settings = self._engine.manifest.limits, self._settings
        wanted = ranges(self._engine.manifest.config, limits.max_seq_len, settings.max_tokens)
        with progress.stage("asking the server", total=settings.samples * (len(wanted) + 1), unit="prompts") as stage:
            rows = [row for each in wanted if (row := self._range(each, stage)) is not None]
            rows.append(self._chat(wanted[0], stage))
        self._note_what_is_missing(wanted)
        self._judge(rows)
        explanations: list[Explanation] = []
        if checkpoint is not None and any(self._differs(row) for row in rows):
            explanations = self._explain(checkpoint, progress)
            self._facts += self._best(explanations)
        return Agreement(self._form(), rows, self._facts, explanations, self._notes)

    def _form(self) -> str:
        """How prompts were sent, for the user."""
        form = self._server.form
        return "conversations only" if form is None else f"prompts as {'token ids' if form.ids else 'text'}"

    def _range(self, wanted: Range, stage: Stage) -> Row | None:
        heard = []
        for probe in probes(self._codec, wanted, self._settings.samples):
            reply = self._server.complete(probe.text, probe.ids, self._settings.max_tokens)
            if reply is None:
                return None
            if self._server.form is not None and not self._server.form.ids:
                self._count("BOS or tokenizer: of a text", reply, probe.ids)
            heard.append(self._hear(probe.ids, reply))
            stage.advance(1)
        self._heard += heard
        return self._row(wanted.name, heard)

    def _chat(self, wanted: Range, stage: Stage) -> Row:
        heard = []
        for probe in probes(self._codec, wanted, self._settings.samples):
            ids = self._codec.encode_part(probe.text)
            reply = self._server.chat(probe.messages, self._settings.max_tokens)
            self._count("chat template: of a conversation", reply, ids)
            heard.append(self._hear(ids, reply))
            stage.advance(1)
        if self._server.form is None:
            self._heard += heard
        return self._row(CHAT, heard)

    def _count(self, what: str, reply: Reply, ids: Sequence[int]) -> None:
        """Compare the lengths of a prompt."""
        if reply.prompt_tokens not in (None, len(ids)) and not any(fact.startswith(what) for fact in self._facts):
            self._facts.append(f"{what}, the server makes {reply.prompt_tokens} tokens and the engine {len(ids)}")

    def _hear(self, prompt: tuple[int, ...], reply: Reply) -> Heard:
        own = self._scorer.answer(prompt, self._settings.max_tokens, self._codec)
        ends = self._engine.manifest.config.eos_token_ids
        spelled = [token for token in own.output_ids if token not in ends]
        answer = ids_of(self._codec, reply.text, spelled)
        ended = len(spelled) if len(spelled) < len(own.output_ids) else None
        silent = (
            not reply.stopped
            and ended is not None
            and len(own.output_ids) < self._settings.max_tokens
            and answer == tuple(spelled)
        )
        empty = not reply.stopped and not answer and bool(spelled)
        if reply.stopped:
            answer = (*answer, ends[0])
        return Heard(prompt, answer, reply.stopped, ended, silent, empty, reply)

    def _row(self, name: str, heard: Sequence[Heard]) -> Row:
        scores = [self._scorer.score(each.prompt, each.answer, stopped=each.stopped) for each in heard]
        margins = np.concatenate([np.array(each.margins) for each in scores])
        agreed = int((margins <= 0).sum())
        return Row(
            name=name,
            first_position=min(len(each.prompt) for each in heard),
            last_position=max(len(each.prompt) + len(each.answer) for each in heard) - 1,
            tokens=len(margins),
            agreed=agreed,
            ties=int((margins <= self._settings.tie).sum()) - agreed,
            difference=self._first_difference(heard, scores),
            endless=sum(each.silent for each in heard),
            empty=sum(each.empty for each in heard),
            logprob_error=_logprob_error(heard, scores),
        )

    def _first_difference(self, heard: Sequence[Heard], scores: Sequence[Scores]) -> Difference | None:
        found = []
        for number, (each, score) in enumerate(zip(heard, scores, strict=True)):
            place = next((i for i, margin in enumerate(score.margins) if margin > self._settings.tie), None)
            if place is not None:
                found.append(
                    Difference(
                        prompt=number,
                        position=len(each.prompt) + place,
                        server=self._codec.token_text(each.answer[place]),
                        engine=self._codec.token_text(score.best[place]),
                        margin=score.margins[place],
                        goes_on=place == each.own_ended and self._passed_the_end(each, place, score.best[place]),
                    )
                )
        return min(found, key=lambda each: each.position, default=None)

    def _passed_the_end(self, heard: Heard, place: int, end: int) -> bool:
        """Whether the server's token follows an end of the answer, which it generated and which has no text."""
        answer = (*heard.answer[:place], end, heard.answer[place])
        margins = self._scorer.score(heard.prompt, answer, stopped=False).margins
        return margins[-1] <= self._settings.tie

    def _differs(self, row: Row) -> bool:
        return row.differing > 0 or (row.logprob_error or 0.0) > self._settings.tie

    def _judge(self, rows: Sequence[Row]) -> None:
        """Say which facts the differences are about, as far as the positions show it."""
        empty = [row for row in rows if row.empty]
        self._facts += [f"answers: {row.empty} of the range {row.name} have no text and no end" for row in empty]
        ends = [row for row in rows if row.endless or (row.difference is not None and row.difference.goes_on)]
        if ends and not empty:
            tokens = ", ".join(map(self._codec.token_text, self._engine.manifest.config.eos_token_ids))
            self._facts.append(f"EOS set: the server goes on where an answer ends; the model ends it with {tokens}")
        apart = [row for row in rows if self._differs(row)]
        texts = [row for row in apart if row.name != CHAT]
        if texts and texts[0].name == rows[0].name:
            self._facts.append(
                "weights or positions: answers differ from the first positions on (rotary frequencies, YaRN, precision)"
            )
        elif texts:
            self._facts.append(
                f"positions: answers differ from {texts[0].first_position:,} on and not before (query scale, YaRN)"
            )
        elif apart and self._server.form is None:
            self._facts.append("chat template, weights or positions: answers to conversations differ")
        elif apart:
            self._facts.append("chat template: answers to conversations differ, and those to the same texts do not")

    def _note_what_is_missing(self, wanted: Sequence[Range]) -> None:
        rope = self._engine.manifest.config.rope
        original = rope.original_max_position_embeddings
        if self._server.form is None:
            self._notes.append("the server has no completions, so only short conversations were compared")
        if rope.llama_4_scaling_beta and not any((each.length or 0) >= original for each in wanted):
            length = original + 2 * (self._settings.max_tokens + 256)
            self._notes.append(
                f"nothing was compared from position {original:,} on, where the query scale begins: the engine was "
                f"built for {self._engine.manifest.limits.max_seq_len:,} tokens (nld-trt build --max-seq-len {length})"
            )

    def _explain(self, checkpoint: Checkpoint, progress: Progress) -> list[Explanation]:
        """Score the same answers with each network that has a fault."""
        listed = hypotheses(self._engine.manifest.config.rope)
        with progress.stage("looking for the fault", total=len(listed) + 1, unit="networks") as stage:
            found = [self._explained(TRUE, self._scorer)]
            stage.advance(1)
            for each in listed:
                with network(each, checkpoint, self._engine) as session:
                    found.append(self._explained(each.name, Scorer(session)))
                stage.advance(1)
        return sorted(found, key=lambda each: each.rank)

    def _explained(self, name: str, scorer: Scorer) -> Explanation:
        scores = [scorer.score(each.prompt, each.answer, stopped=each.stopped) for each in self._heard]
        margins = np.concatenate([np.array(each.margins) for each in scores])
        return Explanation(
            name,
            agreement=float((margins <= self._settings.tie).mean()),
            mean_margin=float(margins.mean()),
            logprob_error=_logprob_error(self._heard, scores),
        )

    def _best(self, explanations: Sequence[Explanation]) -> list[str]:
        """Say which fault explains the answers: nearly all of them, and better than no fault does."""
        (true,) = [each for each in explanations if each.name == TRUE]
        best, tie = explanations[0], self._settings.tie
        if best is true or best.agreement < _EXPLAINED:
            return []
        if best.logprob_error is not None:
            as_good = [each.name for each in explanations if (each.logprob_error or 0.0) <= tie and each is not true]
            figures = f"log-probabilities to {best.logprob_error:.2f} nats; those of the model as it is to "
            figures += f"{true.logprob_error or 0.0:.2f}"
        else:
            as_good = [each.name for each in explanations if best.agreement - each.agreement < _AS_GOOD]
            figures = f"{best.agreement:.1%} of its tokens; the model as it is explains {true.agreement:.1%}"
        return [f"explained best by: {' or '.join(as_good)} ({figures})"] if TRUE not in as_good and as_good else []


def _logprob_error(heard: Sequence[Heard], scores: Sequence[Scores]) -> float | None:
    """The largest difference of log-probabilities, of answers whose tokens are known to be the server's."""
    errors = [
        abs(theirs - ours)
        for each, score in zip(heard, scores, strict=True)
        if each.reply.logprobs is not None and len(each.reply.logprobs) == len(score.logprobs)
        for theirs, ours in zip(each.reply.logprobs, score.logprobs, strict=True)
    ]
    return max(errors, default=None)
