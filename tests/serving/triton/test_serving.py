# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A real Triton server with the model: what clients see."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.model.text.codec import Codec
from nld_trt.serving.triton.client import stream
from tests.serving.conftest import LONG, wait_until

pytestmark = pytest.mark.triton

PROMPT = "Convert 37 km to m."
MODES = ("ar", "diffusion", "linear")


@pytest.mark.parametrize("mode", MODES)
def test_grpc_stream_equals_direct_decoding(server, direct, mode) -> None:
    expected = direct(PROMPT, mode=mode, max_tokens=60)
    chunks = server.ask(text_input=PROMPT, mode=mode, max_tokens=60)
    last = chunks[-1]
    assert len(chunks) > 1
    assert "".join(chunk.text for chunk in chunks) == expected.text
    assert sum(chunk.tokens for chunk in chunks) == len(expected.output_ids)
    assert (last.mode, last.finish_reason, last.nfe) == (mode, expected.finish_reason, expected.nfe)
    assert last.tokens_per_forward == pytest.approx(expected.tokens_per_forward)
    assert last.acceptance_length == pytest.approx(expected.acceptance_length)


@pytest.mark.parametrize("mode", MODES)
def test_generate_stream_equals_direct_decoding(server, direct, mode) -> None:
    expected = direct(PROMPT, mode=mode, max_tokens=60)
    events = server.generate_stream(text_input=PROMPT, mode=mode, max_tokens=60, stream=True)
    assert len(events) > 1
    assert "".join(event["text_output"] for event in events) == expected.text
    assert events[-1]["finish_reason"] == expected.finish_reason
    assert events[-1]["nfe"] == expected.nfe


def test_without_stream_there_is_one_response(server, direct) -> None:
    expected = direct(PROMPT, max_tokens=40)
    (chunk,) = server.ask(text_input=PROMPT, max_tokens=40, stream=False)
    status, text = server.post("/v2/models/nld/generate", {"text_input": PROMPT, "max_tokens": 40})
    assert chunk.text == expected.text
    assert (status, json.loads(text)["text_output"]) == (200, expected.text)


def test_messages_over_grpc_and_http_equal_direct_decoding(server, direct, served_engine) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": PROMPT},
    ]
    ids = list(Codec.open(served_engine.path).encode_chat(turns))
    expected = direct(ids, max_tokens=40)
    options = {"max_tokens": 40, "chat_template_kwargs": {"enable_thinking": False}, "tools": None}
    assert "".join(chunk.text for chunk in server.ask(messages=turns, **options)) == expected.text
    body = {"messages": json.dumps(turns), "max_tokens": 40, "tools": "[]"}
    status, text = server.post("/v2/models/nld/generate", body)
    assert (status, json.loads(text)["text_output"]) == (200, expected.text)


def test_messages_that_are_none_are_a_bad_request(server) -> None:
    status, text = server.post("/v2/models/nld/generate", {"messages": "[" * 5000})
    assert status == 400
    assert "messages is" in text


def test_ids_in_give_ids_out(server, direct) -> None:
    ids = [20, 30, 40]
    chunks = server.ask(input_ids=ids, max_tokens=30, mode="ar")
    assert [token for chunk in chunks for token in chunk.output_ids] == direct(ids, mode="ar", max_tokens=30).output_ids


@pytest.mark.parametrize("mode", MODES)
def test_sampled_answer_equals_direct_decoding_with_its_seed(server, direct, mode) -> None:
    """2^62 + 1 has no float of its own."""
    options = {"mode": mode, "temperature": 4.0, "seed": 2**62 + 1, "max_tokens": 40}
    if mode != "diffusion":
        options["top_p"] = 0.95
    expected = direct(PROMPT, **options)
    chunks = server.ask(text_input=PROMPT, **options)
    assert "".join(chunk.text for chunk in chunks) == expected.text != direct(PROMPT, mode=mode, max_tokens=40).text
    assert chunks[-1].seed == expected.seed == 2**62 + 1
    events = server.generate_stream(text_input=PROMPT, stream=True, **options)
    assert "".join(event["text_output"] for event in events) == expected.text
    (fresh,) = server.ask(text_input=PROMPT, stream=False, **{**options, "seed": None})
    assert fresh.text == direct(PROMPT, **{**options, "seed": fresh.seed}).text


def test_stop_words_as_a_json_list(server, direct) -> None:
    text = direct(PROMPT, mode="ar", max_tokens=60, eos_token_id=-1).text
    stop = text[20:24]
    events = server.generate_stream(
        text_input=PROMPT, mode="ar", max_tokens=60, stream=True, ignore_eos=True, stop_words=["\u0000never", stop]
    )
    assert "".join(event["text_output"] for event in events) == text[: text.index(stop)]
    assert events[-1]["finish_reason"] == "stop"


def test_clients_at_the_same_time_get_what_each_gets_alone(server, direct) -> None:
    asked = [(f"{PROMPT} {index}", MODES[index % 3], 30 + index) for index in range(8)]
    answers: dict[int, str] = {}

    def ask(index: int) -> None:
        prompt, mode, tokens = asked[index]
        answers[index] = "".join(c.text for c in server.ask(text_input=prompt, mode=mode, max_tokens=tokens))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {
        index: direct(prompt, mode=mode, max_tokens=tokens).text for index, (prompt, mode, tokens) in enumerate(asked)
    }


def test_request_as_the_openai_front_end_sends_it(server, direct) -> None:
    """Shapes [1, 1], a stop list [1, n], every parameter of theirs; one response with one string and UINT32 counts."""
    import tritonclient.grpc as grpc

    values = {
        "text_input": np.array([[PROMPT.encode()]], dtype=object),
        "stream": np.bool_([[False]]),
        "max_tokens": np.int32([[16]]),
        "stop_words": np.array([[b"\x00x", b"\x00y"]], dtype=object),
        "top_p": np.float32([[1.0]]),
        "frequency_penalty": np.float32([[0.0]]),
        "presence_penalty": np.float32([[0.0]]),
        "seed": np.uint64([[7]]),
        "temperature": np.float32([[0.7]]),
    }
    types = {"object": "BYTES", "bool": "BOOL", "int32": "INT32", "float32": "FP32", "uint64": "UINT64"}
    tensors = []
    for name, array in values.items():
        tensors.append(grpc.InferInput(name, list(array.shape), types[array.dtype.name]))
        tensors[-1].set_data_from_numpy(array)
    results = []
    done = threading.Event()

    def receive(result, error) -> None:
        results.append((result, error))
        done.set()

    with grpc.InferenceServerClient(server.triton.grpc_url) as client:
        client.start_stream(receive)
        client.async_stream_infer("nld", tensors)
        assert done.wait(30)
        client.stop_stream()
    ((result, error),) = results
    assert error is None
    assert result.as_numpy("text_output").tolist() == [
        direct(PROMPT, max_tokens=16, temperature=0.7, seed=7).text.encode()
    ]
    assert result.as_numpy("num_output_tokens").dtype == result.as_numpy("num_input_tokens").dtype == np.uint32


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text_input": PROMPT, "mode": "fast"}, "mode is 'fast'; supported: ar, diffusion, linear"),
        ({"text_input": ""}, "text_input is empty"),
        ({"text_input": "long " * 600}, "the engine was built for 512"),
        ({"text_input": PROMPT, "max_tokens": 511}, "max_tokens is 511"),
        ({"text_input": PROMPT, "temperature": -1.0}, "temperature is -1.0; it must be from 0"),
        ({"text_input": PROMPT, "presence_penalty": 1.0}, "presence_penalty is 1; only 0 is supported"),
    ],
)
def test_bad_request_is_refused_by_name_and_the_server_goes_on(server, body, message) -> None:
    status, text = server.post("/v2/models/nld/generate_stream", body)
    assert (status, message in text) == (400, True), text
    with pytest.raises(OperationError) as caught:
        server.ask(**body)
    assert message in str(caught.value)
    assert server.ask(text_input=PROMPT, max_tokens=3)[-1].finish_reason == "length"


@pytest.mark.parametrize(
    "extra",
    [
        {"bad_words": "", "stop_words": ""},
        {"stop_words": [""], "pad_id": 2, "end_id": 2},
        {"stop_words": [], "beam_width": 1, "return_log_probs": False, "random_seed": 0, "temperature": 0},
    ],
)
def test_request_as_tensorrt_llm_s_readme_sends_it(server, direct, extra) -> None:
    status, text = server.post("/v2/models/nld/generate", {"text_input": PROMPT, "max_tokens": 20, **extra})
    assert status == 200, text
    assert json.loads(text)["text_output"] == direct(PROMPT, max_tokens=20).text


def test_parameter_that_the_model_cannot_follow_is_refused_by_name(server) -> None:
    status, text = server.post("/v2/models/nld/generate", {"text_input": PROMPT, "bad_words": "metre"})
    assert (status, "bad_words is 'metre'" in text) == (400, True), text


def test_shape_that_the_model_has_not_is_refused_by_triton(server) -> None:
    status, text = server.post("/v2/models/nld/generate_stream", {"text_input": ["a", "b"]})
    assert status == 400
    assert "text_input" in text


def test_plain_infer_is_refused_as_documented(server) -> None:
    body = {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}
    status, text = server.post("/v2/models/nld/infer", body)
    assert status == 501
    assert "doesn't support models with decoupled transaction policy" in text


def cancelled(server) -> float:
    return server.total("nld_requests_total", finish_reason="cancelled")


def tokens_stop(server) -> bool:
    """Whether nothing is decoded any more, well before the request's end."""
    wait_until(lambda: server.total("nld_live_rows") == 0)
    return server.total("nld_live_rows") == 0


def test_closing_a_grpc_stream_cancels_the_generation(server) -> None:
    before, tokens = cancelled(server), server.total("nld_tokens_total")
    chunks = stream(server.triton.grpc_url, text_input=PROMPT, **LONG)
    next(chunks)
    chunks.close()
    assert wait_until(lambda: cancelled(server) == before + 1)
    assert tokens_stop(server)
    assert server.total("nld_tokens_total") - tokens < 400


def test_dropping_an_http_connection_cancels_the_generation(server) -> None:
    before, tokens = cancelled(server), server.total("nld_tokens_total")
    connection = http.client.HTTPConnection("127.0.0.1", server.triton.ports.http, timeout=120)
    connection.request(
        "POST", "/v2/models/nld/generate_stream", json.dumps({"text_input": PROMPT, "stream": True, **LONG})
    )
    response = connection.getresponse()
    assert response.fp is not None
    response.fp.readline()
    response.close()
    connection.close()
    assert wait_until(lambda: cancelled(server) == before + 1)
    assert tokens_stop(server)
    assert server.total("nld_tokens_total") - tokens < 400


@pytest.mark.parametrize("streams", [True, False])
def test_killing_a_client_cancels_its_generation(server, streams) -> None:
    before = cancelled(server)
    inputs = {"text_input": PROMPT, "stream": streams, **LONG}
    code = f"from nld_trt.serving.triton.client import stream; list(stream({server.triton.grpc_url!r}, **{inputs!r}))"
    client = subprocess.Popen([sys.executable, "-c", code])
    assert wait_until(lambda: server.total("nld_live_rows") == 1)
    client.kill()
    client.wait()
    assert wait_until(lambda: cancelled(server) == before + 1)


def test_metrics_count_an_answer(server) -> None:
    before = server.metrics()
    (chunk,) = server.ask(text_input=PROMPT, mode="linear", max_tokens=20, stream=False)

    def grown(series: str) -> float:
        return server.metrics().get(series, 0.0) - before.get(series, 0.0)

    labels = '{mode="linear",model="nld"}'
    assert wait_until(lambda: grown(f"nld_request_latency_seconds_count{labels}") == 1)
    rounds = grown('nld_rounds_total{model="nld"}')
    assert grown('nld_tokens_total{mode="linear",model="nld"}') == chunk.tokens
    assert grown('nld_forwards_total{kind="verify",mode="linear",model="nld"}') == rounds > 0
    assert grown('nld_forwards_total{kind="draft",mode="linear",model="nld"}') == rounds
    assert grown('nld_accepted_tokens_total{model="nld"}') >= chunk.tokens - 1
    assert grown('nld_prompt_tokens_total{model="nld"}') == chunk.num_input_tokens
    for name in ("request_queue_seconds", "time_to_first_token_seconds", "inter_token_latency_seconds"):
        assert grown(f"nld_{name}_count{labels}") == 1
    assert grown(f"nld_acceptance_length_sum{labels}") == pytest.approx(chunk.acceptance_length, rel=1e-6)


def test_client_says_when_nobody_answers() -> None:
    with pytest.raises(OperationError, match=r"no Triton server answers at 127\.0\.0\.1:9"):
        list(stream("127.0.0.1:9", text_input="a", timeout=20))


@pytest.mark.parametrize(
    ("url", "inputs", "message"),
    [
        ("http://localhost:8000", {"text_input": "a"}, "the client speaks gRPC"),
        ("localhost", {"text_input": "a"}, "is not an address"),
        ("localhost:8001", {"txt": "a"}, "the model has no input 'txt'"),
        ("localhost:8001", {"text_input": "a", "max_tokens": 2**40}, "max_tokens is"),
    ],
)
def test_client_refuses_what_it_cannot_send(url, inputs, message) -> None:
    with pytest.raises(InputError, match=message):
        list(stream(url, **inputs))


def test_client_names_a_model_that_is_not_there(server) -> None:
    with pytest.raises(InputError, match="other"):
        list(stream(server.triton.grpc_url, model="other", text_input="a"))
