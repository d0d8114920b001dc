# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The reports of ``nld-trt bench kernels`` as text."""

from __future__ import annotations

from typing import Any


def resources_text(report: dict[str, Any]) -> str:
    """The compiler, and a line for each kernel on each GPU."""
    lines = [report["compiler"]]
    for capability, kernels_found in report["resources"].items():
        for kernel, found in kernels_found.items():
            lines.append(
                f"{capability:>4}  {kernel:28} {found['registers']:3} registers, "
                f"{found['shared_bytes']:4} bytes shared, {found['spill_bytes']} bytes spilled"
            )
    return "\n".join(lines)


def kernels_text(report: dict[str, Any]) -> str:
    """The device, and a line for each bandwidth, time and target where something was timed."""
    from nld_trt.measure.kernels import targets

    lines = [f"{report['device']}: every result is right"]
    if "timed" in report:
        lines += [*_rates(report), *_times(report), *map(str, targets.verdicts(report["timed"]))]
    return "\n".join(lines)


def _rates(report: dict[str, Any]) -> list[str]:
    rates = {name: rate for name, rate in report["gigabytes_per_second"].items() if rate is not None}
    return [f"{name.replace('_', ' ')}: {rate} GB/s" for name, rate in rates.items()]


def _times(report: dict[str, Any]) -> list[str]:
    """One line per size, pass, row temperature and kernel: cold and warm time against the floor."""
    return [
        f"{shape} {name} {rows} {kernel}: cold {times['cold_us']['median']} us, warm {times['warm_us']['median']} us, "
        f"floor {found['floor_us']} us"
        for shape, found in report["timed"].items()
        for name in ("denoise", "verify")
        for rows, kernels in found[name].items()
        for kernel, times in kernels.items()
    ]
