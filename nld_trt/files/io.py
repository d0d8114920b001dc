# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        InputError: the file is missing, unreadable, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}", fix=_REFETCH) from error
    except RecursionError as error:
        raise InputError(f"{path} is not JSON: {error}", fix=_REFETCH) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(
            f"{path} is not valid JSON: {error.msg.removesuffix(' at')} at {place}", fix=_REFETCH
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON that can be read: a whole number in it has too many digits", fix=_REFETCH
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}; an object was expected", fix=_REFETCH)
    return value


_REFETCH = "Restore the file from its source: an interrupted download or an edit can leave it like this."


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, in the given key order, with a final newline.

    Half of a surrogate pair, which UTF-8 cannot encode, is written as its JSON escape.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
