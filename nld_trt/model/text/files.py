# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a checkpoint's tokenizer and chat templates, which have the names that transformers uses."""

from __future__ import annotations

import shlex
from pathlib import Path

from nld_trt.errors import InputError
from nld_trt.files import inside

TOKENIZER_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
TEMPLATE_FILE, TEMPLATES_FOLDER = "chat_template.jinja", "additional_chat_templates"

TEXT_FILES = (TOKENIZER_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE, TEMPLATE_FILE)


def template_files(folder: Path) -> list[Path]:
    """List the Jinja files of ``folder``, the default one first.

    Raises:
        InputError: one is a link that leads out of ``folder``.
    """
    extra = sorted(path.relative_to(folder).as_posix() for path in folder.glob(f"{TEMPLATES_FOLDER}/*.jinja"))
    return [path for name in (TEMPLATE_FILE, *extra) if (path := inside(folder, name)).is_file()]


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, without a leading byte order mark.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}",
            fix=f"Save it as UTF-8; a Latin-1 file becomes one with: iconv -f latin1 -t utf-8 {shlex.quote(path.name)}",
        ) from error
