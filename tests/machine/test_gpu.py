# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which GPUs a machine has, asked of stand-ins for CUDA, NVML and nvidia-smi."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.machine import gpu as gpu_module
from nld_trt.machine.gpu import Gpu, driver_cuda_version, driver_version, energy_joules, present_gpus, visible
from tests.machine import fake_cuda
from tests.machine.fake_cuda import FakeCuda

RTX_PRO = Gpu("NVIDIA RTX PRO 6000", "12.0", 96 << 30)
SPARK = Gpu("NVIDIA GB10", "12.1", 128 << 30)


class NVMLError(Exception):
    pass


def nvml(count: int = 1, **changes: object) -> types.ModuleType:
    """A binding of NVML with equal GPUs, on PCI buses 1, 2, …; an exception as a change is raised by that function."""
    answers: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlSystemGetCudaDriverVersion_v2": 13000,
        "nvmlDeviceGetCount": count,
        "nvmlDeviceGetName": "NVIDIA RTX PRO 6000",
        "nvmlDeviceGetCudaComputeCapability": (12, 0),
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(total=96 * 2**30),
        "nvmlDeviceGetEnforcedPowerLimit": 600_000,
        "nvmlDeviceGetMaxClockInfo": 3090,
        **changes,
    }
    by_handle = {
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{'abcd'[handle]}0f1",
        "nvmlDeviceGetClockInfo": lambda handle, kind: 180 + handle,
        "nvmlDeviceGetPciInfo": lambda handle: types.SimpleNamespace(domain=0, bus=handle + 1, device=0),
    }

    def answering(answer: object):
        def function(*_arguments: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function

    module = types.ModuleType("pynvml")
    module.NVML_CLOCK_SM = 1
    for name, answer in {**by_handle, **answers}.items():
        setattr(module, name, answer if callable(answer) else answering(answer))
    return module


@pytest.fixture
def machine(monkeypatch):
    """What is installed: bindings of CUDA and of NVML, and what nvidia-smi prints. None is a package that is absent."""

    def pretend(*, cuda=None, nvml=None, smi="", version="", visible=None):
        fake_cuda.install(monkeypatch, cuda)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        monkeypatch.setattr(gpu_module, "_run", lambda *command: version if "--version" in command else smi)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


class NoLibrary(FakeCuda):
    """The bindings where the driver's library is missing."""

    def cuInit(self, flags):
        raise RuntimeError("no libcuda.so.1")

    cuDriverGetVersion = cuInit


class NoDevice(FakeCuda):
    def cuInit(self, flags):
        return (fake_cuda.CUresult.CUDA_ERROR_NO_DEVICE,)


def test_cuda_describes_its_gpus_in_order(machine):
    machine(cuda=FakeCuda(gpus=[RTX_PRO, SPARK]))
    assert present_gpus() == [RTX_PRO, SPARK]


def test_cuda_decides_what_is_visible(machine):
    machine(cuda=FakeCuda(gpus=[SPARK]), nvml=nvml(2), visible="1")
    assert present_gpus() == [SPARK]


def test_clocks_are_those_of_the_gpu_on_the_same_bus(machine):
    cuda = FakeCuda(gpus=[RTX_PRO])
    machine(cuda=cuda, nvml=nvml(3))
    assert present_gpus(clocks=True) == [replace(RTX_PRO, sm_clock_mhz=180, max_sm_clock_mhz=3090, power_limit_w=600.0)]
    cuda.attributes[fake_cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID] = 9
    assert present_gpus(clocks=True) == [RTX_PRO]


@pytest.mark.parametrize("cuda", [None, NoLibrary()], ids=["no bindings", "no library"])
def test_nvml_answers_where_cuda_cannot(machine, cuda):
    machine(cuda=cuda, nvml=nvml())
    assert present_gpus() == [replace(RTX_PRO, sm_clock_mhz=180, max_sm_clock_mhz=3090, power_limit_w=600.0)]
    assert (driver_version(), driver_cuda_version()) == ("580.95.05", "13.0")


@pytest.mark.parametrize(
    ("wanted", "clocks"),
    [(None, [180, 181, 182]), ("2,0", [182, 180]), ("GPU-b", [181]), ("", []), ("-1", []), ("1,9,0", [181])],
)
def test_gpus_of_nvml_are_those_that_cuda_would_show(machine, wanted, clocks):
    machine(nvml=nvml(3), visible=wanted)
    assert [found.sm_clock_mhz for found in present_gpus()] == clocks


def test_bytes_of_older_bindings_are_text(machine):
    machine(nvml=nvml(nvmlDeviceGetName=b"H100", nvmlDeviceGetUUID=b"GPU-a", nvmlSystemGetDriverVersion=b"550.1"))
    assert (driver_version(), present_gpus()[0].name) == ("550.1", "H100")


def test_what_a_board_does_not_report_is_none(machine):
    """DGX Spark reports no memory of its own, and other boards leave out other things."""
    refusals = {f"nvmlDeviceGet{name}": NVMLError() for name in ("MemoryInfo", "EnforcedPowerLimit", "ClockInfo")}
    machine(nvml=nvml(nvmlDeviceGetName="NVIDIA GB10", nvmlDeviceGetCudaComputeCapability=(12, 1), **refusals))
    assert present_gpus() == [Gpu("NVIDIA GB10", "12.1", None, None, 3090, None)]


@pytest.mark.parametrize("absent", ["nvmlSystemGetCudaDriverVersion_v2", "nvmlDeviceGetPciInfo", "nvmlShutdown"])
def test_bindings_that_lack_a_function_do_without(machine, absent):
    binding = nvml()
    delattr(binding, absent)
    machine(nvml=binding)
    assert [found.name for found in present_gpus()] == ["NVIDIA RTX PRO 6000"]


@pytest.mark.parametrize("failure", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_silent_driver_means_no_gpu(machine, failure):
    machine(nvml=nvml(**{failure: NVMLError()}))
    assert present_gpus() == []


SMI = (
    "580.1, 00000000:01:00.0, GPU-a, NVIDIA A, 12.0, 97887, 180, 3090, 600.00\n"
    "580.1, 00000000:02:00.0, GPU-b, NVIDIA GB10, 12.1, [N/A], [N/A], 3003, [N/A]\n"
)
FROM_SMI = [
    Gpu("NVIDIA A", "12.0", 97887 * 2**20, 180, 3090, 600.0),
    Gpu("NVIDIA GB10", "12.1", None, None, 3003, None),
]


def test_nvidia_smi_stands_in_for_nvml(machine):
    machine(smi=SMI, version="NVIDIA-SMI version  : 580.1\nDRIVER version      : 580.1\nCUDA Version        : 13.0\n")
    assert present_gpus() == FROM_SMI
    assert (driver_version(), driver_cuda_version()) == ("580.1", "13.0")


def test_gpus_of_nvidia_smi_are_those_that_cuda_would_show(machine):
    machine(smi=SMI, visible="GPU-b")
    assert present_gpus() == FROM_SMI[1:]


def test_clocks_can_come_from_nvidia_smi(machine):
    machine(cuda=FakeCuda(gpus=[SPARK, SPARK]), smi=SMI)
    assert [found.max_sm_clock_mhz for found in present_gpus(clocks=True)] == [3090, 3003]


NO_GPU = {
    "nothing installed": {},
    "driver that sees no device": {"cuda": NoDevice(), "nvml": nvml()},
    "driver that counts none": {"cuda": FakeCuda()},
    "packages of another kind": {"cuda": types.SimpleNamespace(), "nvml": types.SimpleNamespace()},
    "nvidia-smi without a driver": {"smi": "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n"},
}


@pytest.mark.parametrize("case", NO_GPU)
@pytest.mark.parametrize("clocks", [True, False])
def test_no_gpu_is_an_empty_list(machine, case, clocks):
    machine(**NO_GPU[case])
    assert present_gpus(clocks=clocks) == []


def test_this_machine_can_be_asked():
    assert all(isinstance(found, Gpu) for found in present_gpus(clocks=True))


def test_driver_says_which_cuda_it_is_for(machine):
    machine(cuda=FakeCuda())
    assert driver_cuda_version() == "13.1"


def test_no_driver_has_no_version(machine):
    machine(cuda=NoLibrary())
    assert (driver_version(), driver_cuda_version()) == (None, None)


def test_a_capability_that_is_needed_and_unknown_is_refused():
    assert SPARK.known_capability() == "12.1"
    with pytest.raises(InputError, match=r"capability of this machine's NVIDIA A .*\n.*nld-trt\[plugins\]"):
        Gpu("NVIDIA A", None, None).known_capability()


UUIDS = ["GPU-5f1b", "GPU-77aa", "GPU-77cc"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        (" 2 , 0 ", [2, 0]),
        ("gpu-5F", [0]),
        ("GPU-77", []),
        ("0,GPU-77,1", [0]),
        ("1,1", []),
        ("1,GPU-77a", []),
        ("0,-1,1", [0]),
        ("0,,1", [0]),
        ("none", []),
    ],
)
def test_visible_gpus_are_read_as_cuda_does(wanted, expected):
    assert visible(UUIDS, wanted) == expected


@given(st.text(alphabet="0123,- GPUg57ac"))
def test_any_text_shows_gpus_that_exist_once_each(wanted):
    found = visible(UUIDS, wanted)
    assert len(set(found)) == len(found)
    assert set(found) <= {0, 1, 2}


def counting(count: int = 1, **changes: object) -> types.ModuleType:
    """NVML whose GPUs have used 1, 2, … kilojoules."""
    used = {"nvmlDeviceGetTotalEnergyConsumption": lambda handle: (handle + 1) * 1_000_000}
    return nvml(count, **{**used, **changes})


def test_energy_is_that_of_the_gpu_on_cudas_bus(machine):
    machine(cuda=FakeCuda(gpus=[RTX_PRO]), nvml=counting(3))
    assert energy_joules() == 1000.0

    def other_way_round(handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(domain=0, bus=3 - handle, device=0)

    machine(cuda=FakeCuda(gpus=[RTX_PRO]), nvml=counting(3, nvmlDeviceGetPciInfo=other_way_round))
    assert energy_joules() == 3000.0


def test_energy_without_cuda_is_that_of_the_first_visible_gpu(machine):
    machine(nvml=counting(3), visible="1,0")
    assert energy_joules() == 2000.0


@pytest.mark.parametrize(
    "installed",
    [
        {},
        {"cuda": NoDevice(gpus=[]), "nvml": counting()},
        {"nvml": nvml()},
        {"nvml": counting(nvmlDeviceGetTotalEnergyConsumption=NVMLError("not supported"))},
        {"nvml": counting(nvmlInit=NVMLError("no driver"))},
        {"nvml": counting(), "visible": ""},
    ],
    ids=["nothing", "no GPU", "an old binding", "a GPU that does not count", "no driver", "none visible"],
)
def test_energy_that_nobody_counts_is_none(machine, installed):
    machine(**installed)
    assert energy_joules() is None
