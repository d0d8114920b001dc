# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The address on which the front listens. It is taken first, so that one that is in use is told at once."""

from __future__ import annotations

import socket

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.serving.triton.client import is_loopback

# Every network of the machine.
_ANY = ("0.0.0.0", "::")


class Listener:
    """A socket with an address, which does not accept connections yet.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for any free one.

    Raises:
        InputError: the address cannot be used.
    """

    def __init__(self, host: str = names.DEFAULT_HOST, port: int = 0) -> None:
        self.host = host
        # asyncio sends small pieces at once only where the protocol is named; otherwise a piece of an answer waits for
        # the client to acknowledge the one before it, which takes up to 40 ms.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self.close()
            reason = error.strerror if isinstance(error, OSError) else "it must be between 0 and 65535"
            raise InputError(
                f"port {port} of {host} cannot be used for OpenAI's clients: {reason}",
                fix="Choose another port, or 0 for any free one.",
            ) from error
        self.port: int = self.socket.getsockname()[1]

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = "localhost" if self.host in _ANY else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host not in _ANY and is_loopback(f"{self.host}:{self.port}")

    def close(self) -> None:
        self.socket.close()
