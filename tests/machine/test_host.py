# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The facts of a machine whose system tells, and of one whose system does not."""

from __future__ import annotations

import pytest

from nld_trt.machine import clocks, host

CPUINFO = """processor\t: 0
model name\t: A CPU
cpu MHz\t\t: 2900.123

processor\t: 1
model name\t: A CPU
cpu MHz\t\t: 800
"""


def test_cpu_is_described_by_the_kernel(monkeypatch):
    monkeypatch.setattr(host, "_read", lambda path: CPUINFO)
    assert host.cpu_model() == "A CPU"
    assert host.cpu_clocks_mhz() == [2900.123, 800.0]


def test_cpu_without_a_name_in_the_kernel_is_named_by_lscpu(monkeypatch):
    monkeypatch.setattr(host, "_read", lambda path: "processor\t: 0\n")
    monkeypatch.setattr(host, "_run", lambda command: "Architecture: aarch64\nModel name: Neoverse-V2\n")
    assert host.cpu_model() == "Neoverse-V2"


@pytest.mark.parametrize("failing", [OSError, AttributeError])
def test_what_the_system_does_not_tell_is_none(monkeypatch, failing):
    def refuse(*arguments):
        raise failing

    for name in ("sysconf", "getloadavg", "sched_getaffinity"):
        monkeypatch.setattr(host.os, name, refuse)
    monkeypatch.setattr(host, "_read", lambda path: "")
    assert (host.memory_bytes(), host.load_average(), host.peak_resident_bytes()) == (None, None, None)
    assert host.cpu_cores() >= 1
    assert host.cpu_clocks_mhz() == []


def test_clocks_without_gpus_ask_for_none(monkeypatch):
    monkeypatch.setattr(clocks, "present_gpus", None)
    assert clocks.clocks(gpu=False)["gpus"] == []


def test_clock_of_a_gpu_that_nvidia_smi_does_not_have_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert clocks.under_load("GPU-0").startswith("unknown: ")
