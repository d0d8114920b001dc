# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What kernels take, as their machine code says it: what the compiler prints, unless the code comes from its cache."""

from __future__ import annotations

import pytest

from nld_trt.engine.gpu.kernels.cubin import Resources, read_cubin
from nld_trt.engine.gpu.kernels.image import OPTIONS, KernelSource, architecture, compile_source, read_resources
from nld_trt.errors import InputError, OperationError
from nld_trt.machine.nvrtc import Compiled, Nvrtc

# 512 threads in four blocks leave 32 registers for 64 values; `arrays` indexes local memory without a spill.
SOURCE = """
extern "C" __global__ void __launch_bounds__(512, 4) spills(float* p, int n) {
    float a[64];
    __shared__ float s[100];
#pragma unroll
    for (int i = 0; i < 64; ++i) a[i] = p[i * n];
    s[threadIdx.x % 100] = a[3];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < 64; ++i) a[i] = a[i] * a[(i * 7 + k) % 64] + p[k];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) p[i * n + 1] = a[i] + s[i];
}
extern "C" __global__ void arrays(float* p, int n) {
    float a[64];
    for (int i = 0; i < 64; ++i) a[i] = p[i];
    for (int i = 0; i < 64; ++i) p[i] = a[(i * n) % 64];
}
__device__ __noinline__ float picked(float x, int n) {
    float a[8];
    for (int i = 0; i < 8; ++i) a[i] = x * i;
    return a[n & 7];
}
extern "C" __global__ void calls(float* p, int n) { p[0] = picked(p[1], n); }
extern "C" __global__ void plain(float* p, int n) { p[n] = 1; }
"""
KERNELS = ("spills", "arrays", "calls", "plain")
CAPABILITIES = ("9.0", "10.0", "12.0")


@pytest.fixture(scope="module")
def compiled() -> dict[str, Compiled]:
    """By compute capability."""
    try:
        nvrtc = Nvrtc.load()
    except InputError as error:
        pytest.skip(error.what)
    return {
        name: nvrtc.compile("m.cu", SOURCE, {}, (f"--gpu-architecture={architecture(name)}", *OPTIONS))
        for name in CAPABILITIES
    }


class Cached(Nvrtc):
    """NVRTC where the driver's cache has the code: it is the same, and there is no log."""

    def __init__(self, found: Compiled, log: str = "") -> None:
        super().__init__(pytest.importorskip("cuda.bindings.nvrtc"))
        self.found = Compiled(found.cubin, found.ptx, log)

    def compile(self, *arguments: object) -> Compiled:
        return self.found


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_machine_code_says_what_the_compiler_prints(compiled, capability: str) -> None:
    found = read_cubin(compiled[capability].cubin)
    assert found == read_resources(compiled[capability].log)
    assert set(found) == set(KERNELS)


def test_spills_stacks_and_shared_memory_are_told_apart(compiled) -> None:
    found = read_cubin(compiled["9.0"].cubin)
    assert found["spills"].registers == 32
    assert found["spills"].shared_bytes == 400
    assert 0 < found["spills"].stack_bytes < found["spills"].spill_bytes
    assert (found["arrays"].stack_bytes, found["arrays"].spill_bytes) == (256, 0)
    assert (found["calls"].stack_bytes, found["calls"].spill_bytes) == (32, 0)
    assert found["plain"] == Resources(found["plain"].registers, 0, 0, 0)


@pytest.mark.parametrize("log", ["", "a.cu(3): warning #177-D: variable is never used\n", "ptxas info : 0 bytes gmem"])
def test_code_from_the_compilers_cache_has_the_same_resources(compiled, log: str) -> None:
    source = KernelSource({"m.cu": SOURCE})
    image = compile_source("12.0", source, "m.cu", KERNELS, Cached(compiled["12.0"], log))
    assert image.resources == read_resources(compiled["12.0"].log)
    assert image.cubin == compiled["12.0"].cubin


@pytest.mark.parametrize("cached", [True, False])
def test_a_kernel_that_the_code_lacks_is_named(compiled, cached: bool) -> None:
    source = KernelSource({"m.cu": SOURCE})
    nvrtc = Cached(compiled["9.0"], "" if cached else compiled["9.0"].log)
    with pytest.raises(OperationError, match=r"NVRTC .* compiled m\.cu without absent\b"):
        compile_source("9.0", source, "m.cu", (*KERNELS, "absent"), nvrtc)


@pytest.mark.parametrize(
    "damage",
    [
        lambda cubin: b"",
        lambda cubin: b"PTX " + cubin[4:],
        lambda cubin: cubin[:4] + b"\1" + cubin[5:],
        lambda cubin: cubin[: len(cubin) // 2],
        lambda cubin: cubin.replace(b".nv.info\0", b".nv.data\0"),
    ],
    ids=["empty", "no ELF file", "32 bits", "cut off", "no attributes"],
)
def test_machine_code_of_another_layout_is_refused(compiled, damage) -> None:
    with pytest.raises(OperationError, match="the registers of its kernels cannot be read"):
        read_cubin(damage(compiled["9.0"].cubin))
