# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The part of ``nld-trt repo`` that writes repositories for TensorRT-LLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nld_trt import names
from nld_trt.cli._output import output
from nld_trt.cli._report import command_line
from nld_trt.errors import InputError

# Options of both kinds of repository; of the others, those that are for TensorRT-LLM alone.
_SHARED = {"engine_dir", "output_dir", "name", "serve_with", "force", "json"}
_OWN = {"max_seq_len", "rotary_layout"}


def refuse_others_options(serve_with: str) -> None:
    """Raises InputError for an option that was given and that this kind of repository has no use for."""
    context = click.get_current_context()
    used = _SHARED | _OWN if serve_with == names.TENSORRT_LLM else {each for each in context.params if each not in _OWN}
    for name in context.params:
        given = context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        if given and name not in used:
            raise InputError(
                f"--{name.replace('_', '-')} has no meaning with --serve-with {serve_with}", fix="Leave it out."
            )


def write_llm_api(checkpoint: Path, target: Path, *, name: str, **options: Any) -> None:
    """Write the repository, and say what it is not."""
    from nld_trt.serving.triton.llm_api import write_llm_api_repository
    from nld_trt.serving.triton.llm_api_readme import UNVERIFIED

    facts = write_llm_api_repository(checkpoint, target, name=name, command=command_line(), **options)
    output.result(
        {**facts, "unverified": UNVERIFIED},
        f"model {name} for TensorRT-LLM in {target}: contexts of at most {facts['max_seq_len']:,} tokens",
    )
    output.warn(UNVERIFIED)
    output.note(f"next: {target / 'README.md'} says which files to take from the container, and how to compare it")
