# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writing the report of a measuring command to a file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# A function of the report and of a function that shows it.
Write = Callable[[dict[str, Any], Callable[[], None]], None]


@contextmanager
def writing(output_file: Path | None) -> Iterator[Write]:
    """Yield a function that shows a report and then writes it to ``output_file``, if that is given.

    Enter the context before the work: it refuses at once a file that cannot be written. The report is shown first, so
    that it is not lost when writing fails; and it is written even if it cannot be shown, as when the reader of stdout
    has gone.

    Raises:
        InputError: the file cannot be written there.
        OSError: the report could not be shown. It was written.
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
    """Return the command line in the shell's quoting. Bytes that are not UTF-8 become escapes."""
    words = (os.fsencode(word).decode("utf-8", "backslashreplace") for word in sys.argv[1:])
    return shlex.join(["nld-trt", *words])


def origin() -> dict[str, Any]:
    """Return the command that made a report, and the time in UTC."""
    return {"command": command_line(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
