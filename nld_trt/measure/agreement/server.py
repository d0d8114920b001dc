# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks OpenAI's API, asked for greedy answers in the ways that it offers."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from nld_trt.errors import InputError, OperationError, shortened

COMPLETIONS: Final = "/v1/completions"
CHAT: Final = "/v1/chat/completions"
MODELS: Final = "/v1/models"
# Statuses by which servers say that they do not take a field, or have no such path.
_FIELD_REFUSED: Final = (400, 422)
_NO_PATH: Final = (404, 405, 501)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        stopped: it ended by itself, and not at the limit of tokens.
        prompt_tokens: as the server counts them; None if it does not.
        logprobs: natural logarithms of the probabilities of its tokens; None if the server does not tell them.
    """

    text: str
    stopped: bool
    prompt_tokens: int | None
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Form:
    """A way to ask for the continuation of a text.

    Attributes:
        ids: the prompt is sent as token ids, so that the server's tokenizer has no part in it.
        logprobs: log-probabilities are asked for.
    """

    ids: bool
    logprobs: bool

    def __str__(self) -> str:
        return f"{'token ids' if self.ids else 'text'}{', with log-probabilities' if self.logprobs else ''}"


# The form that says most comes first.
FORMS: Final = tuple(Form(ids, logprobs) for ids in (True, False) for logprobs in (True, False))


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OpenAIServer:
    """The server at ``url``, such as ``http://localhost:8000``; ``/v1`` at its end is left out.

    Args:
        model: its model's name; None for the first that it lists.
        timeout: longest time to wait for an answer, in seconds.

    Raises:
        InputError: ``url`` is no address of an HTTP server, or there is no model to ask.
        OperationError: the server does not answer.
    """

    def __init__(self, url: str, *, model: str | None = None, api_key: str | None = None, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is not the address of an HTTP server; give one such as http://localhost:8000")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        # The environment may name a proxy, which does not know this machine's own addresses.
        loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
        handlers = [urllib.request.ProxyHandler({})] if loopback else []
        self._opener = urllib.request.build_opener(*handlers)
        self.model = self._first_model() if model is None else model
        self._form: Form | None = None

    @property
    def form(self) -> Form | None:
        """How the server takes prompts of completions; None if it was not asked, or has none."""
        return self._form

    def complete(self, text: str, ids: Sequence[int], max_tokens: int) -> Reply | None:
        """Ask for the continuation of a text, in the first form that the server takes.

        Returns:
            The answer, or None if the server has no completions.

        Raises:
            OperationError: it refuses every form, or failed.
        """
        refusals = []
        for form in FORMS if self._form is None else (self._form,):
            asked = {"logprobs": 1} if form.logprobs else {}
            body = {"prompt": list(ids) if form.ids else text, "max_tokens": max_tokens, **asked}
            try:
                answer = self._ask(COMPLETIONS, body)
            except _Refused as refused:
                if refused.status in _NO_PATH and self._form is None:
                    return None
                if refused.status not in _FIELD_REFUSED:
                    raise self._failure(COMPLETIONS, refused) from refused
                refusals.append(f"{form}: {refused}")
                continue
            self._form = form
            return _reply(answer, _choice(answer, COMPLETIONS).get("text"), self.url)
        raise OperationError(f"{self.url}{COMPLETIONS} takes no prompt", details=refusals)

    def chat(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> Reply:
        """Ask for an answer to a conversation, which the server renders.

        Raises:
            OperationError: the server refuses it, or failed.
        """
        try:
            answer = self._ask(CHAT, {"messages": list(messages), "max_tokens": max_tokens})
        except _Refused as refused:
            raise self._failure(CHAT, refused) from refused
        message = _choice(answer, CHAT).get("message")
        text = message.get("content") if isinstance(message, dict) else None
        return _reply(answer, text or "", self.url)

    def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send(path, {"model": self.model, "temperature": 0, "stream": False, **body})

    def _send(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, self._headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise _Refused(error.code, _message(error)) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise OperationError(f"{self.url} does not answer: {reason}") from error
        except ValueError as error:
            raise OperationError(f"{self.url}{path} answers with something other than JSON") from error
        if not isinstance(answer, dict):
            raise OperationError(f"{self.url}{path} answers with {shortened(repr(answer))}, which is no object")
        return answer

    def _first_model(self) -> str:
        fix = "Name it: --model NAME"
        try:
            listed = self._send(MODELS).get("data")
        except _Refused as refused:
            raise InputError(f"{self.url}{MODELS} does not list its models: {refused}", fix=fix) from refused
        first = listed[0] if isinstance(listed, list) and listed else None
        name = first.get("id") if isinstance(first, dict) else None
        if not isinstance(name, str):
            raise InputError(f"{self.url}{MODELS} lists no model", fix=fix)
        return name

    def _failure(self, path: str, refused: _Refused) -> OperationError:
        return OperationError(f"{self.url}{path} answers with status {refused.status}: {refused}")


def _message(error: urllib.error.HTTPError) -> str:
    """What the body of an error says, in OpenAI's form or FastAPI's."""
    text = error.read().decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        return shortened(text)
    found = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    return str(found["message"] if isinstance(found, dict) and "message" in found else found)


def _choice(answer: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise OperationError(f"an answer of {path} has no choices: {shortened(repr(answer))}")
    return choice


def _reply(answer: Mapping[str, Any], text: Any, url: str) -> Reply:
    choice = answer["choices"][0]
    if not isinstance(text, str):
        raise OperationError(f"an answer of {url} has no text: {shortened(repr(choice))}")
    usage, logprobs = answer.get("usage"), choice.get("logprobs")
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    told = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    numbers = isinstance(told, list) and all(isinstance(value, int | float) for value in told)
    return Reply(
        text=text,
        stopped=choice.get("finish_reason") == "stop",
        prompt_tokens=counted if isinstance(counted, int) else None,
        logprobs=tuple(map(float, told)) if numbers and told else None,
    )
