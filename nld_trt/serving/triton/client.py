# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A client of the served model, which sends one request over gRPC and yields its responses as they arrive."""

from __future__ import annotations

import ipaddress
import json
import os
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nld_trt import names
from nld_trt.errors import InputError, NldError, OperationError
from nld_trt.files.json_text import check_plain
from nld_trt.optional import require
from nld_trt.serving.triton.tensors import INPUTS, OUTPUTS

# One year, in seconds.
_LONGEST_DEADLINE = 31_536_000.0
# Triton's message for a model that it does not have. Errors on a stream have no status: the header triton_grpc_error,
# which requests one, crashes Triton 2.51 (docs/serving.md).
_NO_SUCH_MODEL = "Request for unknown model"


@dataclass(frozen=True)
class Chunk:
    """One response. Only the last one has the statistics.

    Attributes:
        tokens: number of tokens that this chunk adds.
        output_ids: the ids of these tokens, in answers to ``input_ids``.
        finish_reason: empty until the last chunk.
        mode_tokens, mode_switches, mode_reason: auto: tokens by the mode that made them, an object in JSON, how often
            mode or block length have changed, and why they last did.
        acceptance_histogram: number of verified drafts of which 0, 1, 2, … tokens were accepted.
        cached_tokens: tokens of the prompt that were not computed again; None if the server does not say.
    """

    text: str
    tokens: int
    finish_reason: str
    mode: str
    num_input_tokens: int
    output_ids: tuple[int, ...] = ()
    tokens_per_forward: float | None = None
    acceptance_length: float | None = None
    nfe: int | None = None
    seed: int | None = None
    acceptance_histogram: tuple[int, ...] = ()
    mode_tokens: str | None = None
    mode_switches: int | None = None
    mode_reason: str | None = None
    cached_tokens: int | None = None


def stream(
    url: str,
    *,
    model: str = names.DEFAULT_MODEL_NAME,
    timeout: float = names.DEFAULT_CLIENT_TIMEOUT,
    deadline: float | None = None,
    **inputs: Any,
) -> Iterator[Chunk]:
    """Send one request and yield its responses. Closing the generator early cancels the request on the server.

    >>> for chunk in stream("localhost:8001", text_input="Hello", mode="linear"):  # doctest: +SKIP
    ...     print(chunk.text, end="")

    Args:
        url: the server's gRPC address, ``host:port``.
        timeout: longest time to wait for a response, in seconds.
        deadline: seconds until the answer must be complete. The server refuses a request that would wait longer, and
            ends one that takes longer, with the reason.
        inputs: input tensors by name, as plain values; those that are None are left out. Inputs in JSON, such as
            ``messages``, can be given as text or as the value.

    Raises:
        InputError: the model has no input of this name, the address is not a gRPC address, the timeout or deadline is
            not above 0, or the server does not have the model.
        OperationError: the server cannot be reached, takes longer than ``timeout``, or reports an error.
    """
    grpc = require("tritonclient.grpc", wanted_by="client")
    address = grpc_address(url)
    given = {"stream": True, **{name: value for name, value in inputs.items() if value is not None}}
    tensors = [input_tensor(grpc, name, value) for name, value in given.items()]
    _check_seconds("timeout", timeout)
    limit = microseconds(deadline)
    responses: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    client = grpc.InferenceServerClient(address, channel_args=channel_options(address))
    finished = False
    try:
        client.start_stream(lambda result, error: responses.put((result, error)))
        _send(client, model, tensors, limit)
        while not finished:
            result, error = _next(responses, address, timeout)
            if error is not None:
                finished = True
                raise _failure(error, address, model)
            finished = result.get_response().parameters["triton_final_response"].bool_param
            chunk = read_response(result)
            if chunk is not None:
                yield chunk
    finally:
        client.stop_stream(cancel_requests=not finished)
        client.close()


def grpc_address(url: str) -> str:
    """Returns ``HOST:PORT`` of an address that a user gave. Raises InputError if it is not one of gRPC."""
    scheme, mark, rest = url.rpartition("://")
    if mark and scheme != "grpc":
        raise InputError(
            f"{url} is an address for {scheme}; the client speaks gRPC",
            fix="Give the server's gRPC port, by default: nld-trt client localhost:8001 ...",
        )
    host, _, port = rest.rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"{url!r} is not an address; give HOST:PORT, such as localhost:8001")
    return f"{host}:{port}"


def input_tensor(grpc: Any, name: str, value: Any) -> Any:
    """Make an input of tritonclient from a plain value. Raises InputError if the model has no such input or type."""
    import numpy as np

    if name not in INPUTS:
        raise InputError(f"the model has no input {name!r}; it has {', '.join(INPUTS)}")
    tensor = INPUTS[name]
    values = list(value) if tensor.many else [value]
    if tensor.json:
        values = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in values]
    if tensor.dtype == "STRING":
        for text in values:
            check_plain(name, text)
        values = [text.encode() for text in values]
    dtype = np.dtype(tensor.numpy_type)
    # NumPy 1 wraps integers that are too large, and only warns about it.
    if dtype.kind in "iu" and not all(np.iinfo(dtype).min <= number <= np.iinfo(dtype).max for number in values):
        raise InputError(f"{name} is {value!r}, which does not fit the type {tensor.dtype}")
    array = np.array([values], dtype=dtype)
    sent = grpc.InferInput(name, list(array.shape), tensor.wire_type)
    sent.set_data_from_numpy(array)
    return sent


def microseconds(deadline: float | None) -> int | None:
    """Convert a deadline to microseconds, which is Triton's unit."""
    if deadline is None:
        return None
    _check_seconds("deadline", deadline)
    return round(deadline * 1e6)


def _check_seconds(name: str, seconds: float) -> None:
    if not 1e-6 <= seconds <= _LONGEST_DEADLINE:
        raise InputError(f"the {name} is {seconds:g} s; it must be above 0 and at most {_LONGEST_DEADLINE:g}")


def channel_options(address: str) -> list[tuple[str, int]]:
    """Returns gRPC's options for a channel to a server."""
    # Messages may have any length, which is what tritonclient sets where no options are given.
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    # gRPC uses the proxy of the environment even for addresses of this machine, so it is switched off for these.
    return [*options, ("grpc.enable_http_proxy", 0)] if is_loopback(address) else options


def is_loopback(address: str) -> bool:
    """Whether ``HOST:PORT`` is an address of this machine, which no proxy reaches."""
    host = address.rpartition(":")[0].strip("[]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    # 0.0.0.0 and ::, which servers listen on, reach the same machine.
    return ip.is_loopback or ip.is_unspecified


def _proxy() -> str | None:
    """Returns the proxy that gRPC would use, with the variable that sets it, or None."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        if os.environ.get(name):
            return f"{name}={os.environ[name]}"
    return None


def _send(client: Any, model: str, tensors: list[Any], timeout: int | None) -> None:
    from tritonclient.utils import InferenceServerException

    try:
        client.async_stream_infer(model, tensors, enable_empty_final_response=True, timeout=timeout)
    except InferenceServerException:
        # The stream is broken already, and its error arrives as a response.
        pass


def _next(responses: queue.SimpleQueue[tuple[Any, Any]], address: str, timeout: float) -> tuple[Any, Any]:
    try:
        return responses.get(timeout=timeout)
    except queue.Empty:
        raise OperationError(
            f"no response from {address} within {timeout:g} s; the request was cancelled",
            fix="Raise --timeout if the server is busy or slow.",
        ) from None


def _failure(error: Any, address: str, model: str) -> NldError:
    text = str(error.message())
    if "UNAVAILABLE" in str(error.status()):
        proxy = None if is_loopback(address) else _proxy()
        host = address.rpartition(":")[0]
        return OperationError(
            f"no Triton server answers at {address}: {text}",
            details=[f"gRPC uses the proxy of {proxy}; to go without it: no_proxy={host}"] if proxy else (),
            fix="Start one with nld-trt serve REPO_DIR, and give its gRPC address.",
        )
    # Triton adds this prefix to its messages.
    message = text.replace("[request id: <id_unknown>] ", "")
    kind = InputError if message.startswith(_NO_SUCH_MODEL) else OperationError
    return kind(f"the server at {address} did not serve the request to {model}: {message}")


def read_response(result: Any) -> Chunk | None:
    """Read a response. Returns None for the empty one that only marks the end."""
    values = {name: array.tolist() for name in OUTPUTS if (array := result.as_numpy(name)) is not None}
    if not values:
        return None
    single = {name: items[0] for name, items in values.items() if not OUTPUTS[name].many}
    return Chunk(
        text=single["text_output"].decode(),
        tokens=single.get("num_output_tokens", 0),
        finish_reason=single["finish_reason"].decode(),
        mode=single["mode"].decode(),
        num_input_tokens=single.get("num_input_tokens", 0),
        output_ids=tuple(values.get("output_ids", ())),
        tokens_per_forward=single.get("tokens_per_forward"),
        acceptance_length=single.get("acceptance_length"),
        nfe=single.get("nfe"),
        seed=single.get("seed"),
        acceptance_histogram=tuple(values.get("acceptance_histogram", ())),
        mode_tokens=_text(single.get("mode_tokens")),
        mode_switches=single.get("mode_switches"),
        mode_reason=_text(single.get("mode_reason")),
        cached_tokens=single.get("cached_tokens"),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
