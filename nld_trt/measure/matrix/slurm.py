# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file as Slurm jobs: a build and an array of points for each platform, and one job that joins the results."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from nld_trt.engine.platforms import PLATFORMS
from nld_trt.errors import InputError
from nld_trt.files import publish_file
from nld_trt.measure.matrix.child import PROGRAM
from nld_trt.measure.matrix.emit_options import EmitOptions
from nld_trt.measure.matrix.run import Matrix
from nld_trt.measure.matrix.tasks import SERVER

FOLDER: Final = "slurm"
SUBMIT: Final = "submit.sh"
_HEAD: Final = (
    "# Written by nld-trt sweep --emit slurm. Slurm passes the environment of the submission on, and the folder has to",
    "# be on a file system that every node sees.",
)
# Options that decide what a job is.
_DECIDED: Final = ("array", "dependency", "output", "job-name", "parsable")


def emit_slurm(matrix: Matrix, options: EmitOptions, *, resume: bool = True) -> list[Path]:
    """Write the jobs of ``matrix`` into its folder; returns the files, the one that submits the others first.

    Args:
        options: long options of sbatch, without the dashes.
        resume: points that are finished are not measured again.

    Raises:
        InputError: an option that decides what a job is, or the folder holds something that is no sweep.
    """
    decided = [key for _, key in options.values if key in _DECIDED]
    if decided:
        raise InputError(f"--option {decided[0]} is decided by --emit slurm")
    matrix.prepare()
    home = matrix.folder.absolute() / FOLDER
    home.mkdir(exist_ok=True)
    again = () if resume else ("--no-resume",)
    jobs: dict[str, str] = {}
    submitted = []
    for platform in matrix.platforms:
        name = platform or SERVER
        tasks = matrix.tasks_on(platform)
        numbers = f"{tasks[0].number}-{tasks[-1].number}"
        kept = options.of(platform)
        if platform is not None:
            # A point has a GPU, or the node, for itself.
            kept = ({"gres": "gpu:1"} if PLATFORMS[platform].compute_capabilities else {"exclusive": ""}) | kept
        depends = ""
        if platform is not None:
            jobs[f"build-{name}"] = _job(matrix, f"build-{name}", kept, _command(matrix, f"build-{platform}"))
            submitted.append(f"build=$(sbatch --parsable build-{name}.sbatch)")
            depends = ' --dependency="afterok:$build" --kill-on-invalid-dep=yes'
        point = _command(matrix, '"$SLURM_ARRAY_TASK_ID"', *again)
        jobs[f"points-{name}"] = _job(matrix, f"points-{name}", {"array": numbers, **kept}, point)
        submitted.append(f"points=$(sbatch --parsable{depends} points-{name}.sbatch)")
        submitted.append('after="$after:$points"')
    jobs["collect"] = _job(matrix, "collect", options.of(None), _command(matrix, "collect"))
    submitted.append('sbatch --parsable --dependency="afterany$after" collect.sbatch')
    texts = {f"{name}.sbatch": text for name, text in jobs.items()}
    lines = ["#!/bin/sh", *_HEAD, "set -eu", 'cd "$(dirname "$0")"', 'after=""', *submitted]
    return _write(home, {SUBMIT: "\n".join([*lines, ""]), **texts})


def _command(matrix: Matrix, step: str, *more: str) -> str:
    words = [*PROGRAM, "sweep", "--config", str(matrix.file.path.absolute()), "-o", str(matrix.folder.absolute())]
    words += [] if matrix.aiperf is None else ["--aiperf", str(matrix.aiperf.absolute())]
    return f"exec {shlex.join([*words, *more])} --step {step}"


def _job(matrix: Matrix, name: str, options: dict[str, str], command: str) -> str:
    logs = matrix.folder.absolute() / FOLDER / f"{name}-%j.out"
    settings = {"job-name": f"nld-{name}", "output": str(logs), **options}
    lines = [f"#SBATCH --{key}={value}" if value else f"#SBATCH --{key}" for key, value in settings.items()]
    return "\n".join(["#!/bin/sh", *lines, *_HEAD, command, ""])


def _write(home: Path, texts: dict[str, str]) -> list[Path]:
    paths: list[Path] = []
    for name, text in texts.items():
        with publish_file(home / name) as work:
            work.write_text(text, encoding="utf-8")
        if name == SUBMIT:
            (home / name).chmod(0o755)
        paths.append(home / name)
    return paths
