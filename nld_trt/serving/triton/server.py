# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A Triton server as a context manager, which starts it, waits until it is ready, and ends all its processes."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nld_trt import names
from nld_trt.errors import InputError, OperationError
from nld_trt.serving.triton.installation import find_installation
from nld_trt.serving.triton.processes import EndWatch
from nld_trt.serving.triton.repository import model_names
from nld_trt.serving.triton.server_folder import no_temporary_folder, server_folder
from nld_trt.serving.triton.workplace import PREFIX, plain_path

# The time for which Triton lets open requests end when it is told to stop. A little later it is killed.
_EXIT_SECONDS = 10
_KILL_SECONDS = _EXIT_SECONDS + 5.0
# The time within which Triton notices the end of a process. It notices an orderly end at once.
_NOTICE_SECONDS = 5.0
_LOG_LINES = 25


@dataclass(frozen=True)
class Ports:
    """The ports on which a server listens; 0 means any free port."""

    http: int = names.HTTP_PORT
    grpc: int = names.GRPC_PORT
    metrics: int = names.METRICS_PORT


FREE_PORTS = Ports(0, 0, 0)


class TritonServer:
    """A server for a model repository.

    >>> with TritonServer(Path("repository"), ports=FREE_PORTS) as server:  # doctest: +SKIP
    ...     print(server.http_url, server.grpc_url)

    Models are loaded at the start, and changes of the repository are not noticed: a model is replaced in a running
    server with ``/v2/repository/models/NAME/unload`` and ``/load``.
    """

    def __init__(
        self,
        repository: Path,
        *,
        host: str = names.DEFAULT_HOST,
        ports: Ports = Ports(),
        log_file: Path | None = None,
        timeout: float = names.DEFAULT_START_TIMEOUT,
    ) -> None:
        """Prepare a server, without starting it.

        Args:
            host: address to listen on.
            log_file: file for the server's output; a new file in the temporary folder if None.
            timeout: seconds within which the models must be loaded.
        """
        self.repository = repository
        self.host = host
        self.ports = ports
        self.log_file = log_file
        self.timeout = timeout
        # The repository's path on the server's command line.
        self._served = repository
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    @property
    def http_url(self) -> str:
        return f"http://{self._reachable}:{self.ports.http}"

    @property
    def grpc_url(self) -> str:
        return f"{self._reachable}:{self.ports.grpc}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self._reachable}:{self.ports.metrics}/metrics"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not started"
        return self._process.pid

    @property
    def _reachable(self) -> str:
        if self.host in ("0.0.0.0", "::"):
            return "localhost"
        return f"[{self.host}]" if ":" in self.host else self.host

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until its models are ready.

        Raises:
            InputError: there is no repository or no server, or a port is taken.
            OperationError: the server ended or was not ready in time. The message has the end of its log.
        """
        model_names(self.repository)
        try:
            work = self._cleanup.enter_context(server_folder())
            installation = find_installation(work)
            self.ports = _claim(self.host, self.ports)
            self.log_file = self.log_file or _new_log()
            self._served = plain_path(self.repository, work / "repository")
            command = [str(installation.executable), *installation.arguments, *self._arguments(work.name)]
            with _open_log(self.log_file) as log:
                self._process = subprocess.Popen(
                    command,
                    # A model's process looks for modules in its working folder first, which must not be the user's.
                    cwd=work,
                    env={**os.environ, **installation.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # In a separate group, Ctrl-C reaches only this process, and stop() reaches every stub.
                    start_new_session=True,
                    preexec_fn=_follow_parent(),
                )
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            OperationError: the server ended without being stopped. The message has the end of its log.
        """
        assert self._process is not None, "the server is not started"
        self._process.wait()
        raise self._failure(f"tritonserver ended ({_how(self._process.returncode)})")

    def stop(self) -> None:
        """End the server: terminate it, and kill it if it does not end in time. Does nothing if it is not running."""
        process, self._process = self._process, None
        try:
            if process is not None:
                process.terminate()
                process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:  # this also runs after a second Ctrl-C
            if process is not None:
                process.kill()
                process.wait()
                _end_group(process.pid)
            self._cleanup.close()

    def _arguments(self, shared_memory: str) -> list[str]:
        return [
            f"--model-repository={self._served}",
            "--model-control-mode=explicit",
            "--load-model=*",
            # The configuration is complete. Auto-completion would start every stub twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={_EXIT_SECONDS}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
            f"--http-address={self.host}",
            f"--http-port={self.ports.http}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.ports.metrics}",
        ]

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.timeout
        ends = EndWatch(self._process.pid, _NOTICE_SECONDS)
        while not _answers(f"{self.http_url}/v2/health/ready"):
            if self._process.poll() is not None:
                raise self._failure(f"tritonserver ended while starting ({_how(self._process.returncode)})")
            if ends.overdue():
                raise self._failure("the process of a model died while starting, and tritonserver waits for it")
            if time.monotonic() > deadline:
                raise self._failure(f"tritonserver was not ready within {self.timeout:g} s", "Raise --timeout.")
            time.sleep(0.1)

    def _failure(self, what: str, fix: str = "See the whole log.") -> OperationError:
        assert self.log_file is not None
        lines = [line.replace(str(self._served), str(self.repository)) for line in last_lines(self.log_file)]
        return OperationError(what, details=lines, fix=f"{fix} It is in {self.log_file}.")


def last_lines(log_file: Path, count: int = _LOG_LINES) -> list[str]:
    """Returns the end of a server's log without its tables, which repeat other lines.

    Empty for a log that is a device or a pipe, which cannot be read again.
    """
    if not log_file.is_file():
        return []
    with log_file.open(encoding="utf-8", errors="replace") as lines:
        told = (line.rstrip("\n\0") for line in lines)
        return list(deque((line for line in told if line and not re.match(r"[+|]", line)), maxlen=count))


def _claim(host: str, ports: Ports) -> Ports:
    """Replace zeros by free ports. All are held until all are chosen, so that they differ."""
    with ExitStack() as held:
        chosen = []
        for name, port in zip(("http", "grpc", "metrics"), astuple(ports), strict=True):
            listener = held.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen()
            except OverflowError as error:
                raise InputError(f"--{name}-port is {port}; it must be between 0 and 65535") from error
            except socket.gaierror as error:
                raise InputError(f"--host is {host!r}, which is not an address: {error.strerror}") from error
            except OSError as error:
                raise InputError(
                    f"port {port} of {host} cannot be used: {error.strerror}",
                    fix=f"Choose another with --{name}-port, or any free one with --{name}-port 0.",
                ) from error
            chosen.append(listener.getsockname()[1])
    return Ports(*chosen)


def _new_log() -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=".log")
    except OSError as error:
        raise no_temporary_folder(error) from error
    os.close(handle)
    return Path(name)


def _open_log(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise InputError(f"--log-file {path} cannot be written: {error.strerror}") from error


def _answers(url: str) -> bool:
    # The address belongs to this machine, so no proxy is used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _follow_parent() -> Callable[[], None] | None:
    """Returns a function for the server's process that makes Linux end it when this process is killed.

    The kernel watches the thread that started the server. Threads other than the main one may end long before the
    process, so they get None.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    library = ctypes.CDLL(None)
    set_death_signal = 1
    return lambda: library.prctl(set_death_signal, signal.SIGTERM)


def _end_group(group: int) -> None:
    """Wait a moment for the stubs, which end when their server has ended, and kill those that remain."""
    deadline = time.monotonic() + 3.0
    while _send(group, 0):
        if time.monotonic() > deadline:
            _send(group, signal.SIGKILL)
            return
        time.sleep(0.05)


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group. Returns whether it has any process."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
