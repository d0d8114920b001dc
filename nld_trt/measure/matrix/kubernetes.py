# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file as Kubernetes Jobs: a build and an indexed Job of points for each platform, and one that joins them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

import yaml

from nld_trt.engine.platforms import PLATFORMS
from nld_trt.errors import InputError
from nld_trt.files import publish_file
from nld_trt.measure.matrix.emit_options import EmitOptions
from nld_trt.measure.matrix.run import Matrix
from nld_trt.measure.matrix.tasks import SERVER

FOLDER: Final = "kubernetes"
SUBMIT: Final = "submit.sh"
OPTIONS: Final = ("image", "claim", "namespace", "gpu-resource", "cpu", "memory", "parallelism", "name", "wait")

_DEFAULTS: Final = {
    "image": "nld-trt-server",
    "namespace": "default",
    "gpu-resource": "nvidia.com/gpu",
    "cpu": "4",
    "memory": "16Gi",
    "parallelism": "1",
    "name": "nld-sweep",
    # Of kubectl, for each Job.
    "wait": "24h",
}
_RESULTS: Final = "/sweep"
_CONFIG: Final = "/config"
_CONFIG_FILE: Final = "sweep.yaml"
_INDEX: Final = '"$JOB_COMPLETION_INDEX"'


def emit_kubernetes(matrix: Matrix, options: EmitOptions, *, resume: bool = True) -> list[Path]:
    """Write the Jobs of ``matrix`` into its folder; returns the files, the one that submits the others first.

    The results are on a volume that every Job mounts, and the sweep file is in a ConfigMap: its paths are those of the
    containers.

    Raises:
        InputError: an option is unknown or missing, or the folder holds something that is no sweep.
    """
    options.check(OPTIONS, FOLDER)
    if matrix.file.server is not None and "image" not in options.of(None):
        raise InputError(
            f"{matrix.file.path} measures a server, and {_DEFAULTS['image']} has no AIPerf, which sends the requests",
            fix="Name an image that has nld-trt and aiperf: --option image=NAME",
        )
    if "claim" not in options.of(None):
        raise InputError(
            "--emit kubernetes needs a volume for checkpoints, engines and results",
            fix="Name its claim: --option claim=NAME",
        )
    matrix.prepare()
    home = matrix.folder.absolute() / FOLDER
    home.mkdir(exist_ok=True)
    again = () if resume else ("--no-resume",)
    common = {**_DEFAULTS, **options.of(None)}
    objects: dict[str, dict[str, Any]] = {"config": _config_map(matrix, common)}
    for platform in matrix.platforms:
        chosen, name, gpu = {**_DEFAULTS, **options.of(platform)}, platform or SERVER, None
        if platform is not None:
            gpu = chosen["gpu-resource"] if PLATFORMS[platform].compute_capabilities else None
            objects[f"build-{name}"] = _job(chosen, f"build-{name}", _command(f"build-{platform}"), gpu)
        numbers = [task.number for task in matrix.tasks_on(platform)]
        # An index counts from 0, and a platform's points may begin later. A point that fails is told by the last Job.
        step = f'"$(({numbers[0]} + $JOB_COMPLETION_INDEX))"' if numbers[0] else _INDEX
        point = f"{_command(step, *again)} || echo failed"
        objects[f"points-{name}"] = _job(chosen, f"points-{name}", point, gpu, points=numbers)
    objects["collect"] = _job(common, "collect", _command("collect"), None)
    return _write(home, objects, common)


def _command(step: str, *more: str) -> str:
    words = ["nld-trt", "sweep", "--config", f"{_CONFIG}/{_CONFIG_FILE}", "-o", f"{_RESULTS}/results", *more]
    return f"{shlex.join(words)} --step {step}"


def _config_map(matrix: Matrix, options: dict[str, str]) -> dict[str, Any]:
    text = matrix.file.path.read_text(encoding="utf-8-sig")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(options, "config"),
        "data": {_CONFIG_FILE: text},
    }


def _metadata(options: dict[str, str], name: str) -> dict[str, Any]:
    return {
        "name": f"{options['name']}-{name}",
        "namespace": options["namespace"],
        "labels": {"app.kubernetes.io/name": "nld-trt", "app.kubernetes.io/instance": options["name"]},
    }


def _job(
    options: dict[str, str], name: str, command: str, gpu: str | None, *, points: list[int] | None = None
) -> dict[str, Any]:
    spec: dict[str, Any] = {"backoffLimit": 1, "template": _pod(options, command, gpu)}
    if points is not None:
        # Points of a platform follow each other.
        assert points == list(range(points[0], points[-1] + 1))
        spec |= {
            "completionMode": "Indexed",
            "completions": len(points),
            "parallelism": _whole(options, "parallelism"),
            # Each index may lose its node once.
            "backoffLimit": len(points),
        }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(options, name), "spec": spec}


def _pod(options: dict[str, str], command: str, gpu: str | None) -> dict[str, Any]:
    resources: dict[str, Any] = {"requests": {"cpu": options["cpu"], "memory": options["memory"]}}
    if gpu is not None:
        resources["limits"] = {gpu: 1}
    container = {
        "name": "sweep",
        "image": options["image"],
        "command": ["/bin/sh", "-c", command],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": resources,
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "results", "mountPath": _RESULTS},
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        ],
    }
    return {
        "metadata": {"labels": {"app.kubernetes.io/instance": options["name"]}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "results", "persistentVolumeClaim": {"claimName": options["claim"]}},
                {"name": "config", "configMap": {"name": f"{options['name']}-config"}},
            ],
        },
    }


def _whole(options: dict[str, str], key: str) -> int:
    if not options[key].isdecimal() or int(options[key]) < 1:
        raise InputError(f"--option {key}={options[key]} must be a whole number of at least 1")
    return int(options[key])


def _write(home: Path, objects: dict[str, dict[str, Any]], options: dict[str, str]) -> list[Path]:
    """Write a file for each object, and the script that creates one after the other: Jobs do not depend on Jobs."""
    script = ["#!/bin/sh", "# Written by nld-trt sweep --emit kubernetes.", "set -eu", 'cd "$(dirname "$0")"']
    for name, made in objects.items():
        script.append(f"kubectl apply -f {name}.yaml")
        if made["kind"] == "Job":
            job = f"job/{made['metadata']['name']}"
            space, limit = shlex.quote(options["namespace"]), shlex.quote(options["wait"])
            script.append(f"kubectl wait --namespace {space} --for=condition=complete --timeout={limit} {job}")
    texts = {SUBMIT: "\n".join([*script, ""])}
    texts |= {f"{name}.yaml": yaml.safe_dump(made, sort_keys=False) for name, made in objects.items()}
    for name, text in texts.items():
        with publish_file(home / name) as work:
            work.write_text(text, encoding="utf-8")
    (home / SUBMIT).chmod(0o755)
    return [home / name for name in texts]
