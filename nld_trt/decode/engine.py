# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An engine folder, opened for decoding."""

from __future__ import annotations

import os
from pathlib import Path

from nld_trt.decode.batch import Decoder
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec


class Engine:
    """An engine folder, opened for decoding.

    Attributes:
        folder: the engine folder and its manifest.
        codec: tokenizer and chat templates; None without a tokenizer.
    """

    def __init__(self, folder: EngineFolder, session: Session, codec: Codec | None) -> None:
        self.folder = folder
        self.codec = codec
        self._info = session.info
        self._decoder: Decoder | None = Decoder(session, codec)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str] | EngineFolder,
        *,
        backend: str | None = None,
        chat_template: str | os.PathLike[str] | None = None,
    ) -> Engine:
        """Verify an engine folder and start it.

        Args:
            folder: what ``nld-trt build`` wrote.
            backend: None means the first of the engine's backends that this machine can run.
            chat_template: name of one of the engine's templates, or path of a Jinja file; None means the engine's own.

        Raises:
            InputError: it is no engine folder, was changed, or none of its backends runs here.
            OperationError: the backend could not load the engine.
        """
        if not isinstance(folder, EngineFolder):
            folder = EngineFolder.open(Path(folder))
        # Before the session, whose opening takes longer and needs nothing of this.
        codec = Codec.open(folder.path, None if chat_template is None else os.fspath(chat_template))
        return cls(folder, folder.open_session(backend), codec)

    @property
    def info(self) -> EngineInfo:
        """Backend, precision, limits and the model's configuration."""
        return self._info

    @property
    def decoder(self) -> Decoder:
        """The batch of requests.

        Raises:
            InputError: the engine is closed.
        """
        if self._decoder is None:
            raise InputError(f"the engine in {self.folder.path} is closed", fix="Open it again with Engine.open.")
        return self._decoder

    @property
    def session(self) -> Session:
        """The forwards below the decoder."""
        return self.decoder.session

    def close(self) -> None:
        """Let go of the engine's memory; a second call does nothing."""
        self._decoder = None
