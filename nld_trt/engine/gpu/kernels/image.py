# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling the kernels for a GPU that need not be in this machine, and the resources that they take there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nld_trt import names
from nld_trt.engine.gpu.kernels.cubin import Resources, read_cubin
from nld_trt.engine.gpu.kernels.spec import KERNELS
from nld_trt.engine.platforms import capabilities_for, titles_with
from nld_trt.errors import InputError, OperationError
from nld_trt.machine.installed import release
from nld_trt.machine.nvrtc import Nvrtc
from nld_trt.optional import install_command
from nld_trt.resources import data_folder

MAIN_SOURCE = "decode_kernels.cu"
OPTIONS = ("--std=c++17", "--ptxas-options=-v")

# The compute capabilities that a TensorRT engine can run on.
CAPABILITIES = capabilities_for(names.TRT)

# The first CUDA version whose NVRTC is in the package nvidia-cuda-nvrtc; pyproject.toml asks for it.
_OLDEST_OF_WHEEL = (13, 0)

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class KernelSource:
    """CUDA sources by file name."""

    files: Mapping[str, str]

    @classmethod
    def shipped(cls) -> KernelSource:
        return cls.read(data_folder("plugins"))

    @classmethod
    def read(cls, folder: Path) -> KernelSource:
        found = sorted(path for path in folder.iterdir() if path.suffix in (".h", ".cu"))
        return cls({path.name: path.read_text(encoding="utf-8") for path in found})

    @property
    def headers(self) -> dict[str, str]:
        return {name: text for name, text in self.files.items() if name.endswith(".h")}


@dataclass(frozen=True)
class Image:
    """The kernels, compiled for one GPU architecture.

    Attributes:
        capability: compute capability that it runs on, as in ``12.0``.
        cubin: machine code, for any driver of the compiler's CUDA major version.
        ptx: virtual code that a driver at least as new as the compiler compiles at load.
        resources: registers and memory of each kernel, by its name.
        compiler: its name and version.
    """

    capability: str
    cubin: bytes
    ptx: bytes
    resources: Mapping[str, Resources]
    compiler: str

    @property
    def compiler_version(self) -> str:
        return self.compiler.rpartition(" ")[2]


def architecture(capability: str) -> str:
    """The compiler's name of a compute capability: ``sm_90`` for ``9.0``.

    Raises:
        InputError: no TensorRT engine runs on it.
    """
    if capability not in CAPABILITIES:
        exists = ", ".join(f"{name}{titles_with(name)}" for name in CAPABILITIES)
        raise InputError(
            f"the decode kernels were asked for compute capability {capability}{titles_with(capability)}; "
            f"they are compiled for {exists}",
            fix="On other GPUs the operators run in their ONNX form: nld-trt build --backend trt --no-plugins",
        )
    return f"sm_{capability.replace('.', '')}"


def compile_kernels(capability: str, source: KernelSource | None = None, nvrtc: Nvrtc | None = None) -> Image:
    """Compile the kernels, with or without a GPU.

    Args:
        capability: one of CAPABILITIES.

    Raises:
        InputError: NVRTC is not installed or too old, or ``capability`` is not one of CAPABILITIES.
        OperationError: the sources do not compile, or neither the compiler's log nor its machine code tells what the
            kernels take.
    """
    return compile_source(capability, source or KernelSource.shipped(), MAIN_SOURCE, KERNELS, nvrtc)


def compile_source(
    capability: str, source: KernelSource, main: str, kernels: Sequence[str], nvrtc: Nvrtc | None = None
) -> Image:
    """Compile the file ``main`` of ``source``, which defines ``kernels``; see compile_kernels for the rest."""
    nvrtc = check_compiler(capability, nvrtc)
    options = (f"--gpu-architecture={architecture(capability)}", *OPTIONS)
    compiled = nvrtc.compile(main, source.files[main], source.headers, options)
    resources = read_resources(compiled.log)
    if not resources.keys() >= set(kernels):
        # Code that comes from the compiler's cache comes without a log.
        resources = read_cubin(compiled.cubin)
    missing = [name for name in kernels if name not in resources]
    if missing:
        raise OperationError(
            f"NVRTC {nvrtc.version} compiled {main} without {', '.join(missing)}",
            details=compiled.log.splitlines()[:20],
        )
    return Image(capability, compiled.cubin, compiled.ptx, resources, f"NVRTC {nvrtc.version}")


def check_compiler(capability: str, nvrtc: Nvrtc | None = None) -> Nvrtc:
    """The compiler, after a check that it compiles for ``capability``.

    Raises:
        InputError: NVRTC is not installed or too old, or ``capability`` is not one of CAPABILITIES.
    """
    target = architecture(capability)
    nvrtc = nvrtc or Nvrtc.load()
    if int(target.removeprefix("sm_")) not in nvrtc.architectures():
        known = ", ".join(f"sm_{number}" for number in nvrtc.architectures())
        raise InputError(
            f"NVRTC {nvrtc.version} cannot compile the decode kernels for {target}{titles_with(capability)}: "
            f"it compiles for {known}",
            fix=f"Install a newer one: {install_command('plugins', upgrade=True)}, or build with --no-plugins.",
        )
    return nvrtc


def check_driver(nvrtc: Nvrtc, supported: str) -> None:
    """Refuse a compiler whose PTX the driver does not take: it takes PTX of its own CUDA version and of older ones.

    Args:
        supported: the driver's CUDA version.

    Raises:
        InputError: the compiler is newer.
    """
    driver = release(supported)
    if release(nvrtc.version) <= driver:
        return
    if driver < _OLDEST_OF_WHEEL:
        fix = f"Update the NVIDIA driver to one for CUDA {nvrtc.version}"
    else:
        fix = f'Install the driver\'s version: pip install "nvidia-cuda-nvrtc=={supported}.*", or update the driver'
    raise InputError(
        f"the decode kernels were to be compiled by NVRTC {nvrtc.version}, and this machine's driver is for CUDA "
        f"{supported}: it takes no PTX of a newer compiler",
        fix=f"{fix}, or build with --no-plugins.",
    )


def read_resources(log: str) -> dict[str, Resources]:
    """The resources of each kernel, by its name, from what NVRTC or nvcc prints with ``--ptxas-options=-v``."""
    found: dict[str, Resources] = {}
    for part in re.split(r"(?=Compiling entry function)", log):
        entry, spills, used = _ENTRY.search(part), _SPILLS.search(part), _USED.search(part)
        if entry and spills and used:
            shared = _SHARED.search(part)
            stack, stores, loads = map(int, spills.groups())
            found[entry[1]] = Resources(int(used[1]), int(shared[1]) if shared else 0, stack, stores + loads)
    return found
