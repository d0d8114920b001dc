# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The files for KServe: valid, confined, and with a command that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nld_trt.serving.triton import container
from tests.deploy.checks import GPU, check_command_exists, check_is_confined, check_object

# Where KServe mounts a model, and the port that it routes requests to.
MODELS, PORT = Path("/mnt/models"), 8080


@pytest.fixture
def objects(root: Path) -> dict[str, dict[str, Any]]:
    files = sorted((root / "deploy" / "kserve").glob("*.yaml"))
    assert files
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return {each["kind"]: each for each in found}


@pytest.fixture
def server(objects) -> dict[str, Any]:
    (found,) = objects["ServingRuntime"]["spec"]["containers"]
    assert found["name"] == "kserve-container"
    return found


def test_objects_are_valid(objects, server) -> None:
    for each in objects.values():
        check_object(each)
    # Of the runtime, containers and volumes are those of a pod.
    volumes = objects["ServingRuntime"]["spec"]["volumes"]
    pod = {"containers": [server], "volumes": volumes}
    check_object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "runtime"}, "spec": pod})


def test_container_is_confined_and_has_one_gpu(objects, server) -> None:
    check_is_confined(server)
    assert server["securityContext"]["runAsNonRoot"] is True
    assert server["image"] == container.IMAGE
    assert server["resources"]["limits"] == {GPU: 1}
    assert "storage.kserve.io/readonly" not in objects["InferenceService"]["metadata"]["annotations"]


def test_command_exists_and_serves_where_kserve_looks(objects, server) -> None:
    asked = check_command_exists([*server["command"], *server["args"]])
    assert asked["repo_dir"] == MODELS
    assert (asked["host"], asked["openai_port"]) == ("0.0.0.0", PORT)
    assert [port["containerPort"] for port in server["ports"]] == [PORT]
    assert objects["ServingRuntime"]["spec"]["annotations"]["prometheus.kserve.io/port"] == str(PORT)
    probes = [server[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {PORT}
    assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] >= asked["timeout"]


def test_service_names_the_runtime_and_its_format(objects) -> None:
    runtime, model = objects["ServingRuntime"], objects["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"].items() <= runtime["spec"]["supportedModelFormats"][0].items()
