# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The chart, rendered by Helm's library in this process: no helm binary and no cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

# The least that an installation must say.
NEEDED = {"repository": {"existingClaim": "nld-repository"}, "apiKeys": {"existingSecret": "nld-keys"}}
# Everything that a value switches on; two sets, because an HPA and a ScaledObject exclude each other.
EVERYTHING = {
    "triton": {"expose": True, "extraArgs": ["--log-verbose=1"], "env": [{"name": "NLD_TRT_THREADS", "value": "4"}]},
    "front": {"deadlineSeconds": 90},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "alerts": {"enabled": True},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}]},
    "gpu": {"runtimeClassName": "nvidia"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "podAnnotations": {"example.com/owner": "apps"},
    "priorityClassName": "serving",
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "nld-trt"}},
        }
    ],
}
INSTALLATIONS: dict[str, dict[str, Any]] = {
    "least": NEEDED,
    "hpa": {**NEEDED, **EVERYTHING, "autoscaling": {"kind": "hpa"}},
    "keda": {**NEEDED, **EVERYTHING, "autoscaling": {"kind": "keda"}},
    "object store": {
        "repository": {"objectStore": {"url": "s3://bucket/repository", "secretName": "store"}, "subPath": "r"},
        "apiKeys": {"open": True},
    },
}

Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def chart_folder(root: Path) -> Path:
    return root / "deploy" / "helm" / "nld-trt"


@pytest.fixture(scope="session")
def render(chart_folder: Path) -> Callable[[dict[str, Any]], Objects]:
    """Renders the chart with values, into objects by their kind."""
    helm = pytest.importorskip("helm_python", reason="the extra deploy-tests renders the chart")

    def rendered(values: dict[str, Any]) -> Objects:
        with helm.Chart.load(str(chart_folder)) as chart:
            chart.validate_schema(chart.merge_values(values))
            texts = chart.render(values, name="demo", namespace="prod")
        found = [yaml.safe_load(text) for name, text in texts.items() if not name.endswith(".txt")]
        objects = {each["kind"]: each for each in found if each is not None}
        assert len(objects) == sum(each is not None for each in found)
        return objects

    return rendered


def containers(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = deployment["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", ()), *spec["containers"]]}
