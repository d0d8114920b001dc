# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA GPUs of this machine, and its driver. Asking never raises: what cannot be found out is None or absent.

Three sources are asked, all of them NVIDIA's. The CUDA driver, through the package cuda-bindings, knows which GPUs a
process sees and in which order. NVML, through nvidia-ml-py, knows clocks and power, and stands in for the driver where
cuda-bindings is not installed. The program nvidia-smi stands in for NVML.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nld_trt.errors import InputError
from nld_trt.optional import install_command

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"

# PCI domain, bus and device, by which a GPU of CUDA is found among those of NVML.
_Place = tuple[int, int, int]

_NAME_BYTES = 256
_SMI_FIELDS = "driver_version,pci.bus_id,uuid,name,compute_cap,memory.total,clocks.sm,clocks.max.sm,power.limit"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    Attributes:
        compute_capability: written as in ``12.0``.
        memory_bytes: total memory. Without cuda-bindings it is None where the CPU shares it, as on DGX Spark.
        sm_clock_mhz: clock of the multiprocessors at the moment of asking.
        max_sm_clock_mhz: their highest clock.
        power_limit_w: the power limit that is enforced, in watts.
    """

    name: str
    compute_capability: str | None
    memory_bytes: int | None
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    power_limit_w: float | None = None

    def known_capability(self) -> str:
        """The compute capability, for callers that cannot go on without it.

        Raises:
            InputError: the driver does not report it.
        """
        if self.compute_capability is None:
            raise InputError(
                f"the compute capability of this machine's {self.name} is needed, and its driver does not tell it",
                fix=f"Install the package that asks CUDA for it: {install_command('plugins')}, or update the driver.",
            )
        return self.compute_capability


@dataclass(frozen=True)
class _Board:
    """A GPU as NVML describes it, which also lists those that CUDA_VISIBLE_DEVICES hides."""

    place: _Place | None
    uuid: str
    gpu: Gpu


@dataclass(frozen=True)
class _Managed:
    """What NVML or nvidia-smi says: the driver's version, the CUDA version that it supports, and its GPUs."""

    driver: str | None = None
    cuda: str | None = None
    boards: tuple[_Board, ...] = ()


def present_gpus(*, clocks: bool = False) -> list[Gpu]:
    """The GPUs that a process started now can use, in CUDA's order; empty without a driver.

    Without cuda-bindings the order is that of the PCI bus, which is CUDA's among GPUs of one kind.

    Args:
        clocks: also ask for clocks and power, which takes longer.
    """
    numbered = _ask_cuda()
    if numbered is None:
        boards = _ask_management().boards
        return [boards[index].gpu for index in visible([it.uuid for it in boards], os.environ.get(VISIBLE_DEVICES))]
    boards = _ask_management().boards if clocks and numbered else ()
    by_place = {board.place: board.gpu for board in boards}
    return [_with_clocks(gpu, by_place.get(place)) for place, gpu in numbered]


def energy_joules() -> float | None:
    """The energy that the GPU on which engines run has used since its driver was loaded; None where nobody counts it.

    That GPU is the first of ``present_gpus``. Its counter is renewed some times a second, so that a difference of two
    is exact only over seconds.
    """
    numbered = _ask_cuda()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no bindings, or no driver
        return None
    try:
        boards = [_ask(pynvml, "nvmlDeviceGetHandleByIndex", n) for n in range(_ask(pynvml, "nvmlDeviceGetCount") or 0)]
        if numbered is None:
            uuids = [_decoded(_ask(pynvml, "nvmlDeviceGetUUID", board)) or "" for board in boards]
            chosen = [boards[index] for index in visible(uuids, os.environ.get(VISIBLE_DEVICES))]
        else:
            chosen = [board for place, _ in numbered[:1] for board in boards if _place(pynvml, board) == place]
        used = _ask(pynvml, "nvmlDeviceGetTotalEnergyConsumption", chosen[0]) if chosen else None
        return None if used is None else used / 1000
    finally:
        _ask(pynvml, "nvmlShutdown")


def driver_version() -> str | None:
    """The version of the driver, as in ``580.95.05``; None without a driver."""
    return _ask_management().driver


def driver_cuda_version() -> str | None:
    """The newest CUDA version whose code the driver takes, as in ``13.0``; None without a driver."""
    try:
        from cuda.bindings import driver as cuda

        return cuda_version(_value(cuda, "cuDriverGetVersion"))
    except Exception:  # no bindings, or no driver library
        return _ask_management().cuda


def cuda_version(number: int) -> str:
    """The version that the driver's number stands for.

    >>> cuda_version(13010)
    '13.1'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def visible(uuids: Sequence[str], wanted: str | None) -> list[int]:
    """Indices of the GPUs that CUDA shows to a process whose CUDA_VISIBLE_DEVICES is ``wanted`` (None: not set).

    An entry is an index or the beginning of a UUID. The first entry that means no GPU, or several, ends the list; a GPU
    that is named twice empties it.

    >>> visible(["GPU-5f1b", "GPU-77aa", "GPU-77cc"], "1,GPU-5f,7,2")
    [1, 0]
    """
    if wanted is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.isdecimal():
            found = [index for index in range(len(uuids)) if index == int(entry)]
        else:
            found = [index for index, uuid in enumerate(uuids) if entry and uuid.lower().startswith(entry.lower())]
        if len(found) != 1:
            break
        if found[0] in chosen:
            return []
        chosen += found
    return chosen


def _with_clocks(gpu: Gpu, managed: Gpu | None) -> Gpu:
    if managed is None:
        return gpu
    return replace(
        gpu,
        sm_clock_mhz=managed.sm_clock_mhz,
        max_sm_clock_mhz=managed.max_sm_clock_mhz,
        power_limit_w=managed.power_limit_w,
    )


def _ask_cuda() -> list[tuple[_Place, Gpu]] | None:
    """The GPUs that the driver shows to this process; None without the bindings or the driver library."""
    try:
        from cuda.bindings import driver as cuda

        status, *_ = cuda.cuInit(0)
        if status != cuda.CUresult.CUDA_SUCCESS:
            return []
        devices = [_value(cuda, "cuDeviceGet", index) for index in range(_value(cuda, "cuDeviceGetCount"))]
        return [_describe_to_cuda(cuda, device) for device in devices]
    except Exception:
        return None


def _describe_to_cuda(cuda: Any, device: Any) -> tuple[_Place, Gpu]:
    def attribute(name: str) -> int:
        kind = getattr(cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(_value(cuda, "cuDeviceGetAttribute", kind, device))

    name = _value(cuda, "cuDeviceGetName", _NAME_BYTES, device).partition(b"\0")[0].decode(errors="replace")
    capability = f"{attribute('COMPUTE_CAPABILITY_MAJOR')}.{attribute('COMPUTE_CAPABILITY_MINOR')}"
    place = attribute("PCI_DOMAIN_ID"), attribute("PCI_BUS_ID"), attribute("PCI_DEVICE_ID")
    return place, Gpu(name, capability, int(_value(cuda, "cuDeviceTotalMem", device)))


def _value(cuda: Any, function: str, *arguments: Any) -> Any:
    status, value = getattr(cuda, function)(*arguments)
    if status != cuda.CUresult.CUDA_SUCCESS:
        raise OSError(f"{function}: {status!r}")
    return value


def _ask_management() -> _Managed:
    try:
        import pynvml
    except ImportError:
        return _ask_smi()
    try:
        pynvml.nvmlInit()
    except Exception:  # no driver, or one that does not answer: the same to whoever asks
        return _Managed()
    try:
        return _ask_nvml(pynvml)
    finally:
        _ask(pynvml, "nvmlShutdown")


def _ask_nvml(pynvml: Any) -> _Managed:
    def ask(function: str, *arguments: object) -> Any:
        return _ask(pynvml, function, *arguments)

    def board(handle: Any) -> _Board:
        capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
        memory = ask("nvmlDeviceGetMemoryInfo", handle)
        power_mw = ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        gpu = Gpu(
            name=_decoded(ask("nvmlDeviceGetName", handle)) or "NVIDIA GPU",
            compute_capability=None if capability is None else "{}.{}".format(*capability),
            memory_bytes=None if memory is None else int(memory.total),
            sm_clock_mhz=ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM),
            max_sm_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM),
            power_limit_w=None if power_mw is None else power_mw / 1000,
        )
        return _Board(_place(pynvml, handle), _decoded(ask("nvmlDeviceGetUUID", handle)) or "", gpu)

    handles = [ask("nvmlDeviceGetHandleByIndex", index) for index in range(ask("nvmlDeviceGetCount") or 0)]
    cuda = ask("nvmlSystemGetCudaDriverVersion_v2")
    return _Managed(
        driver=_decoded(ask("nvmlSystemGetDriverVersion")),
        cuda=None if cuda is None else cuda_version(cuda),
        boards=tuple(board(handle) for handle in handles if handle is not None),
    )


def _ask_smi() -> _Managed:
    listing = _run("nvidia-smi", f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines()]
    # A driver that does not answer prints a sentence instead.
    rows = [row for row in rows if len(row) == len(_SMI_FIELDS.split(","))]
    if not rows:
        return _Managed()
    cuda = re.search(r"^CUDA (?:\w+ )?Version\s*:\s*(\d+\.\d+)", _run("nvidia-smi", "--version"), re.M | re.I)
    return _Managed(rows[0][0], cuda and cuda[1], tuple(_board_of_smi(row) for row in rows))


def _board_of_smi(row: Iterable[str]) -> _Board:
    _, bus_id, uuid, name, capability, memory, clock, max_clock, power = row
    place = re.fullmatch(r"([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)\.\d+", bus_id, re.IGNORECASE)
    domain, bus, device = (int(part, 16) for part in place.groups()) if place else (-1, -1, -1)
    return _Board(
        (domain, bus, device) if place else None,
        uuid,
        Gpu(name, capability, _whole(memory, 2**20), _whole(clock), _whole(max_clock), _number(power)),
    )


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None  # else "[N/A]", "[Not Supported]"


def _whole(text: str, factor: int = 1) -> int | None:
    value = _number(text)
    return None if value is None else int(value * factor)


def _ask(pynvml: Any, function: str, *arguments: object) -> Any:
    """The answer, or None: boards differ in what they report, bindings in what they ask, drivers in how they refuse."""
    try:
        return getattr(pynvml, function)(*arguments)
    except Exception:
        return None


def _place(pynvml: Any, handle: Any) -> _Place | None:
    pci = _ask(pynvml, "nvmlDeviceGetPciInfo", handle)
    return None if pci is None else (int(pci.domain), int(pci.bus), int(pci.device))


def _decoded(text: Any) -> str | None:
    """Older bindings of NVML answer with bytes."""
    return text.decode() if isinstance(text, bytes) else text


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
