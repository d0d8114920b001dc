# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The printed container commands and the files in deploy/ say the same. Nothing here runs a container."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from nld_trt.cli import run
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.serving.triton import container
from nld_trt.serving.triton.container import container_commands
from nld_trt.serving.triton.repository import write_repository

REPOSITORY = Path("/repositories/r")


@pytest.fixture
def service(root: Path) -> dict:
    return yaml.safe_load((root / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["triton"]


@pytest.fixture
def dockerfile(root: Path) -> str:
    return (root / container.DOCKERFILE).read_text(encoding="utf-8")


def docker_run(**options) -> dict[str, list[str]]:
    """Flags of the printed `docker run`, by name."""
    words = iter(shlex.split(container_commands(REPOSITORY, **options)[1]))
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--") and word != "--rm":
            flags.setdefault(word, []).append(next(words))
        elif word not in ("docker", "run", "--rm"):
            flags["image"] = [word]
    return flags


def test_images_are_the_same(service, dockerfile) -> None:
    assert docker_run()["image"] == [service["image"]] == [container.IMAGE]
    assert f"FROM {container.BASE_IMAGE}\n" in dockerfile
    assert f"--tag {container.IMAGE} " in container_commands(REPOSITORY)[0]
    assert service["build"]["dockerfile"] == container.DOCKERFILE


@pytest.mark.parametrize(
    ("backends", "argument"),
    [
        ((), ""),
        (("ort",), ""),
        (("ort", "trt-rtx"), ""),
        (("torch",), "--build-arg 'EXTRAS=[torch]' "),
        (("trt-rtx", "torch", "ort"), "--build-arg 'EXTRAS=[rtx,torch]' "),
        (("trt",), "--build-arg 'EXTRAS=[tensorrt]' "),
    ],
)
def test_image_gets_the_libraries_of_the_engines(dockerfile, backends, argument) -> None:
    (build, _) = container_commands(REPOSITORY, backends=backends)
    assert build == f"docker build --file {container.DOCKERFILE} {argument}--tag {container.IMAGE} ."
    (default,) = container.DEFAULT_EXTRAS
    assert f'ARG EXTRAS="[{default}]"\n' in dockerfile


def test_print_and_readme_name_the_libraries_of_the_repository(golden, tmp_path, capsys) -> None:
    plan = BuildPlan("torch", "bf16", Limits(2, 64, 8, 16), adapter=True, compute_capabilities=("9.0",))
    build_engine(golden("nld-tiny"), [plan], tmp_path / "engine")
    made = write_repository(EngineFolder.open(tmp_path / "engine"), tmp_path / "repository")
    assert run(["serve", str(made.path), "--print", "--json"]) == 0
    (build, _) = json.loads(capsys.readouterr().out)["commands"]
    assert "--build-arg 'EXTRAS=[torch]' " in build
    assert build in (made.path / "README.md").read_text(encoding="utf-8")


def test_mounts_are_the_same_and_read_only(service, dockerfile) -> None:
    assert docker_run()["--volume"] == [f"{REPOSITORY}:{container.MOUNT}:ro"]
    (volume,) = service["volumes"]
    assert volume.endswith(f":{container.MOUNT}:ro")
    assert f"--model-repository={container.MOUNT}" in dockerfile


def test_ports_are_the_same_and_on_the_loopback_address(service, dockerfile) -> None:
    assert docker_run()["--publish"] == service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert f"EXPOSE {' '.join(map(str, container.PORTS.values()))}\n" in dockerfile


def test_user_and_shared_memory_are_the_same(service, dockerfile) -> None:
    flags = docker_run()
    assert flags["--user"] == [service["user"]] == [container.USER]
    assert f"USER {container.USER}\n" in dockerfile
    assert flags["--shm-size"] == [service["shm_size"]]


def test_compose_asks_for_a_gpu_and_checks_readiness(service) -> None:
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert service["healthcheck"]["test"][-1].endswith(":8000/v2/health/ready")


def test_print_shows_these_commands_with_the_flags_given(repository, capsys) -> None:
    assert run(["serve", str(repository), "--print", "--http-port", "9000", "--json"]) == 0
    commands = json.loads(capsys.readouterr().out)["commands"]
    assert commands == container_commands(repository, ports=(9000, 8001, 8002))
    assert "127.0.0.1:9000:8000" in commands[1]
