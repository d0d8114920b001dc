# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The server that is measured, as an OpenAI-compatible endpoint: what it is, and whether it answers."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from nld_trt.errors import InputError, OperationError
from nld_trt.files.json_text import JsonError, parse_json

# Of every API's paths, which clients are often given with the address.
_API: Final = "/v1"
# Seconds for a question about the server, and for the first answer of a model.
_QUESTION_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 300.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Endpoint:
    """An address.

    Attributes:
        url: without the path of the API.
    """

    url: str

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an address.

        Raises:
            InputError: it is not one of HTTP.
        """
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise InputError(f"{text!r} is not an address of HTTP; give one such as http://localhost:9000")
        return cls(text.rstrip("/").removesuffix(_API))

    def models(self) -> list[str] | None:
        """Return the names of the served models, or None if the server is not an OpenAI-compatible one.

        Raises:
            InputError: nothing answers.
        """
        status, body = self.request(f"{_API}/models")
        listed = body.get("data") if status == 200 and isinstance(body, dict) else None
        if not isinstance(listed, list):
            return None
        return [str(each["id"]) for each in listed if isinstance(each, dict) and "id" in each]

    def complete(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Ask for a chat completion, and return the status and the JSON of the answer.

        Raises:
            InputError: nothing answers.
        """
        return self.request(f"{_API}/chat/completions", body, seconds=_ANSWER_SECONDS)

    def request(
        self, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = _QUESTION_SECONDS
    ) -> tuple[int, Any]:
        """Send a request, POST with a body, and return the status and the JSON of the answer, or None if it is none.

        Raises:
            InputError: nothing answers, or it is no server of HTTP.
            OperationError: it takes longer than ``seconds``.
        """
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        # The environment's proxy does not know addresses of this machine.
        local = urlsplit(self.url).hostname in _LOOPBACK
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
        try:
            with opener.open(asked, timeout=seconds) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())
        except TimeoutError as error:
            raise OperationError(f"the server at {self.url} did not answer {path} within {seconds:g} s") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"nothing answers at {self.url}: {reason}",
                fix="Start a server, such as: nld-trt serve REPO_DIR --openai-port 9000",
            ) from error


def refusal(status: int, body: Any) -> str:
    """Return why a server refused a request, in its own words if they are in OpenAI's form."""
    try:
        return "; ".join(str(body["error"]["message"]).split("\n"))
    except (KeyError, TypeError):
        return f"status {status}"


def _json(data: bytes) -> Any:
    try:
        return parse_json(data)
    except JsonError:
        return None
