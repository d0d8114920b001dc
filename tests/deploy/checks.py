# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What every object and every container of a deployment must be, whoever wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from nld_trt.cli import cli
from tests.deploy.crds import SCHEMAS

# The Kubernetes releases that the objects are checked against; the chart names the first as the oldest.
RELEASES = ("1.27", "1.33")
GPU = "nvidia.com/gpu"


def check_object(found: dict[str, Any]) -> None:
    """Check an object against Kubernetes' schemas, or that of its custom resource. Unknown fields are errors."""
    kubernetes = pytest.importorskip("kubernetes_validate", reason="the extra deploy-tests checks objects")
    import jsonschema

    if found["kind"] in SCHEMAS:
        jsonschema.validate(found, SCHEMAS[found["kind"]])
        return
    for release in RELEASES:
        kubernetes.validate(found, release, strict=True)


def check_is_confined(container: dict[str, Any]) -> None:
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"name": "HOME", "value": "/tmp"} in container["env"]


def check_command_exists(words: list[str]) -> dict[str, Any]:
    """Parse a command of nld-trt as a container has it, and return its parameters."""
    program, name, *rest = words
    assert program == "nld-trt"
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    return command.make_context(name, rest).params
