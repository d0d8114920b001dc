# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a request from ending the whole of a tritonserver: the size of its stacks, and of HTTP bodies.

Triton takes requests apart on the stack of a thread: the body of a form, which is what curl calls every body, nested
lists of JSON, and the pieces of a chunked body. With stacks of 8 MiB, which is the usual limit, a form of 4.5 MB ends
the process with a segmentation fault.
"""

from __future__ import annotations

import mmap
import resource
from pathlib import Path
from typing import Final

# Stacks of all threads of the server. Only what is used takes memory.
_STACK_BYTES: Final = 256 * 1024 * 1024
# Newer servers can refuse larger bodies of HTTP requests.
MAX_HTTP_BYTES: Final = 4 * 1024 * 1024
_INPUT_SIZE_OPTION: Final = "--http-max-input-size"
_OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")
# The mode in which Linux counts memory that nobody has used.
_STRICT: Final = "2"


def raise_stack_limit() -> None:
    """Raise the size of stacks for programs that this process starts, in the new process before its program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    # An unlimited stack is one of 2 MiB for glibc's threads.
    if (soft == resource.RLIM_INFINITY or soft < wanted) and not _counts_unused_memory():
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def body_limit(executable: Path) -> tuple[str, ...]:
    """Returns the server's arguments that limit HTTP bodies; none for an older one, which has no such option."""
    with executable.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        known = content.find(_INPUT_SIZE_OPTION.removeprefix("--").encode()) >= 0
    return (f"{_INPUT_SIZE_OPTION}={MAX_HTTP_BYTES}",) if known else ()


def _counts_unused_memory() -> bool:
    try:
        return _OVERCOMMIT.read_text(encoding="utf-8").strip() == _STRICT
    except OSError:
        return False
