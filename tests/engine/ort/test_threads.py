# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The threads of the embedded engine, which environment variables set."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.ort import session as ort_session
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from tests.recorded_progress import Recorded


@pytest.mark.parametrize(("text", "threads"), [("1", 1), (" 3 ", 3), ("0", 0), ("", 0), (None, 0)])
def test_the_environment_sets_the_threads_that_the_caller_leaves_open(monkeypatch, text, threads):
    monkeypatch.delenv("NLD_TRT_THREADS")
    if text is not None:
        monkeypatch.setenv("NLD_TRT_THREADS", text)
    assert ort_session.session_options().intra_op_num_threads == threads
    assert ort_session.session_options(2).intra_op_num_threads == 2


SPIN_ENTRIES = ("session.intra_op.allow_spinning", "session.force_spinning_stop")


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (None, SPIN_ENTRIES[1]),
        ("", SPIN_ENTRIES[1]),
        (" forward ", SPIN_ENTRIES[1]),
        ("never", SPIN_ENTRIES[0]),
        ("always", None),
    ],
)
def test_the_environment_says_when_threads_spin(monkeypatch, text, entry):
    monkeypatch.delenv("NLD_TRT_SPIN", raising=False)
    if text is not None:
        monkeypatch.setenv("NLD_TRT_SPIN", text)
    options = ort_session.session_options()
    assert [name for name in SPIN_ENTRIES if is_set(options, name)] == ([entry] if entry else [])


def is_set(options, name):
    try:
        options.get_session_config_entry(name)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("text", ["yes", "Never", "0"])
def test_another_word_for_spinning_is_refused(engine, monkeypatch, text):
    monkeypatch.setenv("NLD_TRT_SPIN", text)
    with pytest.raises(InputError, match=r"NLD_TRT_SPIN is '.*never, forward, always") as caught:
        engine("tiny-a").open_session("ort")
    assert caught.value.fix == "Set it to one of these, or remove it: unset NLD_TRT_SPIN"


@pytest.mark.parametrize("text", ["two", "-1", "1.5", "1025", "9" * 5000, "\u0664", "1 2"])
def test_a_number_of_threads_that_is_none_is_refused(engine, monkeypatch, text):
    monkeypatch.setenv("NLD_TRT_THREADS", text)
    with pytest.raises(InputError, match=r"environment variable NLD_TRT_THREADS is '.*whole number") as caught:
        engine("tiny-a").open_session("ort")
    assert len(caught.value.what) < 200
    assert caught.value.fix == "Set it to such a number, or remove it: unset NLD_TRT_THREADS"


def test_a_build_refuses_such_a_number_before_it_writes(golden, monkeypatch, tmp_path):
    monkeypatch.setenv("NLD_TRT_THREADS", "all")
    plan = BuildPlan("ort", "fp32", Limits(1, 64, 8, 16), adapter=True)
    told = Recorded()
    with pytest.raises(InputError, match="NLD_TRT_THREADS is 'all'"):
        build_engine(golden("tiny-a"), [plan], tmp_path / "engine", progress=told)
    assert (told.stages, list(tmp_path.iterdir())) == ([], [])
