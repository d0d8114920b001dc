# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt doctor``: what this machine can do, and the command that adds what it cannot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nld_trt import names
from nld_trt.cli._output import json_option, output

if TYPE_CHECKING:
    from nld_trt.machine.doctor import Verdict
    from nld_trt.machine.environment import Environment


@click.command("doctor")
@click.option(
    "--for",
    "wanted",
    type=click.Choice(names.CAPABILITIES),
    multiple=True,
    help="Look at this capability only, and exit with status 1 if it is not there. Can be repeated.",
)
@json_option
@click.pass_context
def command(context: click.Context, wanted: tuple[str, ...]) -> None:
    """Say what this machine can do, what is missing and the command that adds it.

    \b
    Examples:
      nld-trt doctor
      nld-trt doctor --for build-trt-rtx && nld-trt build checkpoint --platform dgx-spark -o engine
    """
    from nld_trt.engine.capabilities import capabilities
    from nld_trt.machine import environment
    from nld_trt.machine.doctor import judge

    found = environment.collect()
    verdicts = [judge(each, found) for each in capabilities() if not wanted or each.name in wanted]
    output.result(
        {"environment": asdict(found), "capabilities": [asdict(verdict) for verdict in verdicts]},
        "\n".join([*_machine(found), "", *_lines(verdicts)]),
    )
    if wanted and any(verdict.state != "ok" for verdict in verdicts):
        context.exit(1)


def _machine(found: Environment) -> Iterable[str]:
    memory = f"{found.memory_bytes / 2**30:.0f} GiB" if found.memory_bytes else "unknown size"
    yield f"nld-trt {found.nld_trt}, Python {found.python}, {found.os}"
    yield f"{found.cpu}, {found.cpu_cores} cores, memory of {memory}"
    for gpu in found.gpus:
        size = f", {gpu.memory_bytes / 2**30:.0f} GiB" if gpu.memory_bytes else ""
        yield f"{gpu.name}, compute capability {gpu.compute_capability or 'unknown'}{size}, driver {found.gpu_driver}"
    if not found.gpus:
        yield "no NVIDIA GPU"


def _lines(verdicts: Iterable[Verdict]) -> Iterable[str]:
    for verdict in verdicts:
        yield f"{verdict.state:8} {verdict.name:14} {verdict.about}"
        if verdict.state == "ok":
            yield from ([f"{'':24}{', '.join(verdict.findings)}"] if output.level > 0 else [])
            continue
        yield from (f"{'':24}{finding}" for finding in verdict.findings)
        yield from (f"{'':24}-> {fix}" for fix in verdict.fixes)
