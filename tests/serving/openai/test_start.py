# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Addresses, files of keys, and limits that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from asyncio import base_events

import pytest

from nld_trt.cli import run
from nld_trt.errors import InputError
from nld_trt.serving.openai import metrics
from nld_trt.serving.openai.auth import Keys
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.usage import speculation


def test_port_that_is_taken_is_told_at_once() -> None:
    first = Listener()
    first.socket.listen()
    with pytest.raises(InputError, match=f"port {first.port} of 127.0.0.1 cannot be used"):
        Listener(port=first.port)
    first.close()


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_only_loopback_is_local(host: str, local: bool) -> None:
    listener = Listener(host)
    assert listener.is_local is local
    assert listener.url.endswith(f":{listener.port}")
    listener.close()


def test_pieces_of_an_answer_are_sent_at_once() -> None:
    """asyncio switches Nagle's algorithm off for connections that it knows to be TCP, and only for those."""
    listener = Listener()
    listener.socket.listen()
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10):
        accepted, _ = listener.socket.accept()
        with accepted:
            base_events._set_nodelay(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listener.close()


def test_port_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="between 0 and 65535"):
        Listener(port=70000)


def test_file_of_keys(tmp_path) -> None:
    path = tmp_path / "keys"
    path.write_text("# ours\n\none \nzwei\n", encoding="utf-8")
    keys = Keys.read(path)
    keys.check("Bearer one")
    keys.check("bearer zwei")
    assert not Keys.read(None)


@pytest.mark.parametrize("content", [None, "", "# nothing\n", b"\xff"], ids=str)
def test_file_without_a_key_is_refused(tmp_path, content) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match="keys"):
        Keys.read(path)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_0(value: float) -> None:
    with pytest.raises(InputError, match="timeout"):
        Limits(timeout=value)


def test_drafts_of_no_token() -> None:
    """A block of one token has none to accept."""
    assert speculation((3,))["draft_acceptance_rate"] == 0.0


def test_documentation_has_the_metrics(root) -> None:
    page = (root / "docs" / "serving.md").read_text(encoding="utf-8")
    assert f"<!-- front metrics -->\n{metrics.markdown_table()}\n<!-- /front metrics -->" in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--api-key-file", "{keys}"], "Add --openai-port PORT"),
        (["--openai-port", "0", "--print"], "nld-trt front"),
        (["--openai-port", "0", "--api-key-file", "{folder}/none"], "cannot be read"),
        (["--openai-port", "70000"], "between 0 and 65535"),
    ],
)
def test_serve_refuses_before_it_starts_triton(tmp_path, capsys, flags: list[str], message: str) -> None:
    (tmp_path / "keys").write_text("secret\n", encoding="utf-8")
    model = tmp_path / "repository" / "nld"
    model.mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "nld"\n', encoding="utf-8")
    given = [flag.format(keys=tmp_path / "keys", folder=tmp_path) for flag in flags]
    assert run(["serve", str(model.parent), *given]) == 2
    assert message in capsys.readouterr().err


def test_command_answers_without_triton_and_stops_well() -> None:
    """Triton may be started later: until then the front says that it is not ready."""
    unused = Listener()
    command = [sys.executable, "-m", "nld_trt", "-q", "front", "--triton", f"127.0.0.1:{unused.port}", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{told['url']}/health/live", timeout=30) as response:
            assert response.status == 200
        with pytest.raises(urllib.error.HTTPError, match="503"):
            opener.open(f"{told['url']}/health/ready", timeout=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        unused.close()
