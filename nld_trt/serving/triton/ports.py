# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ports on which a server listens."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import astuple, dataclass

from nld_trt import names
from nld_trt.errors import InputError


@dataclass(frozen=True)
class Ports:
    """The ports on which a server listens; 0 means any free port."""

    http: int = names.HTTP_PORT
    grpc: int = names.GRPC_PORT
    metrics: int = names.METRICS_PORT

    def claimed(self, host: str) -> Ports:
        """Replace zeros by free ports. All are held until all are chosen, so that they differ.

        Raises:
            InputError: a port or the host cannot be used.
        """
        with ExitStack() as held:
            chosen = []
            for name, port in zip(("http", "grpc", "metrics"), astuple(self), strict=True):
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


FREE_PORTS = Ports(0, 0, 0)
