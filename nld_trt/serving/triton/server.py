# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A Triton server as a context manager, which starts it, waits until it is ready, and ends all its processes."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nld_trt import names
from nld_trt.errors import InputError, OperationError
from nld_trt.serving.triton.guard import Guard
from nld_trt.serving.triton.hardening import body_limit, raise_stack_limit
from nld_trt.serving.triton.installation import find_installation
from nld_trt.serving.triton.notice import VARIABLE, give_notice, is_idle
from nld_trt.serving.triton.ports import FREE_PORTS, Ports
from nld_trt.serving.triton.processes import EndWatch, kill_group, wait_for_group
from nld_trt.serving.triton.repository import model_names
from nld_trt.serving.triton.served_model import check_model
from nld_trt.serving.triton.server_folder import no_temporary_folder, server_folder
from nld_trt.serving.triton.workplace import PREFIX, plain_path

# After the time that open requests have to end, the model answers those that have not. Triton gets some seconds more to
# send these answers and to end, and is then killed.
_EXIT_SECONDS = 5
_KILL_SECONDS = 5.0
# The time to end for a server whose models have sent their last responses.
_IDLE_SECONDS = 3.0
# The time within which Triton notices the end of a process. It notices an orderly end at once.
_NOTICE_SECONDS = 5.0
# The time that stubs have to end after their server.
_STUB_SECONDS = 3.0
_LOG_LINES = 25

# So that a default is not a call.
_DEFAULT_PORTS = Ports()

__all__ = ["FREE_PORTS", "Ports", "TritonServer", "last_lines"]


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
        ports: Ports = _DEFAULT_PORTS,
        log_file: Path | None = None,
        timeout: float = names.DEFAULT_START_TIMEOUT,
        shutdown_timeout: float = names.DEFAULT_SHUTDOWN_TIMEOUT,
    ) -> None:
        """Prepare a server, without starting it.

        Args:
            host: address to listen on.
            log_file: file for the server's output; a new file in the temporary folder if None.
            timeout: seconds within which the models must be loaded.
            shutdown_timeout: seconds that open requests have to end when the server is stopped; those that have not
                ended then get a last response with the finish reason ``cancelled``.
        """
        self.repository = repository
        self.host = host
        self.ports = ports
        self.log_file = log_file
        self.timeout = timeout
        self.shutdown_timeout = shutdown_timeout
        # The repository's path on the server's command line.
        self._served = repository
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._work: Path | None = None
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
    def reachable_host(self) -> str:
        """An address at which this machine reaches the server."""
        return "localhost" if self.host in ("0.0.0.0", "::") else self.host

    @property
    def _reachable(self) -> str:
        return f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host

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
            InputError: there is no repository or no server, a model cannot be served as it is configured, or a port
                is taken.
            OperationError: the server ended or was not ready in time. The message has the end of its log.
        """
        for name in model_names(self.repository):
            check_model(self.repository / name)
        try:
            self.ports = self.ports.claimed(self.host)
            self.log_file = self.log_file or _new_log()
            _empty_log(self.log_file)
            self._launch(self.log_file)
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Kill the server with all its processes, and start it again on the same ports. Open requests break off.

        Raises:
            OperationError: the server ended or was not ready in time.
        """
        assert self.log_file is not None, "the server is not started"
        self.kill()
        try:
            self._launch(self.log_file)
        except BaseException:
            self.stop()
            raise

    @property
    def ended(self) -> str | None:
        """How the server ended; None while it runs."""
        assert self._process is not None, "the server is not started"
        status = self._process.poll()
        return None if status is None else f"tritonserver ended ({_how(status)})"

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            OperationError: the server ended without being stopped. The message has the end of its log.
        """
        assert self._process is not None, "the server is not started"
        self._process.wait()
        raise self.failure(f"tritonserver ended ({_how(self._process.returncode)})")

    def announce_stop(self) -> None:
        """Tell the models that the server will be stopped: they take no new requests, and end those that are open
        within the time for that. Does nothing if it is not running."""
        if self._process is not None and self._work is not None:
            with suppress(OSError):  # the disk is full: Triton then cuts off what is open after that time
                give_notice(self._work, self.shutdown_timeout)

    def stop(self) -> None:
        """End the server: terminate it, and kill it if it does not end in time. Does nothing if it is not running."""
        process = self._process
        try:
            if process is not None:
                self.announce_stop()
                process.terminate()
                self._wait_end(process)
                process.kill()
                process.wait()
                wait_for_group(process.pid, _STUB_SECONDS)
        finally:  # this also runs after a second Ctrl-C
            self.kill()

    def kill(self) -> None:
        """End the server and its stubs at once. Does nothing if it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            kill_group(process.pid)
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()
        self._cleanup.close()

    def _wait_end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server ends, or has nothing to wait for, or has had its time."""
        deadline = time.monotonic() + self.shutdown_timeout + _EXIT_SECONDS + _KILL_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._work is not None and is_idle(self._work):
                # What it would wait for are connections without a request.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_IDLE_SECONDS)
                return
            time.sleep(0.05)

    def _launch(self, log_file: Path) -> None:
        self._work = work = self._cleanup.enter_context(server_folder())
        installation = find_installation(work)
        self._served = plain_path(self.repository, work / "repository")
        arguments = (*installation.arguments, *body_limit(installation.executable), *self._arguments(work.name))
        with _open_log(log_file) as log:
            self._process = subprocess.Popen(
                [str(installation.executable), *arguments],
                # A model's process looks for modules in its working folder first, which must not be the user's.
                cwd=work,
                env={**os.environ, **installation.variables, VARIABLE: str(work)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # In a separate group, Ctrl-C reaches only this process, and kill() reaches every stub.
                start_new_session=True,
                preexec_fn=raise_stack_limit,
            )
        self._guard = Guard(self._process.pid)
        self._wait_ready()

    def _arguments(self, shared_memory: str) -> list[str]:
        return [
            f"--model-repository={self._served}",
            "--model-control-mode=explicit",
            "--load-model=*",
            # The configuration is complete. Auto-completion would start every stub twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={math.ceil(self.shutdown_timeout) + _EXIT_SECONDS}",
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
                raise self.failure(f"tritonserver ended while starting ({_how(self._process.returncode)})")
            if ends.overdue():
                raise self.failure("the process of a model died while starting, and tritonserver waits for it")
            if time.monotonic() > deadline:
                raise self.failure(f"tritonserver was not ready within {self.timeout:g} s", "Raise --timeout.")
            time.sleep(0.1)

    def failure(self, what: str, fix: str = "See the whole log.") -> OperationError:
        """Returns the error for something that the server did, with the end of its log."""
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


def _new_log() -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=".log")
    except OSError as error:
        raise no_temporary_folder(error) from error
    os.close(handle)
    return Path(name)


def _empty_log(path: Path) -> None:
    try:
        path.open("wb").close()
    except OSError as error:
        raise InputError(f"--log-file {path} cannot be written: {error.strerror}") from error


def _open_log(path: Path) -> BinaryIO:
    """Open a log to add to it, so that a server that is started again keeps what the one before it wrote."""
    return path.open("ab")


def _answers(url: str) -> bool:
    # The address belongs to this machine, so no proxy is used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
