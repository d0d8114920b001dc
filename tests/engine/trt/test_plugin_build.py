# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which builds get plugins, and that TensorRT knows them before it reads the graph."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build_config import BuildConfig
from nld_trt.engine.gpu.kernels.image import Image
from nld_trt.engine.plan import make_plans
from nld_trt.engine.trt import backend as trt
from nld_trt.engine.trt.backend import TrtBackend
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.proof import prove_network
from nld_trt.errors import InputError, OperationError
from nld_trt.graph.contract import Limits
from nld_trt.progress import SILENT

LIMITS = Limits(max_batch_size=4, max_seq_len=256, max_block_length=16, prompt_chunk=64)
PLAN = BuildPlan("trt", "bf16", LIMITS, adapter=True, compute_capabilities=("9.0",), plugins=True)


@pytest.mark.parametrize("asked", [None, True])
def test_trt_gets_plugins_unless_told_otherwise(golden, asked) -> None:
    (plan,) = make_plans(golden("tiny-a"), BuildConfig(backends=("trt",), plugins=asked))
    assert plan.plugins


def test_trt_without_plugins(golden) -> None:
    (plan,) = make_plans(golden("tiny-a"), BuildConfig(backends=("trt",), plugins=False))
    assert not plan.plugins


@pytest.mark.parametrize("backend", ["ort", "trt-rtx"])
def test_other_backends_have_none(golden, backend) -> None:
    (plan,) = make_plans(golden("tiny-a"), BuildConfig(backends=(backend,)))
    assert not plan.plugins


@pytest.mark.parametrize(("asked", "flag"), [(True, "--plugins"), (False, "--no-plugins")])
def test_other_backends_refuse_the_flag_by_name(golden, asked, flag) -> None:
    with pytest.raises(InputError, match=f"{flag} was given for the ort and trt-rtx backend") as raised:
        make_plans(golden("tiny-a"), BuildConfig(backends=("ort", "trt-rtx"), plugins=asked))
    assert f"Leave {flag} out" in raised.value.fix


def test_flag_beside_trt_is_for_trt(golden) -> None:
    plans = make_plans(golden("tiny-a"), BuildConfig(backends=("ort", "trt"), plugins=True))
    assert [plan.plugins for plan in plans] == [False, True]


class StopHereError(Exception):
    pass


@pytest.fixture
def steps(monkeypatch) -> list:
    """What a compilation does up to parsing, in order."""
    done = []

    def write(checkpoint, folder, **options):
        done.append(("write_graph", options.get("operators")))
        (folder / trt.WEIGHTS_FILE).touch()

    def parse(library, model):
        done.append(("parse",))
        raise StopHereError

    def compiled(capability):
        done.append(("kernels", capability))
        return Image(capability, b"", b"", {}, "NVRTC 13.0")

    monkeypatch.setattr(trt.TRT.__class__, "load", lambda self: SimpleNamespace(__version__="11.4"))
    monkeypatch.setattr(trt, "compile_kernels", compiled)
    monkeypatch.setattr(trt, "register_plugins", lambda image, **sizes: done.append(("register", sizes)))
    monkeypatch.setattr(trt, "write_graph", write)
    monkeypatch.setattr(trt.trt_build, "parse_network", parse)
    return done


def test_plugins_are_known_before_the_graph_is_read(golden, steps, tmp_path) -> None:
    checkpoint = golden("tiny-a")
    with pytest.raises(StopHereError):
        TrtBackend().compile(checkpoint, PLAN, tmp_path, SILENT)
    sizes = {"batch": 4, "width": 16, "vocab": checkpoint.config.vocab_size}
    assert steps == [("kernels", "9.0"), ("register", sizes), ("write_graph", "plugins"), ("parse",)]


def test_build_without_plugins_needs_no_kernels(golden, steps, tmp_path) -> None:
    with pytest.raises(StopHereError):
        TrtBackend().compile(golden("tiny-a"), replace(PLAN, plugins=False), tmp_path, SILENT)
    assert steps == [("write_graph", "functions"), ("parse",)]


def test_kernels_are_asked_for_the_widest_window_of_any_pass(golden, steps, tmp_path) -> None:
    limits = replace(LIMITS, max_quadratic_length=5)
    with pytest.raises(StopHereError):
        TrtBackend().compile(golden("tiny-a"), replace(PLAN, limits=limits), tmp_path, SILENT)
    assert steps[1][1]["width"] == 5 + 25


@pytest.mark.parametrize(("plugins", "found"), [(True, 0), (True, 2), (False, 3)])
def test_network_with_another_form_is_refused(golden, plugins, found) -> None:
    facts = NetworkFacts({}, {}, (), 0, {}, plugins=found)
    with pytest.raises(OperationError) as raised:
        prove_network(facts, golden("tiny-a").config, replace(PLAN, plugins=plugins))
    expected = f"{found} plugins, not {3 * plugins}: the decode operators have another form"
    assert expected in raised.value.details
