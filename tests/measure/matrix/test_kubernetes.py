# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Kubernetes Jobs of a sweep file, checked against Kubernetes' schemas."""

from __future__ import annotations

import shlex
import subprocess

import pytest
import yaml

from nld_trt.cli import run as command
from nld_trt.errors import InputError
from nld_trt.measure.matrix.emit_options import EmitOptions
from nld_trt.measure.matrix.kubernetes import emit_kubernetes
from nld_trt.measure.matrix.run import Matrix
from nld_trt.measure.matrix.sweep_file import SweepFile
from tests.deploy.checks import GPU, check_command_exists, check_is_confined, check_object

# Keys of a sweep file that measures a server.
SERVED = {**dict.fromkeys(("models", "platforms", "precisions", "build")), "server": "http://a:1"}


@pytest.fixture
def emit(write, tmp_path):
    """Write the Jobs of a sweep file; returns the objects by the names of their files."""

    def made(*options, **changes):
        flags = [word for option in ("claim=results", *options) for word in ("--option", option)]
        arguments = ["sweep", "--config", str(write(**changes)), "-o", str(tmp_path / "results")]
        assert command([*arguments, "--emit", "kubernetes", *flags]) == 0
        home = tmp_path / "results" / "kubernetes"
        return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in home.glob("*.yaml")}

    return made


def container_of(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


def test_objects_are_those_of_kubernetes(emit):
    for found in emit("namespace=measure", "image=registry/nld:1", platforms=["cpu", "h200"]).values():
        check_object(found)
        assert found["metadata"]["namespace"] == "measure"


def test_a_platform_has_an_index_for_each_point(emit):
    objects = emit("parallelism=4", "h200.parallelism=2", platforms=["cpu", "h200"], users=[1, 2])
    for platform, parallelism, gpus in (("cpu", 4, None), ("h200", 2, {GPU: 1})):
        job = objects[f"points-{platform}"]
        assert job["spec"]["completionMode"] == "Indexed"
        assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (4, parallelism)
        assert container_of(job)["resources"].get("limits") == gpus
    assert '--step "$((4 + $JOB_COMPLETION_INDEX))"' in container_of(objects["points-h200"])["command"][2]


def test_containers_are_confined_and_run_commands_that_exist(emit):
    jobs = [found for found in emit(platforms=["h200"]).values() if found["kind"] == "Job"]
    assert len(jobs) == 3
    for job in jobs:
        container = container_of(job)
        check_is_confined(container)
        line = container["command"][2].partition("||")[0].replace('"$JOB_COMPLETION_INDEX"', "0")
        parameters = check_command_exists(shlex.split(line))
        # The file and the results are where volumes are mounted.
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(parameters["config_file"].parent), str(parameters["output_dir"].parent)} <= mounts


def test_the_sweep_file_goes_along_and_jobs_follow_each_other(emit, tmp_path):
    objects = emit()
    assert yaml.safe_load(objects["config"]["data"]["sweep.yaml"])["modes"] == ["ar", "linear"]
    script = tmp_path / "results" / "kubernetes" / "submit.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    applied = [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("kubectl apply")]
    assert [line.split()[-1] for line in applied] == [
        "config.yaml",
        "build-cpu.yaml",
        "points-cpu.yaml",
        "collect.yaml",
    ]


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (["claim=a", "partition=gpu"], {}, "has no option partition"),
        (["claim=a", "parallelism=0"], {}, "parallelism=0 must be a whole number"),
        (
            ["claim=a"],
            dict.fromkeys(("models", "platforms", "precisions", "build")) | {"server": "http://a:1"},
            "measures a server",
        ),
    ],
)
def test_what_it_cannot_write_is_refused(write, tmp_path, options, changes, message):
    matrix = Matrix(SweepFile.read(write(**changes)), tmp_path / "results")
    with pytest.raises(InputError, match=message):
        emit_kubernetes(matrix, EmitOptions.parse(options))
