# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The capabilities that ``nld-trt doctor`` checks: those of :mod:`nld_trt.machine.doctor` and of each backend."""

from __future__ import annotations

from collections.abc import Iterator

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, Traits
from nld_trt.machine.doctor import AROUND_ENGINES, BEFORE_ENGINES, GRAPH, TEXT, Capability


def capabilities() -> tuple[Capability, ...]:
    """List all capabilities, in the order in which the commands need them."""
    traits = [BACKENDS[name] for name in names.BACKENDS]
    return (
        *BEFORE_ENGINES,
        *(Capability(f"build-{it.name}", f"build {_build(it)}", (*GRAPH, *it.build_needs)) for it in traits),
        *_of_kernels(traits),
        *(Capability(f"run-{it.name}", f"run {_run(it)}", (*it.run_needs, *TEXT)) for it in traits),
        *AROUND_ENGINES,
    )


def _of_kernels(traits: list[Traits]) -> Iterator[Capability]:
    for it in traits:
        if it.takes_plugins:
            about = f"compile the decode kernels of {_engine(it)}, with or without a GPU"
            yield Capability("build-kernels", about, it.plugin_needs)


def _build(traits: Traits) -> str:
    if traits.cross_compiles or traits.cpu_precision:
        return f"{_engine(traits)}, with or without a GPU"
    return f"{_engine(traits)} for this machine's GPU" if traits.device == "gpu" else _engine(traits)


def _run(traits: Traits) -> str:
    places = {"gpu": "this GPU", "cpu": "the CPU"}
    return f"{_engine(traits)} on {'this machine' if traits.cpu_precision else places[traits.device]}"


def _engine(traits: Traits) -> str:
    article = "an" if traits.title[0] in "AEIOU" else "a"
    return f"{article} {traits.title} engine"
