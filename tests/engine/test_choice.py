# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Among engines for several GPUs the one for this machine's is chosen, by the manifests alone."""

from __future__ import annotations

import pytest

from nld_trt.engine import choice
from nld_trt.engine.backend import Artefact
from nld_trt.engine.choice import ANY_MACHINE, check_each_is_chosen_somewhere, open_fitting, targets
from nld_trt.errors import InputError
from tests.engine.built_for import H100, L40S, PRO_6000, SPARK, built_for


@pytest.fixture
def engines(engine, tmp_path):
    """Makes engines of one checkpoint, by a name and the compute capabilities of their plans."""

    def make(**built):
        return [built_for(engine("tiny-a"), tmp_path / name, plans).path for name, plans in built.items()]

    return make


@pytest.fixture
def machine(monkeypatch):
    def pretend(*gpus):
        monkeypatch.setattr(choice, "present_gpus", lambda: list(gpus))

    return pretend


@pytest.mark.parametrize(("gpu", "name"), [(PRO_6000, "pro"), (SPARK, "spark")])
@pytest.mark.parametrize("reverse", [False, True])
def test_plan_for_this_gpu_is_chosen(engines, machine, gpu, name, reverse) -> None:
    machine(gpu)
    paths = engines(pro={"trt-rtx": ["12.0"]}, spark={"trt-rtx": ["12.1"]})
    chosen = open_fitting(paths[::-1] if reverse else paths)
    assert chosen.path.name == name
    assert chosen.manifest.backends["trt-rtx"].compute_capabilities == (gpu.compute_capability,)


@pytest.mark.parametrize("gpu", [PRO_6000, SPARK])
def test_one_plan_may_be_for_both(engines, machine, gpu) -> None:
    machine(gpu)
    paths = engines(hopper={"trt": ["9.0"]}, blackwell={"trt-rtx": ["12.0", "12.1"]})
    assert open_fitting(paths).path.name == "blackwell"


def test_engine_for_this_gpu_comes_before_one_that_runs_anywhere(engine, engines, machine, tmp_path) -> None:
    both = built_for(engine("tiny-a"), tmp_path / "both", {"trt-rtx": ["12.0"]}, keep=True)
    (spark,) = engines(spark={"trt-rtx": ["12.1"]})
    machine(SPARK)
    assert open_fitting([both.path, spark]).path == spark
    machine(H100)
    assert open_fitting([spark, both.path]).path == both.path
    machine()
    assert open_fitting([spark, both.path]).path == both.path


def test_backends_are_preferred_in_their_order_and_then_engines_in_theirs(engines, machine) -> None:
    machine(PRO_6000)
    paths = engines(first={"torch": ["12.0"]}, second={"trt-rtx": ["12.0"]}, third={"trt-rtx": ["12.0", "12.1"]})
    assert open_fitting(paths).path.name == "second"
    assert open_fitting(paths, "torch").path.name == "first"


def test_no_engine_for_this_gpu_is_refused_with_what_exists_and_the_commands(engines, machine) -> None:
    machine(L40S)
    with pytest.raises(InputError) as caught:
        open_fitting(engines(pro={"trt-rtx": ["12.0"]}, hopper={"trt": ["9.0"], "torch": ["9.0"]}))
    message = str(caught.value)
    assert "none of the 2 engines is for this machine, which has NVIDIA L40S (8.9)" in message
    assert "pro: trt-rtx for compute capability 12.0 (RTX PRO 6000 Blackwell)" in message
    assert "hopper: torch for compute capability 9.0 (H200 SXM, H100 SXM)" in message
    assert "nld-trt build CHECKPOINT -o ENGINE_DIR" in message
    assert "--also" in message


def test_backend_that_was_asked_for_is_the_only_one(engines, machine) -> None:
    machine(PRO_6000)
    with pytest.raises(InputError) as caught:
        open_fitting(engines(pro={"trt-rtx": ["12.0"]}, hopper={"torch": ["9.0"]}), "torch")
    assert "pro: no torch backend; it has trt-rtx" in str(caught.value)
    assert "hopper: torch for compute capability 9.0" in str(caught.value)


def test_machine_without_a_gpu_is_refused(engines, machine) -> None:
    machine()
    with pytest.raises(InputError, match="which has no NVIDIA GPU whose driver answers"):
        open_fitting(engines(pro={"trt-rtx": ["12.0"]}, spark={"trt-rtx": ["12.1"]}))


def test_only_files_of_the_chosen_engine_are_read(engines, machine) -> None:
    pro, spark = engines(pro={"trt-rtx": ["12.0"]}, spark={"trt-rtx": ["12.1"]})
    (pro / "trt-rtx" / "nld.plan").write_bytes(b"damaged")
    machine(SPARK)
    assert open_fitting([pro, spark]).path == spark
    machine(PRO_6000)
    with pytest.raises(InputError, match="is damaged"):
        open_fitting([pro, spark])


def test_single_engine_is_opened_whatever_it_is_for(engines, machine) -> None:
    machine(L40S)
    (path,) = engines(pro={"trt-rtx": ["12.0"]})
    assert open_fitting([path]).path == path


@pytest.mark.parametrize(
    ("artefact", "expected"),
    [
        (Artefact("ort", "fp32", {}), (ANY_MACHINE,)),
        (Artefact("torch", "fp32", {}), (ANY_MACHINE,)),
        (Artefact("torch", "bf16", {}), ("9.0", "10.0", "12.0", "12.1")),
        (Artefact("torch", "fp32", {}, ("9.0",)), ("9.0",)),
        (Artefact("trt", "bf16", {}, ("10.0",)), ("10.0",)),
    ],
)
def test_targets_of_an_engine(artefact, expected) -> None:
    assert targets(artefact) == expected


def test_engine_that_nobody_would_choose_is_refused(engine, tmp_path) -> None:
    both, one, other = (
        built_for(engine("tiny-a"), tmp_path / name, {"trt-rtx": capabilities})
        for name, capabilities in (("both", ["12.0", "12.1"]), ("one", ["12.0"]), ("other", ["12.0", "8.9"]))
    )
    check_each_is_chosen_somewhere([one, both])
    check_each_is_chosen_somewhere([both, other])
    with pytest.raises(InputError, match="one would never be chosen"):
        check_each_is_chosen_somewhere([both, one])
