# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reports that a measuring command writes to a file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@contextmanager
def writing(output_file: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes the report, if it goes to a file; a file that cannot be there is refused at once."""
    from nld_trt.files import publish_file, write_json

    if output_file is None:
        yield lambda report: None
        return
    with publish_file(output_file) as work:
        yield lambda report: write_json(work, report)


def command_line() -> str:
    """The command as it can be typed again; bytes that are not UTF-8 are shown as escapes."""
    words = (os.fsencode(word).decode("utf-8", "backslashreplace") for word in sys.argv[1:])
    return shlex.join(["nld-trt", *words])


def origin() -> dict[str, Any]:
    """The command that a report is of, and when it ran."""
    return {"command": command_line(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
