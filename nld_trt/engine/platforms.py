# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The machines that nld-trt knows by name. Memory sizes and bandwidths are the vendors' figures for one GPU."""

from __future__ import annotations

from dataclasses import dataclass

from nld_trt import names
from nld_trt.errors import InputError


@dataclass(frozen=True)
class Platform:
    """A kind of machine.

    Attributes:
        compute_capabilities: those of its GPU; empty for CPUs.
        backends: the backends that can run there, the preferred one first.
        memory_gb: memory of one GPU, in decimal GB; None for CPUs.
        memory_bandwidth_gbs: peak memory bandwidth in GB/s; None where it depends on the machine.
    """

    name: str
    title: str
    compute_capabilities: tuple[str, ...]
    backends: tuple[str, ...]
    memory_gb: float | None = None
    memory_bandwidth_gbs: float | None = None


PLATFORMS: dict[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform(names.GB200, "GB200", ("10.0",), (names.TRT, names.TORCH), 186, 8000),
        Platform(names.B200, "B200", ("10.0",), (names.TRT, names.TORCH), 180, 8000),
        Platform(
            names.RTX_PRO_6000, "RTX PRO 6000 Blackwell", ("12.0",), (names.TRT_RTX, names.TRT, names.TORCH), 96, 1792
        ),
        # The memory of DGX Spark is unified: the operating system and the host process use it too.
        Platform(names.DGX_SPARK, "DGX Spark", ("12.1",), (names.TRT_RTX, names.TRT, names.TORCH), 128, 273),
        # TensorRT for RTX refuses Hopper GPUs, and TensorRT has to be built on one: the default needs neither.
        Platform(names.H200, "H200 SXM", ("9.0",), (names.TORCH, names.TRT), 141, 4800),
        Platform(names.H100, "H100 SXM", ("9.0",), (names.TORCH, names.TRT), 80, 3350),
        Platform(names.CPU, "CPU", (), (names.ORT, names.TORCH)),
    )
}


def platform(name: str) -> Platform:
    """Look up the platform called ``name``.

    Raises:
        InputError: there is none; the message lists what exists.
    """
    if name not in PLATFORMS:
        raise InputError(f"there is no platform {name!r}; available: {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def capabilities_for(backend: str) -> tuple[str, ...]:
    """The compute capabilities of the platforms that ``backend`` supports, in ascending order.

    >>> capabilities_for("trt")
    ('9.0', '10.0', '12.0', '12.1')
    """
    found = {name for known in PLATFORMS.values() if backend in known.backends for name in known.compute_capabilities}
    return tuple(sorted(found, key=lambda name: tuple(map(int, name.split(".")))))


def titles_with(compute_capability: str) -> str:
    """Name the platforms with a compute capability, for messages: `` (H100 SXM)`` for 9.0, empty for unknown ones."""
    titles = [known.title for known in PLATFORMS.values() if compute_capability in known.compute_capabilities]
    return f" ({', '.join(titles)})" if titles else ""
