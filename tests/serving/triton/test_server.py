# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A real server's life: start, reload, failure, end. Nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.machine import installed
from nld_trt.names import DEFAULT_SERVED_MODE
from nld_trt.serving.triton import installation
from nld_trt.serving.triton import server as server_module
from nld_trt.serving.triton.repository import model_names
from nld_trt.serving.triton.server import FREE_PORTS, Ports, TritonServer, last_lines
from tests.serving.command import Command, group_lives, servers_of
from tests.serving.conftest import LONG, Server, wait_until

pytestmark = pytest.mark.triton


def shared_memory(pid: int) -> list[Path]:
    """The regions that a server shares with its models."""
    (option,) = [part for part in psutil.Process(pid).cmdline() if "shm-region-prefix-name=" in part]
    return list(Path("/dev/shm").glob(f"{option.partition('prefix-name=')[2]}*"))


def start(repository: Path, tmp_path: Path, **options) -> TritonServer:
    options = {"ports": FREE_PORTS, "log_file": tmp_path / "server.log", "timeout": 300, **options}
    return TritonServer(repository, **options)


def test_reload_and_end(repository, tmp_path) -> None:
    """One server for three things, since each start costs seconds."""
    with start(repository, tmp_path) as triton:
        server, group = Server(triton), triton.pid
        assert group_lives(group)
        assert server.ask(text_input="hello", max_tokens=4)[-1].mode == DEFAULT_SERVED_MODE

        settings = repository / "nld" / "1" / "model.json"
        values = json.loads(settings.read_text(encoding="utf-8"))
        values["defaults"]["mode"] = "ar"
        settings.write_text(json.dumps(values), encoding="utf-8")
        assert server.post("/v2/repository/models/nld/load")[0] == 200
        assert server.ask(text_input="hello", max_tokens=4)[-1].mode == "ar", "load takes the edited settings"

        assert server.post("/v2/repository/models/nld/unload")[0] == 200
        assert server.post("/v2/models/nld/generate", {"text_input": "hello"})[0] != 200
        assert wait_until(lambda: json.loads(server.post("/v2/repository/index")[1])[0]["state"] == "UNAVAILABLE")
        assert server.post("/v2/repository/models/nld/load")[0] == 200
        assert server.ask(text_input="hello", max_tokens=4)[-1].finish_reason == "length"

        # A request that is still open when the server is told to stop may end. The gauge may still count the one above.
        assert wait_until(lambda: server.total("nld_live_rows") == 0)
        outcome = []
        asking = threading.Thread(
            target=lambda: outcome.append(server.ask(text_input="hello", max_tokens=96, **LONG)[-1].finish_reason)
        )
        asking.start()
        assert wait_until(lambda: server.total("nld_live_rows") == 1)
    asking.join(30)
    assert outcome == ["length"]
    assert not group_lives(group)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", triton.ports.http)) != 0


def test_server_that_dies_while_starting_shows_why(repository, tmp_path, monkeypatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (repository / "nld" / "1" / "model.py").write_text(
        "raise RuntimeError('no such thing as a free lunch')\n", encoding="utf-8"
    )
    with pytest.raises(OperationError, match="ended while starting") as caught:
        start(repository, tmp_path).start()
    assert "no such thing as a free lunch" in str(caught.value)
    assert str(tmp_path / "server.log") in str(caught.value)
    assert not list(temporary.iterdir())


def test_model_that_cannot_open_its_engine_says_so_in_one_line(repository, tmp_path) -> None:
    (repository / "nld" / "1" / "engine" / "tokenizer.json").unlink()
    with pytest.raises(OperationError) as caught:
        start(repository, tmp_path).start()
    assert "is damaged" in str(caught.value)
    assert "tokenizer.json is missing" in str(caught.value)


def test_server_that_is_not_ready_in_time_is_ended(repository, tmp_path) -> None:
    (repository / "nld" / "1" / "model.py").write_text("import threading\nthreading.Event().wait()\n", encoding="utf-8")
    server = start(repository, tmp_path, timeout=1.5)
    server_pids: list[int] = []
    original = server._wait_ready

    def watch() -> None:
        server_pids.append(server.pid)
        original()

    server._wait_ready = watch  # type: ignore[method-assign]
    with pytest.raises(OperationError, match=r"not ready within 1\.5 s"):
        server.start()
    assert wait_until(lambda: not group_lives(server_pids[0]))


def test_killed_parent_takes_the_server_along(repository, tmp_path) -> None:
    code = (
        "import signal, sys\nfrom pathlib import Path\n"
        "from nld_trt.serving.triton.server import FREE_PORTS, TritonServer\n"
        "server = TritonServer(Path(sys.argv[1]), ports=FREE_PORTS, log_file=Path(sys.argv[2]), timeout=300)\n"
        "server.start()\nprint(server.pid, flush=True)\nsignal.pause()\n"
    )
    arguments = [sys.executable, "-c", code, str(repository), str(tmp_path / "server.log")]
    # What a killed process cannot remove goes where the test's own files go.
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=variables, encoding="utf-8")
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert group_lives(group)
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: not group_lives(group))


def test_taken_port_is_refused_by_number_and_flag(repository, tmp_path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError) as caught:
            start(repository, tmp_path, ports=Ports(0, port, 0)).start()
    assert f"port {port} of 127.0.0.1" in str(caught.value)
    assert "--grpc-port" in str(caught.value)


def test_same_port_twice_is_refused(repository, tmp_path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    with pytest.raises(InputError, match="--grpc-port"):
        start(repository, tmp_path, ports=Ports(port, port, 0)).start()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ports": Ports(70000)}, "--http-port is 70000"), ({"host": "no such host"}, "--host is 'no such host'")],
)
def test_impossible_address_is_refused(repository, tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        start(repository, tmp_path, **options).start()


def test_numpy_2_is_refused_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(installed, "package_version", lambda name: "2.3.1")
    with pytest.raises(InputError, match=r"NumPy 2\.3\.1 is installed"):
        installation.find_installation(tmp_path)


def test_missing_server_names_the_extra_and_the_container(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(installed, "tritonserver", lambda: None)
    with pytest.raises(InputError) as caught:
        installation.find_installation(tmp_path)
    assert 'pip install "nld-trt[serve]"' in str(caught.value)
    assert "--print" in str(caught.value)


def test_server_on_path_is_used_as_it_is(tmp_path, monkeypatch) -> None:
    executable = tmp_path / "opt" / "tritonserver" / "bin" / "tritonserver"
    executable.parent.mkdir(parents=True)
    executable.touch()
    monkeypatch.setattr(installed, "tritonserver", lambda: executable)
    found = installation.find_installation(tmp_path / "work")
    assert (found.executable, found.arguments, dict(found.variables)) == (executable, (), {})


def test_something_that_is_no_repository_is_refused_before_anything_starts(served_engine, tmp_path) -> None:
    with pytest.raises(InputError, match="is an engine folder"):
        start(served_engine.path, tmp_path).start()
    assert not (tmp_path / "server.log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_command_ends_cleanly_on_a_signal(repository, tmp_path, number) -> None:
    command = Command(repository, "--json", "--log-file", str(tmp_path / "server.log"))
    facts = command.facts()
    assert facts["models"] == model_names(repository)
    assert group_lives(facts["pid"])
    talk = command.talk()
    assert f"curl -N {facts['http']}/v2/models/nld/generate_stream" in talk
    assert f"nld-trt client {facts['grpc']}" in talk
    status, err = command.end(number)
    assert status == 0, err
    assert "stopping tritonserver" in err
    assert not group_lives(facts["pid"])


@pytest.mark.slow
def test_serve_command_gives_up_a_server_that_dies_again_and_again(repository, tmp_path) -> None:
    command = Command(repository, "--json", "--log-file", str(tmp_path / "server.log"))
    facts = command.facts()
    regions, killed = [], 0
    for _ in range(4):
        assert wait_until(lambda before=killed: {server.pid for server in servers_of(command.process.pid)} - {before})
        assert wait_until(lambda: server_module._answers(f"{facts['http']}/v2/health/ready"))
        time.sleep(1)  # what the command needs to see that as well
        (server,) = servers_of(command.process.pid)
        regions += shared_memory(server.pid)
        killed = server.pid
        server.kill()
    _, err = command.process.communicate(timeout=120)
    assert command.process.returncode == 1
    assert err.count("the server is started again") == 3
    assert "tritonserver ended (signal SIGKILL), after 3 new starts within 10 minutes" in err
    assert len(regions) >= 4
    assert not [region for region in regions if region.exists()]
    assert str(tmp_path / "server.log") in err


def test_log_that_is_no_file_is_not_read_again(tmp_path) -> None:
    os.mkfifo(tmp_path / "log")
    assert last_lines(tmp_path / "log") == []


def test_stop_without_start_does_nothing(repository, tmp_path) -> None:
    start(repository, tmp_path).stop()
    assert list(tmp_path.iterdir()) == [repository]
