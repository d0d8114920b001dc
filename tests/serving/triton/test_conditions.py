# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What clients of a real server see when its engine fails, its queue is full, a model is replaced, the disk takes no
writing, or one of them does not read: as docs/serving.md says it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nld_trt.errors import OperationError
from nld_trt.serving.openai.link import TritonLink
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.triton.client import stream
from nld_trt.serving.triton.probe import ask_state
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.serving.command import Command
from tests.serving.conftest import Server, wait_until
from tests.serving.triton.streams import LASTING, Streams, get

pytestmark = [pytest.mark.triton, pytest.mark.slow]

# A model whose forwards fail as long as there is a file.
FAILING_MODEL = """
from pathlib import Path

from nld_trt.decode.batch import Batch
from nld_trt.serving.triton.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
step = Batch.step


def failing_step(batch):
    if Path({file!r}).exists():
        raise RuntimeError("the device is gone")
    return step(batch)


Batch.step = failing_step
"""


def change_settings(repository: Path, **values) -> None:
    file = repository / "nld" / "1" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def start(repository: Path, tmp_path: Path) -> TritonServer:
    return TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "server.log", timeout=300)


def test_engine_that_fails_ends_every_request_and_is_started_again(repository, tmp_path, direct) -> None:
    fault = tmp_path / "fault"
    (repository / "nld" / "1" / "model.py").write_text(FAILING_MODEL.format(file=str(fault)), encoding="utf-8")
    command = Command(repository, "--json", "--log-file", str(tmp_path / "server.log"))
    facts = command.facts()
    # The watchdog looks once a second, so the failure is over when the model is loaded again.
    streams = Streams(facts["grpc"], 10, **LASTING)
    streams.wait_until_open(8)
    fault.touch()
    ends = streams.wait_until_ended(15)
    fault.unlink()
    # Those that had joined have the failure itself; a server that is started again may have cut off the others.
    assert all("the decode loop failed" in end or "no Triton server answers" in end for end in ends)
    assert any("RuntimeError: the device is gone" in end for end in ends)

    def text() -> str | None:
        try:
            chunks = list(stream(facts["grpc"], text_input="Add 221 and 427.", max_tokens=20, mode="ar"))
        except OperationError:
            return None
        return "".join(chunk.text for chunk in chunks)

    assert wait_until(lambda: text() == direct("Add 221 and 427.", mode="ar", max_tokens=20).text)
    status, err = command.end(signal.SIGTERM)
    assert status == 0
    assert "the model cannot decode: the decode loop failed: RuntimeError: the device is gone" in err


def test_model_whose_decode_loop_has_ended_is_not_ready(repository, tmp_path) -> None:
    fault = tmp_path / "fault"
    (repository / "nld" / "1" / "model.py").write_text(FAILING_MODEL.format(file=str(fault)), encoding="utf-8")
    with start(repository, tmp_path) as triton:
        front = FrontServer(TritonLink(triton.grpc_url), ["nld"], Listener())
        with front:
            assert get(front.listener.url, "/health/ready") == 200
            fault.touch()
            with pytest.raises(
                OperationError, match="INTERNAL: the decode loop failed: RuntimeError: the device is gone"
            ):
                Server(triton).ask(text_input="hello")
            assert get(front.listener.url, "/health/ready") == 503
        assert get(triton.http_url, "/v2/models/nld/ready") == 200, "which is why the model is asked"
        state, words = ask_state("127.0.0.1", triton.ports.http, "nld", 10)
    assert (state, "the model cannot decode: the decode loop failed" in words) == ("ill", True)


def test_full_queue_refuses_at_once_and_is_counted(repository, tmp_path) -> None:
    change_settings(repository, max_waiting=2)
    with start(repository, tmp_path) as triton:
        server = Server(triton)
        streams = Streams(triton.grpc_url, 10)
        assert wait_until(lambda: server.total("nld_waiting_requests") == 2)
        with pytest.raises(OperationError, match="UNAVAILABLE: 2 requests are waiting"):
            server.ask(text_input="a")
        status, text = server.post("/v2/models/nld/generate", {"text_input": "a"})
        assert (status, "UNAVAILABLE: 2 requests are waiting" in text) == (400, True)
        assert wait_until(lambda: server.total("nld_refused_requests_total", reason="queue_full") == 2)
        assert streams.wait_until_ended(120) == ["length"] * 10


def test_reload_under_load_loses_nothing(repository, tmp_path) -> None:
    with start(repository, tmp_path) as triton:
        server = Server(triton)
        streams = Streams(triton.grpc_url, 10)
        streams.wait_until_open(8)
        settings = json.loads((repository / "nld" / "1" / "model.json").read_text(encoding="utf-8"))
        change_settings(repository, defaults=settings["defaults"] | {"mode": "ar"})
        assert server.post("/v2/repository/models/nld/load")[0] == 200
        assert server.ask(text_input="hello", max_tokens=4)[-1].mode == "ar"
        assert streams.wait_until_ended(120) == ["length"] * 10


def test_repository_on_a_disk_that_takes_no_writing(repository, tmp_path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.serving.conftest import Server\n"
        "from tests.serving.triton.test_conditions import start\n"
        "with start(Path(sys.argv[1]), Path(sys.argv[2])) as triton:\n"
        "    print(Server(triton).ask(text_input='hello', max_tokens=4)[-1].finish_reason)"
    )
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/nld/x" 2>/dev/null || exit 99'
    shell = ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$0" -c "$3" "$1" "$2"']
    try:
        ran = subprocess.run(
            [*shell, sys.executable, str(repository), str(tmp_path), code],
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no unshare, with which a folder becomes read-only")
    if ran.returncode == 99 or "unshare failed" in ran.stderr:
        pytest.skip("this user may not mount, which a read-only folder needs")
    assert (ran.returncode, ran.stdout) == (0, "length\n"), ran.stderr


def test_client_that_does_not_read_holds_up_nobody_and_loses_nothing(server, direct) -> None:
    question = {"input_ids": [1, 5, 6], "max_tokens": 500, "mode": "ar", "ignore_eos": True, "stream": True}
    body = json.dumps(question).encode()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.triton.ports.http))
        head = f"POST /v2/models/nld/generate_stream HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        slow.sendall(head.encode() + body)
        assert wait_until(lambda: server.total("nld_live_rows") == 1)
        text = "".join(chunk.text for chunk in server.ask(text_input="Add 221 and 427.", max_tokens=20, mode="ar"))
        assert text == direct("Add 221 and 427.", mode="ar", max_tokens=20).text
        # Its answer is decoded to the end although nobody reads it, and is there when somebody does.
        assert wait_until(lambda: server.total("nld_live_rows") == 0)
        response = http.client.HTTPResponse(slow)
        response.begin()
        events = [json.loads(line.removeprefix(b"data: ")) for line in response.read().splitlines() if line]
    assert [token for event in events for token in as_list(event["output_ids"])] == list(
        direct([1, 5, 6], mode="ar", max_tokens=500, eos_token_id=-1).tokens
    )


def as_list(value: int | list[int]) -> list[int]:
    """A list of one value is written as the value."""
    return value if isinstance(value, list) else [value]
