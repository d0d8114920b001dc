# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels compile for every GPU that the backend serves, without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nld_trt import names
from nld_trt.engine.platforms import capabilities_for

# A process of its own: where tests interpret kernels, nothing can be compiled.
PROGRAM = """
import json, sys
from dataclasses import asdict
from nld_trt.engine.torch.kernels.ahead import compile_ahead, variants
capability, *wanted = sys.argv[1:]
chosen = [each for each in variants() if not wanted or each.name in wanted]
print(json.dumps({each.name: asdict(compile_ahead(each, capability)) for each in chosen}))
"""


def compiled(tmp_path, capability: str, *kernels: str) -> dict[str, dict[str, int]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, capability, *kernels],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kernels_compile_without_a_gpu(tmp_path):
    found = compiled(tmp_path, "9.0", "add_norm", "attend_block")
    assert {name for name, each in found.items() if not each["spill_bytes"]} == {"add_norm", "attend_block"}


@pytest.mark.slow
@pytest.mark.parametrize("capability", capabilities_for(names.TORCH))
def test_every_kernel_compiles_for_every_target_and_keeps_to_its_registers(tmp_path, capability):
    found = compiled(tmp_path, capability)
    assert len(found) == 20
    # On GPUs whose tensor cores read registers, one tile of 128 queries with all its keys moves a few of them.
    spilled = {name: each["spill_bytes"] for name, each in found.items() if each["spill_bytes"]}
    assert spilled.keys() <= {"attend_undivided"}
    assert sum(spilled.values()) <= 128
