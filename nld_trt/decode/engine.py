# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Python API: an engine folder, opened for decoding. ``from nld_trt import Engine`` is this class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Unpack

from nld_trt.decode.batch import Batch
from nld_trt.decode.options import Options, Prompt, make_request
from nld_trt.decode.request import Request, modes_of
from nld_trt.decode.result import Result
from nld_trt.decode.shared import SharedBatch
from nld_trt.decode.stream import Stream
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError
from nld_trt.model.hub import refuse_hub_id
from nld_trt.model.text.codec import Codec
from nld_trt.names import DEFAULT_GENERATION_CONFIG, GENERATION_CONFIGS, ModeName
from nld_trt.progress import SILENT, Progress


class Engine:
    """An engine folder, opened for decoding.

    >>> with Engine.open("engine") as engine:
    ...     result = engine.generate("Sort these numbers: 42 17 88 35", mode="ar", max_new_tokens=64)
    >>> result.finish_reason, len(result.tokens)
    ('stop', ...)

    A prompt is a text, a list of token ids, a list of messages with ``role`` and ``content``, or a whole request as a
    dict. Options are the fields of a requests file: ``mode``, ``max_new_tokens``, ``temperature``, ``top_k``,
    ``top_p``, ``min_p``, ``seed``, ``stop``, ``block_length``, ``threshold``, ``lora``, ``system``, ``raw``, ``tools``
    and the others of docs/decoding.md.

    Any thread may call any method at any time. Requests of all threads, and streams that are read in turns, share each
    forward; there is no thread of its own, so that nothing is decoded while nobody waits.

    Attributes:
        folder: the engine folder and its manifest.
        codec: tokenizer and chat templates; None without a tokenizer.
    """

    def __init__(
        self,
        folder: EngineFolder,
        session: Session,
        codec: Codec | None,
        *,
        max_batch_size: int | None = None,
        prefix_caching: bool = False,
    ) -> None:
        self.folder = folder
        self.codec = codec
        self._info = session.info
        self._batch: Batch | None = Batch(session, codec, max_rows=max_batch_size, prefix_caching=prefix_caching)
        self._shared = SharedBatch(self._batch)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str] | EngineFolder,
        *,
        backend: str | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        generation_config: str = DEFAULT_GENERATION_CONFIG,
        max_batch_size: int | None = None,
        prefix_caching: bool = False,
        progress: Progress = SILENT,
    ) -> Engine:
        """Verify an engine folder and start it.

        Args:
            folder: what ``nld-trt build`` wrote.
            backend: ``ort``, ``torch``, ``trt-rtx`` or ``trt``; None means the first of the engine's that this machine
                can run.
            chat_template: name of one of the engine's templates, or path of a Jinja file; None means the engine's own.
            generation_config: where requests that say nothing have their defaults from: ``checkpoint``, whose
                generation_config.json may name some, or ``none``. Its EOS ids count in both.
            max_batch_size: requests decoded together; None means as many as the engine was built for.
            prefix_caching: keep the keys and values of ended requests for prompts that begin alike, a chat's next turn
                for example. ``result.cached_tokens`` tells how many tokens that spared.
            progress: is told how far the loading is.

        Raises:
            InputError: it is no engine folder, was changed, or none of its backends runs here.
            OperationError: the backend could not load the engine.
        """
        if not isinstance(folder, EngineFolder):
            refuse_hub_id(os.fspath(folder), "nld-trt build DIR -o ENGINE_DIR, and open ENGINE_DIR")
            folder = EngineFolder.open(Path(folder).expanduser())
        if generation_config not in GENERATION_CONFIGS:
            raise InputError(
                f"generation_config is {generation_config!r}; it must be {' or '.join(GENERATION_CONFIGS)}"
            )
        folder = folder.with_defaults(generation_config)
        most = folder.manifest.limits.max_batch_size
        if max_batch_size is not None and not 1 <= max_batch_size <= most:
            raise InputError(
                f"max_batch_size is {max_batch_size}; the engine in {folder.path} was built for 1 to {most}",
                fix=f"Rebuild with nld-trt build --max-batch-size {max_batch_size}." if max_batch_size > most else None,
            )
        # Before the session, whose opening takes longer and needs nothing of this.
        codec = Codec.open(
            folder.path,
            None if chat_template is None else os.fspath(chat_template),
            max_tokens=folder.manifest.limits.max_seq_len,
        )
        session = folder.open_session(backend, progress=progress)
        return cls(folder, session, codec, max_batch_size=max_batch_size, prefix_caching=prefix_caching)

    def generate(self, prompt: Prompt | None = None, /, **options: Unpack[Options]) -> Result:
        """Decode one prompt to its end.

        Returns:
            Text, token ids and figures: tokens per forward, acceptance length, tokens/s, time to first token.

        Raises:
            InputError: the prompt or an option does not fit the engine.
            OperationError: the engine failed, or its logits were not finite.
        """
        ticket = self._shared.submit([self.request(prompt, **options)])[0]
        try:
            return self._shared.finish(ticket).or_raise()
        finally:
            ticket.dropped = True

    def stream(self, prompt: Prompt | None = None, /, **options: Unpack[Options]) -> Stream:
        """Decode one prompt, piece by piece: an iterator of texts, with ``result`` after the last.

        Raises:
            InputError: the prompt or an option does not fit the engine, or it has no tokenizer and so no text.
        """
        if self.codec is None:
            raise InputError("the engine has no tokenizer, so there is no text to stream", fix="Use generate.")
        return Stream(self._shared, self._shared.submit([self.request(prompt, **options)])[0])

    def batch(self, prompts: Iterable[Prompt], /, **options: Unpack[Options]) -> list[Result]:
        """Decode several prompts together; more than the engine has rows for join as others end.

        Args:
            options: of every prompt that is not a whole request; those of a prompt that is a dict win over them.

        Returns:
            A result per prompt, in their order. One that ended by an error has ``error`` set, and does not end the
            others; ``result.or_raise()`` raises it.

        Raises:
            InputError: one of them does not fit the engine. None is decoded then.
            OperationError: the engine failed.
        """
        if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable):
            raise InputError("batch takes a list of prompts", fix="For one prompt use engine.generate(prompt).")
        requests = []
        for number, prompt in enumerate(prompts):
            try:
                beside = {} if isinstance(prompt, Request) else options
                requests.append(self.decoder.resolved(make_request(prompt, beside, self.codec)))
            except InputError as error:
                raise InputError(f"prompts[{number}]: {error.what}", details=error.details, fix=error.fix) from error
        tickets = self._shared.submit(requests)
        try:
            return [self._shared.finish(ticket) for ticket in tickets]
        finally:
            for ticket in tickets:
                ticket.dropped = True

    def request(self, prompt: Prompt | None = None, /, **options: Unpack[Options]) -> Request:
        """A request for :meth:`generate`, :meth:`stream` or :meth:`batch`, its prompt as token ids.

        Raises:
            InputError: the prompt or an option cannot be used, or the engine is closed.
        """
        self._check_open()
        return make_request(prompt, options, self.codec)

    @property
    def info(self) -> EngineInfo:
        """Backend, precision, limits and the model's configuration."""
        return self._info

    @property
    def modes(self) -> tuple[ModeName, ...]:
        """The decoding modes that the engine has."""
        return modes_of(self._info)

    @property
    def decoder(self) -> Batch:
        """The batch itself, for those who drive it alone. Not together with the methods that decode.

        Raises:
            InputError: the engine is closed.
        """
        return self._check_open()

    @property
    def session(self) -> Session:
        """The forwards below the decoder. Not together with the methods that decode."""
        return self.decoder.session

    def _check_open(self) -> Batch:
        if self._batch is None:
            raise InputError(f"the engine in {self.folder.path} is closed", fix="Open it again with Engine.open.")
        return self._batch

    def close(self) -> None:
        """Let go of the engine's memory. What is being decoded ends; a second call does nothing."""
        self._batch = None
        self._shared.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info, name = self._info, self.folder.manifest.model["name"]
        limits = info.limits
        return (
            f"<Engine {name}, {info.backend} {info.precision}: {', '.join(self.modes)}; up to {limits.max_batch_size} "
            f"requests of {limits.max_seq_len} tokens, blocks of {limits.max_block_length}"
            f"{', closed' if self._batch is None else ''}>"
        )
