# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``torch`` engines for the CPU, with the limits of the ``ort`` engines that other tests share."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from tests.conftest import GOLDEN_LIMITS, TINY_LIMITS


@pytest.fixture(scope="session")
def torch_engine(golden, tmp_path_factory):
    """A ``torch`` engine folder in fp32, by checkpoint name."""
    made: dict[str, EngineFolder] = {}

    def build(name: str) -> EngineFolder:
        if name not in made:
            limits = TINY_LIMITS if name == "nld-tiny" else GOLDEN_LIMITS
            target = tmp_path_factory.mktemp("torch") / name
            build_engine(golden(name), [BuildPlan("torch", "fp32", limits, adapter=True)], target)
            made[name] = EngineFolder.open(target)
        return made[name]

    return build


@pytest.fixture(scope="session")
def torch_session(torch_engine):
    sessions = {}

    def session(name: str):
        if name not in sessions:
            sessions[name] = torch_engine(name).open_session("torch")
        return sessions[name]

    return session
