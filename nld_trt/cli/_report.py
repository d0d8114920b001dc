# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reports that a measuring command writes to a file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Shows a report to the user, then writes it to the file if there is one.
Write = Callable[[dict[str, Any], Callable[[], None]], None]


@contextmanager
def writing(output_file: Path | None) -> Iterator[Write]:
    """Yield a function that shows a report and writes it to ``output_file``. Enter it before the work.

    A file that cannot be there is refused at once. What was found is shown before it is written, so that no failure
    to write costs it; nor is the file given up when it cannot be shown, since the reader of stdout has gone.
    """
    from nld_trt.files import publish_file, write_json

    unseen: list[OSError] = []
    with nullcontext() if output_file is None else publish_file(output_file) as work:

        def write(report: dict[str, Any], show: Callable[[], None]) -> None:
            try:
                show()
                sys.stdout.flush()
            except OSError as error:
                unseen.append(error)
            if work is not None:
                write_json(work, report)

        yield write
    if unseen:
        raise unseen[0]


def command_line() -> str:
    """The command as it can be typed again; bytes that are not UTF-8 are shown as escapes."""
    words = (os.fsencode(word).decode("utf-8", "backslashreplace") for word in sys.argv[1:])
    return shlex.join(["nld-trt", *words])


def origin() -> dict[str, Any]:
    """The command that a report is of, and when it ran."""
    return {"command": command_line(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
