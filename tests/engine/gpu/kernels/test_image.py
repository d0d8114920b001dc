# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels, compiled for every platform of a TensorRT engine, and what they take there."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache

import pytest

from nld_trt.engine.gpu.kernels.cubin import read_cubin
from nld_trt.engine.gpu.kernels.image import (
    CAPABILITIES,
    OPTIONS,
    Image,
    KernelSource,
    architecture,
    compile_kernels,
    read_resources,
)
from nld_trt.engine.gpu.kernels.launch import THREADS, WARP
from nld_trt.engine.gpu.kernels.spec import ADVANCE, DECODE_STEP, KERNELS, LOGIT_STATISTICS, LOGIT_TYPES, OPERATORS
from nld_trt.errors import InputError, OperationError
from nld_trt.machine.nvrtc import Nvrtc

# By operator: registers of a thread, of which a multiprocessor has 65536, and exactly the sources' shared bytes. The
# registers of the statistics pass follow from its blocks, below.
MOST_REGISTERS = {LOGIT_STATISTICS: 48, DECODE_STEP: 96, ADVANCE: 64}
SHARED_BYTES = {LOGIT_STATISTICS: 128, DECODE_STEP: 3680, ADVANCE: 0}
# Warps that a multiprocessor can have. Blocks of the statistics pass fill it with logits of 16 bits. With 32 bits there
# are five, because threads keep twice as many words.
MOST_WARPS = {"9.0": 64, "10.0": 64, "12.0": 48, "12.1": 48}
BLOCKS_OF_FP32 = 5
# Every GPU's kernels are compiled in the quick tests; what compiles them once more does so for one.
ONE_QUICK = [CAPABILITIES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in CAPABILITIES[1:])]


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    try:
        return Nvrtc.load()
    except InputError as error:
        pytest.skip(error.what)


@lru_cache
def compiled(nvrtc: Nvrtc, capability: str) -> Image:
    return compile_kernels(capability, nvrtc=nvrtc)


def check(resources: dict) -> None:
    for operator in OPERATORS.values():
        for kernel in operator.kernels:
            found = resources[kernel]
            assert found.registers <= MOST_REGISTERS[operator], kernel
            assert found.shared_bytes == SHARED_BYTES[operator], kernel
            assert (found.stack_bytes, found.spill_bytes) == (0, 0), kernel


def test_every_platform_of_tensorrt_is_compiled_for() -> None:
    assert CAPABILITIES == ("9.0", "10.0", "12.0", "12.1")


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_keep_to_their_registers_and_spill_nothing(nvrtc, capability: str) -> None:
    image = compiled(nvrtc, capability)
    check(image.resources)
    assert read_cubin(image.cubin) == image.resources
    assert image.cubin.startswith(b"\x7fELF")
    assert f".target {architecture(capability)}".encode() in image.ptx


@pytest.mark.parametrize("capability", CAPABILITIES[:1])
def test_code_has_every_kernel_with_the_parameters_of_the_table(nvrtc, capability: str) -> None:
    """Pointers are 64 bits wide and scalars 32: an argument too many or in the wrong place would be seen."""
    text = compiled(nvrtc, capability).ptx.decode()
    for operator in OPERATORS.values():
        for kernel in operator.kernels:
            listed = re.search(rf"\.entry {kernel}\((.*?)\)", text, re.DOTALL)[1]
            widths = re.findall(r"\.param \.[a-z](\d+)", listed)
            pointers = ["64"]
            expected = pointers * len(operator.inputs) + ["32"] * len(operator.scalars)
            assert widths == expected + pointers * len(operator.outputs), kernel
            assert kernel.encode() in compiled(nvrtc, capability).cubin


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_statistics_fill_a_multiprocessor(nvrtc, capability: str) -> None:
    for logit_type in LOGIT_TYPES:
        kernel = LOGIT_STATISTICS.kernel(logit_type)
        full = MOST_WARPS[capability] * WARP // THREADS
        wanted = BLOCKS_OF_FP32 if logit_type == "fp32" else full
        assert min(full, _blocks(compiled(nvrtc, capability).resources[kernel].registers)) == wanted, kernel


def _blocks(registers: int) -> int:
    """Of 256 threads, on a multiprocessor with 65536 registers. It hands them out to warps in portions of 256."""
    of_a_warp = -(-registers * WARP // 256) * 256
    return 65536 // (of_a_warp * THREADS // WARP)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_thread_reads_all_its_logits_before_it_uses_them(nvrtc, capability: str) -> None:
    """64 or 128 bytes a thread on their way at once, past the L1 cache: nothing else is between the reads."""
    for logit_type, vectors in {"bf16": 4, "fp16": 4, "fp32": 8}.items():
        lines = _body(compiled(nvrtc, capability), LOGIT_STATISTICS.kernel(logit_type)).splitlines()
        reads = [index for index, line in enumerate(lines) if "ld.global.L1::no_allocate.v4.u32" in line]
        assert len(reads) == vectors
        between = " ".join(lines[reads[0] : reads[-1] + 1]).split(";")
        assert not [each for each in between if re.search(r"\b(max|bra|bar|ex2|shl|and)\b", each)], logit_type


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_wait_for_the_one_before_them(nvrtc, capability: str) -> None:
    """They may be launched while it still writes. The decision alone reads something before: a temperature."""
    for operator in OPERATORS.values():
        for kernel in operator.kernels:
            body = _body(compiled(nvrtc, capability), kernel)
            before, waits, after = body.partition("griddepcontrol.wait;")
            assert waits, kernel
            assert "griddepcontrol.wait" not in after, kernel
            assert len(re.findall(r"\b(?:ld|st)\.global", before)) == (operator == DECODE_STEP), kernel
            assert "ld.global.nc" not in body, kernel
            assert ("griddepcontrol.launch_dependents" in after) == (operator != ADVANCE), kernel


def _body(image: Image, kernel: str) -> str:
    """A kernel in PTX."""
    return re.search(rf"\.entry {kernel}\(.*?\n\}}", image.ptx.decode(), re.DOTALL)[0]


def test_documented_resources_are_the_compilers(nvrtc, root) -> None:
    text = (root / "docs" / "plugins.md").read_text(encoding="utf-8")
    if f"NVRTC {nvrtc.version} " not in text:
        pytest.skip(f"docs/plugins.md has the resources of another compiler than NVRTC {nvrtc.version}")
    for kernel in KERNELS:
        found = [compiled(nvrtc, capability).resources[kernel] for capability in CAPABILITIES]
        cells = [*(str(each.registers) for each in found), str(found[0].shared_bytes)]
        assert f"| `{kernel}` | {' | '.join(cells)} |" in text


@pytest.mark.parametrize("capability", ONE_QUICK)
def test_nvcc_agrees(capability: str, tmp_path, root) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH: NVRTC's code is not cross-checked")
    command = [nvcc, f"-arch={architecture(capability)}", *OPTIONS, "-cubin", "-o", str(tmp_path / "kernels.cubin")]
    done = subprocess.run(
        [*command, str(root / "plugins" / "decode_kernels.cu")],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    check(read_resources(done.stderr))
    assert read_cubin((tmp_path / "kernels.cubin").read_bytes()) == read_resources(done.stderr)


def test_resources_are_read_from_the_compilers_words() -> None:
    log = """ptxas info    : 28 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
ptxas         .     40 bytes stack frame, 28 bytes spill stores, 100 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 40 bytes cumulative stack size, 160 bytes smem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers
"""
    found = read_resources(log)
    assert (found["one"].registers, found["one"].shared_bytes) == (64, 160)
    assert (found["one"].stack_bytes, found["one"].spill_bytes) == (40, 128)
    assert (found["two"].registers, found["two"].shared_bytes, found["two"].spill_bytes) == (8, 0, 0)


def test_errors_of_the_sources_are_shown(nvrtc) -> None:
    shipped = KernelSource.shipped()
    broken = KernelSource({**shipped.files, "numbers.h": "#error not today\n"})
    with pytest.raises(OperationError, match=r"NVRTC .* cannot compile decode_kernels\.cu") as raised:
        compile_kernels("9.0", broken, nvrtc)
    assert "not today" in str(raised.value)


def test_other_gpus_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"compute capability 8\.9; they are compiled for 9\.0 \(H200 SXM, H100 SXM\)"):
        compile_kernels("8.9")


def test_compiler_that_is_too_old_is_named(monkeypatch, nvrtc) -> None:
    monkeypatch.setattr(Nvrtc, "architectures", lambda self: [80, 90])
    with pytest.raises(InputError, match=r"cannot compile the decode kernels for sm_121 \(DGX Spark\).*sm_80, sm_90"):
        compile_kernels("12.1", nvrtc=nvrtc)
