# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about this machine, for ``doctor`` and for the record that a sweep leaves beside its numbers.

Nothing here raises: what cannot be found out is None or empty. Packages are asked for their version
without being imported; onnxruntime is the exception, since only it knows its execution providers.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nld_trt

SCHEMA_VERSION = 1

# Distributions whose version explains a result. pyproject.toml says which extra brings them.
PACKAGES = (
    "click",
    "cuda-python",
    "datasets",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "ml_dtypes",
    "numpy",
    "nvidia-cuda-nvrtc",
    "nvidia-ml-py",
    "nvidia-modelopt",
    "nvidia-pytriton",
    "onnx",
    "onnxruntime",
    "pyyaml",
    "requests",
    "rich",
    "tensorrt",
    "tensorrt-rtx",
    "tokenizers",
    "torch",
    "transformers",
    "tritonclient",
)

_SMI_QUERY = "name,compute_cap,memory.total,clocks.sm,clocks.max.sm,power.limit"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. Memory is None where it is shared with the CPU, as on DGX Spark."""

    name: str
    compute_capability: str | None
    memory_bytes: int | None
    sm_clock_mhz: int | None
    max_sm_clock_mhz: int | None
    power_limit_w: float | None


@dataclass(frozen=True)
class Environment:
    """This machine, as one JSON object."""

    schema_version: int
    nld_trt: str
    python: str
    os: str
    machine: str
    cpu: str
    cpu_cores: int
    memory_bytes: int | None
    packages: Mapping[str, str]
    ort_providers: tuple[str, ...]
    gpu_driver: str | None
    gpus: tuple[Gpu, ...]
    cuda_visible_devices: str | None
    tritonserver: str | None
    docker: str | None
    # What limits the threads of an `ort` engine, as it was written.
    ort_threads: str | None = None


def collect() -> Environment:
    driver, gpus = _gpus()
    return Environment(
        schema_version=SCHEMA_VERSION,
        nld_trt=nld_trt.__version__,
        python=platform.python_version(),
        os=_os_name(),
        machine=platform.machine(),
        cpu=_cpu_model(),
        cpu_cores=_cpu_cores(),
        memory_bytes=_memory_bytes(),
        packages={name: version for name in PACKAGES if (version := package_version(name))},
        ort_providers=_ort_providers(),
        gpu_driver=driver,
        gpus=gpus,
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        tritonserver=_text(tritonserver()),
        docker=shutil.which("docker"),
        ort_threads=os.environ.get("NLD_TRT_THREADS"),
    )


def facts() -> dict[str, Any]:
    """``collect`` as plain data."""
    return asdict(collect())


def device_of(facts: Mapping[str, Any], *, gpu: bool) -> tuple[str, int]:
    """Name of what an engine computes on, and how many GPUs that is: one, or none where it runs on the CPU.

    Of several GPUs it is the first that CUDA_VISIBLE_DEVICES numbers, or the first.
    """
    if not gpu:
        threads = facts.get("ort_threads")
        limited = f", NLD_TRT_THREADS={threads}" if threads else ""
        return f"{facts['cpu']} ({facts['cpu_cores']} cores{limited})", 0
    names = [gpu["name"] for gpu in facts["gpus"]] or ["unknown GPU"]
    first = (facts["cuda_visible_devices"] or "").partition(",")[0].strip()
    chosen = int(first) if first.isdecimal() else 0  # it can also hold an identifier
    return names[chosen if chosen < len(names) else 0], 1


def package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """The numbers that order releases: ``2.13.0+cpu`` is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def tritonserver() -> Path | None:
    """The Triton Inference Server of this machine: the one on PATH, else the one that nvidia-pytriton carries."""
    on_path = shutil.which("tritonserver")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("pytriton")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        server = Path(folder) / "tritonserver" / "bin" / "tritonserver"
        if server.is_file():
            return server
    return None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _os_name() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.system()} {platform.release()}"
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _cpu_model() -> str:
    for text in (_read("/proc/cpuinfo"), _run("lscpu")):  # /proc/cpuinfo has no name on ARM
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE | re.IGNORECASE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def _cpu_cores() -> int:
    """Cores this process may use, which a container or taskset can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # only Linux knows
        return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def peak_resident_bytes() -> int | None:
    """The most memory this process has had resident; None where the system does not say (Linux does)."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _ort_providers() -> tuple[str, ...]:
    try:
        import onnxruntime
    except (ImportError, OSError):
        return ()
    return tuple(onnxruntime.get_available_providers())


def _gpus() -> tuple[str | None, tuple[Gpu, ...]]:
    """Driver version and GPUs: from NVML, or from nvidia-smi where the Python binding of NVML is not installed."""
    try:
        import pynvml
    except ImportError:
        return _gpus_of_smi()
    try:
        pynvml.nvmlInit()
    except Exception:  # no driver, or one that does not answer: the same to a report
        return None, ()
    try:
        return _gpus_of_nvml(pynvml)
    finally:
        _ask(pynvml.nvmlShutdown)


def _gpus_of_nvml(pynvml: Any) -> tuple[str | None, tuple[Gpu, ...]]:
    def gpu(handle: Any) -> Gpu:
        capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
        power_mw = _ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return Gpu(
            name=_decoded(_ask(pynvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
            compute_capability=None if capability is None else "{}.{}".format(*capability),
            memory_bytes=None if memory is None else int(memory.total),
            sm_clock_mhz=_ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            max_sm_clock_mhz=_ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
            power_limit_w=None if power_mw is None else power_mw / 1000,
        )

    handles = [_ask(pynvml.nvmlDeviceGetHandleByIndex, index) for index in range(_ask(pynvml.nvmlDeviceGetCount) or 0)]
    driver = _decoded(_ask(pynvml.nvmlSystemGetDriverVersion))
    return driver, tuple(gpu(handle) for handle in handles if handle is not None)


def _gpus_of_smi() -> tuple[str | None, tuple[Gpu, ...]]:
    def number(text: str) -> float | None:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None  # else "[N/A]", "[Not Supported]"

    def whole(text: str, factor: int = 1) -> int | None:
        value = number(text)
        return None if value is None else int(value * factor)

    listing = _run("nvidia-smi", f"--query-gpu=driver_version,{_SMI_QUERY}", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines()]
    rows = [row for row in rows if len(row) == 7]  # a driver that does not answer prints a sentence instead
    gpus = tuple(
        Gpu(name, capability, whole(memory, 2**20), whole(clock), whole(max_clock), number(power))
        for _, name, capability, memory, clock, max_clock, power in rows
    )
    return (rows[0][0] if rows else None), gpus


def _ask(function: Callable[..., Any], *arguments: object) -> Any:
    """The answer, or None: boards differ in what they report, and drivers in how they say no."""
    try:
        return function(*arguments)
    except Exception:
        return None


def _decoded(text: Any) -> str | None:
    """Older bindings of NVML answer with bytes."""
    return text.decode() if isinstance(text, bytes) else text


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
