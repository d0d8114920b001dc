# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A workload as data: prompts or their length, the length of answers, and how requests arrive."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError
from nld_trt.files import publish_file
from nld_trt.measure.matrix.settings_file import Keys, read_settings
from nld_trt.resources import data_folder

_FOLDER: Final = ("sweeps", "workloads")
# Ids of prompts that are drawn. They are in the vocabulary of every model, and their number is no part of a forward.
_DRAWN_IDS: Final = range(20, 120)
_DRAWN_PROMPTS: Final = 16

_KEYS: Final = Keys(
    texts=("name", "prompts"),
    counts={"prompt_tokens": 1, "max_new_tokens": 1, "requests": 1, "requests_per_user": 1},
    switches=("ignore_eos",),
    rates=("request_rates",),
)


@dataclass(frozen=True)
class Workload:
    """The requests of a point. The fields are the keys of a workload's file.

    Attributes:
        prompts: JSONL file, in any of the formats of ``nld_trt.measure.prompt_lines``; None if prompts are drawn.
        prompt_tokens: length of drawn prompts, for engines whose acceptance is scripted.
        max_new_tokens: limit of each answer.
        requests: per repeat; None leaves it to the sweep.
        requests_per_user: at least so many for each one in flight; None for ``requests`` at any number of users.
        ignore_eos: answers have exactly ``max_new_tokens``.
        request_rates: requests per second that arrive as a Poisson process; empty for closed loops.
    """

    name: str
    prompts: Path | None = None
    prompt_tokens: int | None = None
    max_new_tokens: int = 128
    requests: int | None = None
    requests_per_user: int | None = None
    ignore_eos: bool = True
    request_rates: tuple[float, ...] = ()

    @classmethod
    def of(cls, given: Any, folder: Path) -> Workload:
        """Read a workload as a sweep file names it: one that is shipped, a file, or its keys.

        Args:
            folder: of the sweep file; paths in it are relative to that.

        Raises:
            InputError: there is none of that name, or it has unknown keys or values that cannot be used.
        """
        if isinstance(given, dict):
            return cls._of_values(given, folder, f"the workload {given.get('name', '')}".rstrip())
        if not isinstance(given, str):
            raise InputError(f"the workload {given!r} is neither a name, nor a file, nor a list of keys")
        path = folder / given
        if path.suffix not in (".yaml", ".yml"):
            path = shipped_workloads().get(given, path)
            if path.suffix != ".yaml":
                raise InputError(
                    f"there is no workload {given!r}; available: {', '.join(shipped_workloads())}",
                    fix="A workload of your own is a YAML file, or its keys in the sweep file.",
                )
        values = read_settings(path, "workload")
        return cls._of_values({"name": path.stem, **values}, path.parent, str(path))

    @classmethod
    def _of_values(cls, values: Mapping[str, Any], folder: Path, source: str) -> Workload:
        _KEYS.check(values, source)
        given = [name for name in ("prompts", "prompt_tokens") if name in values]
        if "name" not in values or len(given) != 1:
            raise InputError(f"{source} must have a name, and one of prompts and prompt_tokens")
        changed: dict[str, Any] = {"request_rates": tuple(values.get("request_rates", ()))}
        if "prompts" in values:
            changed["prompts"] = folder / values["prompts"]
            if not changed["prompts"].is_file():
                raise InputError(f"{source} has prompts {values['prompts']}, and {changed['prompts']} is not a file")
        return cls(**{**values, **changed})

    def prompts_in(self, folder: Path) -> Path:
        """Return the file of the prompts; drawn ones are written into ``folder`` first.

        Raises:
            InputError: the folder cannot be written.
        """
        if self.prompts is not None:
            return self.prompts
        assert self.prompt_tokens is not None
        path = folder / f"{self.prompt_tokens}-drawn-tokens.jsonl"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            draws = random.Random(self.prompt_tokens)
            lines = [
                json.dumps({"prompt_ids": draws.choices(_DRAWN_IDS, k=self.prompt_tokens)})
                for _ in range(_DRAWN_PROMPTS)
            ]
            with publish_file(path) as work:
                work.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return path


def shipped_workloads() -> dict[str, Path]:
    """Return the files of the workloads that are shipped, by name."""
    folder = data_folder(_FOLDER[0]) / _FOLDER[1]
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
