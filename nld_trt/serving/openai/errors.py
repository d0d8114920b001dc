# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Errors in OpenAI's form: an object with a message, a type, a parameter and a code, under the right status."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from nld_trt.errors import InputError, NldError
from nld_trt.serving.errors import WAITING
from nld_trt.serving.triton.tensors import INPUTS

# Seconds after which a client may try again.
_RETRY_SECONDS: Final = 1


@dataclass(frozen=True)
class Kind:
    """One kind of error.

    Attributes:
        status: of the HTTP response.
        type, code: as OpenAI's object has them.
        retry: the response says when to try again.
    """

    status: int
    type: str
    code: str | None = None
    retry: bool = False


INVALID: Final = Kind(400, "invalid_request_error")
UNSUPPORTED: Final = Kind(400, "invalid_request_error", "unsupported_parameter")
TOO_LONG: Final = Kind(400, "invalid_request_error", "context_length_exceeded")
NO_KEY: Final = Kind(401, "invalid_request_error", "invalid_api_key")
NO_MODEL: Final = Kind(404, "invalid_request_error", "model_not_found")
NO_PATH: Final = Kind(404, "invalid_request_error", "unknown_url")
SLOW_BODY: Final = Kind(408, "invalid_request_error", "request_timeout")
TOO_LARGE: Final = Kind(413, "invalid_request_error", "request_too_large")
BUSY: Final = Kind(429, "rate_limit_error", "rate_limit_exceeded", retry=True)
INTERNAL: Final = Kind(500, "server_error")
UNAVAILABLE: Final = Kind(503, "server_error", "unavailable", retry=True)
TIMEOUT: Final = Kind(504, "server_error", "timeout")


class ApiError(NldError):
    """An error that a client gets."""

    def __init__(self, kind: Kind, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind.type, "param": self.param, "code": self.kind.code}}

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(_RETRY_SECONDS)} if self.kind.retry else {}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.kind is NO_KEY else {})


def of_input(error: InputError, param: str | None = None) -> ApiError:
    """The error for a value that was found to be wrong here."""
    return ApiError(INVALID, str(error), param=param)


# Messages of Triton and of the served model, which have no status on a gRPC stream. The first match is used.
_OF_SERVER: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (rf"^UNAVAILABLE: .*{WAITING}", BUSY),
        (r"^UNAVAILABLE: ", UNAVAILABLE),
        (r"^CANCELLED: ", TIMEOUT),
        (r"^INTERNAL: ", INTERNAL),
        # Triton's own messages.
        (r"Request for unknown model", NO_MODEL),
        (r"[Ss]tub process|is not ready|Server is stopping|[Uu]navailable", UNAVAILABLE),
        # The model's messages about the length.
        (r"the engine was built for|the engine can generate", TOO_LONG),
    )
)
# Names of OpenAI for inputs of the model that have others.
_PARAMS: Final = {"text_input": "prompt", "input_ids": "prompt", "stop_words": "stop"}
_PREFIX: Final = "[request id: <id_unknown>] "


def of_server(message: str) -> ApiError:
    """The error for a message of the Triton server. One that says nothing else is about the request."""
    message = message.replace(_PREFIX, "")
    kind = next((kind for pattern, kind in _OF_SERVER if pattern.search(message)), INVALID)
    first = re.match(r"\w+", message)
    name = first[0] if first and kind.status == INVALID.status and first[0] in INPUTS else None
    return ApiError(kind, message, param=None if name is None else _PARAMS.get(name, name))
