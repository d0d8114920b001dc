# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The guard kills a group when its owner is killed, and nothing when it was dismissed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nld_trt.serving.triton.guard import Guard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Triton server runs on Linux")


@pytest.fixture
def group():
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_group_ends_with_the_owner(group) -> None:
    code = (
        "import os, sys\nfrom nld_trt.serving.triton.guard import Guard\n"
        "Guard(int(sys.argv[1]))\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(group.pid)], check=False).returncode == -9
    assert group.wait(10) == -9


def test_dismissed_guard_kills_nothing(group) -> None:
    Guard(group.pid).dismiss()
    with pytest.raises(subprocess.TimeoutExpired):
        group.wait(0.3)
