# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The work folder of a quantization, which keeps finished layers so that an interrupted run can be resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.errors import InputError
from nld_trt.files import read_json, write_json
from nld_trt.files.lock import RESUMABLE
from nld_trt.model.safetensors_file import Array, SafetensorsFile, SafetensorsWriter, dtype_name
from nld_trt.progress import Progress

_SETTINGS_FILE = "settings.json"
_HIDDEN_FILE = "hidden.safetensors"
_LAYER = "layer"


class Workplace:
    """The work folder, beside the output folder. Its files are written under another name and renamed when complete.

    Attributes:
        finished: number of finished parts, counted from the first layer.
    """

    def __init__(self, target: Path, home: Path, settings: Mapping[str, Any]) -> None:
        """Open the folder of an earlier run with the same settings, or create a new one.

        The caller is the only process that writes ``target``.

        Args:
            target: the output folder, absolute and with links followed.
            home: the folder in which the work folder is.
            settings: everything that the result depends on. A run with other settings starts again.
        """
        self.folder = home / f".{target.name}.{RESUMABLE}"
        wanted = json.loads(json.dumps(settings))
        if self.folder.is_dir() and self._settings() != wanted:
            self.remove()
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            write_json(self.folder / _SETTINGS_FILE, wanted)
        self.finished = 0
        while self._path(self.finished).is_file():
            self.finished += 1

    def _settings(self) -> dict[str, Any] | None:
        """Read the settings of an earlier run. Returns None where it was killed before it wrote them."""
        try:
            return read_json(self.folder / _SETTINGS_FILE)
        except InputError:
            return None

    def store(self, part: int, tensors: Mapping[str, Array]) -> None:
        """Write the finished tensors of ``part``, by their full names."""
        self._write(self._path(part), tensors, {})
        self.finished = part + 1

    def part(self, part: int) -> SafetensorsFile:
        return SafetensorsFile.open(self._path(part))

    def store_hidden(self, part: int, hidden: list[Array]) -> None:
        """Write the input of ``part``: one array [S, H] for each calibration pack."""
        tensors = {str(index): rows for index, rows in enumerate(hidden)}
        self._write(self.folder / _HIDDEN_FILE, tensors, {_LAYER: str(part)})

    def hidden(self) -> tuple[int, list[Array]] | None:
        """Read the last stored hidden states. Returns them with the number of the part whose input they are."""
        path = self.folder / _HIDDEN_FILE
        if not path.is_file():
            return None
        file = SafetensorsFile.open(path)
        return int(file.metadata[_LAYER]), [file.read(str(index)) for index in range(len(file.tensors))]

    def keep(self, progress: Progress) -> None:
        """Keep the folder for a later run and report its place, or remove it if no part is finished."""
        if self.finished:
            progress.note(
                f"{self.finished} finished layers are kept in {self.folder}; the same command resumes from there"
            )
        else:
            self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:03}.safetensors"

    def _write(self, path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
        work = path.with_suffix(".partial")
        declared = {name: (dtype_name(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
        with SafetensorsWriter(work, declared, metadata) as writer:
            for name, tensor in tensors.items():
                writer.write(name, np.ascontiguousarray(tensor).reshape(tensor.shape))
        os.replace(work, path)
