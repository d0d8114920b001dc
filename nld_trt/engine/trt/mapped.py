# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of a graph, mapped for a compiler that reads them in place.

A library that maps the file itself keeps every page that it has read resident until the build is done, which for 8B in
INT4 are 6 GB. The mapping is therefore ours, and its pages are given back while the compiler works: the system's cache
of the file has them still, and the next access finds them there or, where memory is short, on the disk.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

# A compiler reads about 1 GB/s, so that between two turns no more than a few hundred MB become resident.
_SECONDS = 0.05


class MappedWeights:
    """A file of weights in memory for as long as this object is referenced. It must neither move nor change."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._pages, np.uint8)

    def address(self, offset: int) -> int:
        """The address of the byte at ``offset``."""
        return int(self._bytes.ctypes.data) + offset

    def give_back(self) -> None:
        """Make no page of the file resident. Those that are read again are fetched again."""
        # Where the system has no such request, pages stay resident.
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Call :meth:`give_back` every 0.05 s while the body runs, which must release Python's lock."""
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(_SECONDS):
                self.give_back()

        thread = threading.Thread(target=repeat, name="nld-give-back", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.give_back()
