# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The threads of the CPU kernels: how many there are, and whether those without work spin or sleep.

A thread that spins starts its next piece of work at once, and keeps a core busy that others may need. Users set both by
environment variables, which hold for every command and for the Triton model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from nld_trt.errors import InputError, shortened
from nld_trt.machine.threads import default_threads

# The environment variable, for machines that several programs share.
SPIN_VARIABLE: Final = "NLD_TRT_SPIN"

# When threads without work spin: never, only while a forward runs, or for a while after one as well.
Spinning = Literal["never", "forward", "always"]
DEFAULT_SPINNING: Final[Spinning] = "forward"

# The entries of ONNX Runtime's session configuration that each of them needs.
_ENTRIES: Final[Mapping[Spinning, Mapping[str, str]]] = {
    "never": {"session.intra_op.allow_spinning": "0"},
    "forward": {"session.force_spinning_stop": "1"},
    "always": {},
}


@dataclass(frozen=True)
class Threads:
    """The threads of a session.

    Attributes:
        count: of the kernels' threads; 0 stands for one on each physical core.
    """

    count: int = 0
    spinning: Spinning = DEFAULT_SPINNING

    @classmethod
    def from_environment(cls, count: int | None = None) -> Threads:
        """What the environment variables say, or the defaults where they are not set.

        Args:
            count: wins over the environment's number of threads.

        Raises:
            InputError: one of them has a value that is none of its values.
        """
        return cls(default_threads() if count is None else count, _spinning())

    @property
    def entries(self) -> Mapping[str, str]:
        """Entries of ONNX Runtime's session configuration."""
        return _ENTRIES[self.spinning]


def _spinning() -> Spinning:
    text = os.environ.get(SPIN_VARIABLE, "").strip()
    if not text:
        return DEFAULT_SPINNING
    for known in _ENTRIES:
        if text == known:
            return known
    raise InputError(
        f"the environment variable {SPIN_VARIABLE} is {shortened(text)!r}; it must be one of {', '.join(_ENTRIES)}",
        fix=f"Set it to one of these, or remove it: unset {SPIN_VARIABLE}",
    )
