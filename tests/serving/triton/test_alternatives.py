# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Repositories with engines for several GPUs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nld_trt.cli import run
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.trt import backend as trt
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.serving.settings import Defaults, ServingSettings
from nld_trt.serving.triton.repository import backends_of, describe_repository, write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.engine.built_for import PRO_6000, SPARK, built_for
from tests.serving.conftest import Server


@pytest.fixture
def pro(served_engine, tmp_path) -> EngineFolder:
    return built_for(served_engine, tmp_path / "pro", {"trt-rtx": ["12.0"]})


@pytest.fixture
def spark(served_engine, tmp_path) -> EngineFolder:
    return built_for(served_engine, tmp_path / "spark", {"trt-rtx": ["12.1"]})


def test_every_engine_is_in_the_repository_and_in_its_manifests(served_engine, pro, spark, tmp_path, capsys) -> None:
    arguments = ["--also", str(spark.path), "--also", str(served_engine.path), "-o", str(tmp_path / "r")]
    assert run(["repo", str(pro.path), *arguments]) == 0
    version = tmp_path / "r" / "nld" / "1"
    settings = ServingSettings.from_dict(json.loads((version / "model.json").read_text(encoding="utf-8")))
    assert settings.engines == ("engine", "engine-2", "engine-3")
    expected = (pro.manifest, spark.manifest, served_engine.manifest)
    assert tuple(EngineFolder.open(version / name).manifest for name in settings.engines) == expected
    described = describe_repository(tmp_path / "r")["models"]["nld"]
    assert described["engine"]["backends"]["trt-rtx"]["compute_capabilities"] == ["12.0"]
    assert described["alternatives"]["engine-2"]["backends"]["trt-rtx"]["compute_capabilities"] == ["12.1"]
    assert backends_of(tmp_path / "r") == ("trt-rtx", "ort")
    assert "backends trt-rtx, ort" in (tmp_path / "r" / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    assert "KIND_MODEL" in (tmp_path / "r" / "nld" / "config.pbtxt").read_text(encoding="utf-8")


def test_damage_of_an_alternative_is_found(pro, spark, tmp_path) -> None:
    written = write_repository(pro, tmp_path / "r", also=[spark])
    plan = written.path / "nld" / "1" / "engine-2" / "trt-rtx" / "nld.plan"
    plan.unlink()
    plan.write_bytes(b"another plan")
    with pytest.raises(InputError, match=r"engine-2/trt-rtx/nld\.plan has changed"):
        describe_repository(written.path)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"model": {"name": "nld-tiny", "sha256": "0" * 64, "rotary_table_sha256": "0" * 64}}, "checkpoint"),
        ({"has_adapter": False}, "draft adapter"),
        ({"quantization": {"algorithm": "FP8"}}, "quantization"),
    ],
)
def test_engines_of_different_checkpoints_are_refused(served_engine, pro, tmp_path, changes, difference) -> None:
    other = built_for(served_engine, tmp_path / "other", {"trt-rtx": ["12.1"]}, **changes)
    with pytest.raises(InputError, match=rf"differ in {difference}; engines of one repository"):
        write_repository(pro, tmp_path / "r", also=[other])
    assert not (tmp_path / "r").exists()


def test_engine_that_no_gpu_would_get_is_refused(served_engine, pro, tmp_path) -> None:
    again = built_for(served_engine, tmp_path / "again", {"trt-rtx": ["12.0"]})
    with pytest.raises(InputError, match="again would never be chosen"):
        write_repository(pro, tmp_path / "r", also=[again])


def test_settings_must_fit_every_engine(served_engine, pro, tmp_path) -> None:
    limits = replace(served_engine.manifest.limits, max_block_length=4)
    other = built_for(served_engine, tmp_path / "other", {"trt-rtx": ["12.1"]}, limits=limits.to_dict())
    with pytest.raises(InputError, match="default block_length is 8; the engine was built for 4"):
        write_repository(pro, tmp_path / "r", also=[other], serving=ServingSettings(defaults=Defaults(block_length=8)))


@pytest.mark.parametrize("value", ["engine-2", [2]])
def test_edited_alternatives_of_another_type_are_refused(value) -> None:
    settings = {**ServingSettings().to_dict(), "alternatives": value}
    with pytest.raises(InputError, match=r"alternatives .*must be a list of texts"):
        ServingSettings.from_dict(settings)


@pytest.mark.triton
def test_server_takes_the_engine_for_its_machine(served_engine, pro, direct, tmp_path) -> None:
    """This machine has no GPU for the first engine, and serves the second."""
    written = write_repository(pro, tmp_path / "r", also=[served_engine])
    with TritonServer(written.path, ports=FREE_PORTS, log_file=tmp_path / "log", timeout=300) as triton:
        (chunk,) = Server(triton).ask(text_input="Convert 37 km to m.", max_tokens=12, stream=False)
    assert chunk.text == direct("Convert 37 km to m.", max_tokens=12).text
    assert "nld: ort fp32" in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.rtx
@pytest.mark.slow
def test_real_plans_of_two_gpus_are_opened_on_theirs(golden, monkeypatch, tmp_path) -> None:
    """Both are compiled here and pass every check of opening up to the GPU itself, which is not here."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    limits = Limits(max_batch_size=1, max_seq_len=64, max_block_length=4, prompt_chunk=16)
    engines = []
    for capability in ("12.0", "12.1"):
        plan = BuildPlan("trt-rtx", "bf16", limits, adapter=True, compute_capabilities=(capability,))
        build_engine(golden("nld-tiny"), [plan], tmp_path / capability)
        engines.append(EngineFolder.open(tmp_path / capability))
    written = write_repository(engines[0], tmp_path / "r", also=engines[1:])
    opened: list[Path] = []
    monkeypatch.setattr(trt, "open_session", lambda flavour, plan, info: opened.append(plan))
    from nld_trt.engine import choice

    for gpu in (PRO_6000, SPARK):
        for module in (choice, trt):
            monkeypatch.setattr(module, "present_gpus", lambda gpu=gpu: [gpu])
        folder = written.path / "nld" / "1"
        choice.open_fitting([folder / "engine", folder / "engine-2"]).open_session()
    assert [plan.relative_to(written.path / "nld" / "1").parts[0] for plan in opened] == ["engine", "engine-2"]
    assert opened[0].read_bytes() != opened[1].read_bytes()
