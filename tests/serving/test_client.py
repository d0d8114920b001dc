# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How the client reaches a server: proxies of the environment, and addresses that need none."""

from __future__ import annotations

import pytest

from nld_trt.cli import run
from nld_trt.errors import OperationError
from nld_trt.serving.triton.client import channel_options, stream

# Nobody listens there, so what goes through it fails.
PROXY = "http://127.0.0.1:9"
VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def proxied(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, PROXY)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.triton
@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0"])
def test_server_on_this_machine_is_reached_past_the_proxy(server, capsys, host) -> None:
    """The server listens on 127.0.0.1 alone: 127.0.0.2 finds nobody, at the right place."""
    url = f"{host}:{server.triton.ports.grpc}"
    status = run(["client", url, "Convert 37 km to m.", "--max-new-tokens", "3", "--timeout", "60"])
    err = capsys.readouterr().err
    assert status == (1 if host == "127.0.0.2" else 0), err
    assert "127.0.0.1:9" not in err


@pytest.mark.parametrize(
    ("address", "direct"),
    [
        ("127.0.0.1:8001", True), ("localhost:8001", True), ("[::1]:8001", True), ("0.0.0.0:8001", True),
        ("LOCALHOST:8001", True), ("a.localhost:8001", True), ("127.1.2.3:8001", True), ("[::]:8001", True),
        ("192.0.2.1:8001", False), ("server:8001", False), ("localhost.example:8001", False),
        ("[2001:db8::1]:8001", False),
    ],
)  # fmt: skip
def test_only_loopback_addresses_go_past_the_proxy(address, direct) -> None:
    assert (("grpc.enable_http_proxy", 0) in channel_options(address)) == direct


@pytest.mark.usefixtures("proxied")
def test_failure_through_a_proxy_names_it_and_how_to_go_without() -> None:
    with pytest.raises(OperationError) as caught:
        list(stream("192.0.2.1:8001", text_input="a", timeout=60))
    assert f"grpc_proxy={PROXY}" in str(caught.value)
    assert "no_proxy=192.0.2.1" in str(caught.value)
