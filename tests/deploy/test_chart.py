# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Helm chart: what it makes is valid, confined, and agrees with the image, the commands and the server."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import which

import pytest
import yaml

from nld_trt import names
from nld_trt.serving.metrics import FAMILIES
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.metrics import FAMILIES as FRONT_FAMILIES
from nld_trt.serving.triton import container
from tests.deploy.checks import GPU, check_command_exists, check_is_confined, check_object
from tests.deploy.conftest import INSTALLATIONS, NEEDED, containers


@pytest.fixture(params=INSTALLATIONS)
def objects(request, render):
    """Every object of an installation, by kind."""
    return render(INSTALLATIONS[request.param])


def test_objects_are_valid(objects) -> None:
    for each in objects.values():
        check_object(each)


def test_objects_that_values_switch_on_are_there(render) -> None:
    always = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"}
    watched = {"ServiceMonitor", "PrometheusRule", "NetworkPolicy"}
    assert set(render(INSTALLATIONS["least"])) == always
    assert set(render(INSTALLATIONS["hpa"])) == always | watched | {"HorizontalPodAutoscaler"}
    assert set(render(INSTALLATIONS["keda"])) == always | watched | {"ScaledObject"}


def test_chart_has_no_findings(chart_folder: Path) -> None:
    helm = pytest.importorskip("helm_python", reason="the extra deploy-tests renders the chart")
    found = helm.lint(str(chart_folder), values=NEEDED)
    assert not found["errors"]
    assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repository": {"existingClaim": "c"}}, "set apiKeys.existingSecret"),
        ({"apiKeys": {"open": True}}, "set repository.existingClaim or repository.objectStore.url"),
        ({**NEEDED, "apiKeys": {"existingSecret": "k", "open": True}}, "requests need a key or none"),
        (
            {**NEEDED, "repository": {"existingClaim": "c", "objectStore": {"url": "s3://b"}}},
            "the model repository has one source",
        ),
        ({**NEEDED, "autoscaling": {"minReplicas": 5}}, "minReplicas is above"),
        ({**NEEDED, "autoscaling": {"kind": "vpa"}}, "kind"),
        ({**NEEDED, "replicas": 2}, "replicas"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(render, values, message) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=message):
        render(values)


def test_values_and_their_schema_agree(chart_folder: Path) -> None:
    schema = json.loads((chart_folder / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((chart_folder / "values.yaml").read_text(encoding="utf-8"))
    assert list(schema["properties"]) == ["global", *values]
    for name, found in schema["properties"].items():
        assert found["description"]
        if name in values and found.get("additionalProperties") is False:
            assert list(found["properties"]) == list(values[name])
            assert all(each["description"] for each in found["properties"].values())


def test_image_and_server_are_those_of_the_dockerfile(objects, root: Path) -> None:
    triton = containers(objects["Deployment"])["triton"]
    dockerfile = (root / container.DOCKERFILE).read_text(encoding="utf-8")
    command = json.loads(dockerfile.partition("CMD ")[2].replace("\\\n", ""))
    assert triton["image"] == container.IMAGE
    assert triton["args"][: len(command)] == command
    assert ".[openai]" in dockerfile, "the image has the front"


def test_containers_are_confined(objects) -> None:
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    user, group = map(int, container.USER.split(":"))
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (user, group)
    assert spec["automountServiceAccountToken"] is False
    for each in containers(objects["Deployment"]).values():
        check_is_confined(each)


def test_repository_is_read_only_and_where_the_server_looks(objects) -> None:
    triton = containers(objects["Deployment"])["triton"]
    (mount,) = [each for each in triton["volumeMounts"] if each["name"] == "repository"]
    assert mount["readOnly"] is True
    assert mount["mountPath"] == container.MOUNT
    assert f"--model-repository={container.MOUNT}" in triton["args"]


def test_download_fills_the_folder_that_the_server_reads(render) -> None:
    deployment = render(INSTALLATIONS["object store"])["Deployment"]
    loader = containers(deployment)["repository"]
    assert loader["command"][-2:] == ["$(REPOSITORY_URL)", container.MOUNT]
    assert {"name": "REPOSITORY_URL", "value": "s3://bucket/repository"} in loader["env"]
    assert loader["envFrom"] == [{"secretRef": {"name": "store"}}]
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes["repository"]


def test_a_pod_has_one_gpu(objects, render) -> None:
    found = containers(objects["Deployment"])
    assert found["triton"]["resources"]["limits"][GPU] == 1
    assert GPU not in found["front"]["resources"].get("limits", {})
    other = render(
        {**NEEDED, "gpu": {"resource": "nvidia.com/mig-3g.40gb"}, "triton": {"resources": {"limits": {"cpu": 8}}}}
    )
    assert containers(other["Deployment"])["triton"]["resources"]["limits"] == {"cpu": 8, "nvidia.com/mig-3g.40gb": 1}


def test_front_is_started_by_a_command_that_exists(render) -> None:
    front = containers(render(INSTALLATIONS["keda"])["Deployment"])["front"]
    asked = check_command_exists(front["args"])
    assert asked["triton"] == f"127.0.0.1:{names.GRPC_PORT}"
    assert asked["triton_metrics"] == f"http://127.0.0.1:{names.METRICS_PORT}/metrics"
    assert (asked["host"], asked["port"], asked["models"]) == ("0.0.0.0", names.OPENAI_PORT, ("nld",))
    assert asked["max_body_bytes"] == names.DEFAULT_MAX_BODY_BYTES
    assert asked["deadline"] == 90
    (mount,) = [each for each in front["volumeMounts"] if each["name"] == "keys"]
    assert asked["api_key_file"] == Path(mount["mountPath"], "keys")


def test_only_the_front_is_reached_from_outside_unless_asked(render) -> None:
    least, exposed = render(INSTALLATIONS["least"]), render(INSTALLATIONS["hpa"])
    addresses = [f"--{name}-address=127.0.0.1" for name in container.PORTS]
    assert set(addresses) <= set(containers(least["Deployment"])["triton"]["args"])
    assert [port["name"] for port in least["Service"]["spec"]["ports"]] == ["openai"]
    ports = {port["name"]: port["containerPort"] for port in containers(exposed["Deployment"])["triton"]["ports"]}
    assert ports == {f"triton-{name}": port for name, port in container.PORTS.items()}
    (rule,) = exposed["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == {"openai", "triton-http", "triton-grpc"}


def test_services_and_policies_select_the_pods(objects) -> None:
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        objects["Service"]["spec"]["selector"],
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    if "NetworkPolicy" in objects:
        assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    if "ServiceMonitor" in objects:
        monitored = objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
        assert monitored <= objects["Service"]["metadata"]["labels"].items()


def test_autoscalers_scale_the_deployment_and_nothing_else_sets_its_size(render) -> None:
    for kind, name in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        made = render(INSTALLATIONS[kind])
        target = made[name]["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", made["Deployment"]["metadata"]["name"])
        assert "replicas" not in made["Deployment"]["spec"]


def test_both_autoscalers_use_the_same_gauges_and_targets(render) -> None:
    hpa = render(INSTALLATIONS["hpa"])["HorizontalPodAutoscaler"]["spec"]["metrics"]
    keda = render(INSTALLATIONS["keda"])["ScaledObject"]["spec"]["triggers"]
    service = 'namespace="prod",service="demo-nld-trt"'
    pods = {each["pods"]["metric"]["name"]: each["pods"]["target"]["averageValue"] for each in hpa}
    asked = {each["metadata"]["query"]: each["metadata"]["threshold"] for each in keda}
    assert asked == {f"sum({name}{{{service}}})": value for name, value in pods.items()}
    assert all(FAMILIES[name].kind == "gauge" for name in pods)


def test_probes_ask_what_the_servers_answer(objects) -> None:
    found = containers(objects["Deployment"])
    front = found["front"]
    assert front["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "openai"}
    assert front["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "openai"}
    ready = f"http://127.0.0.1:{names.HTTP_PORT}/v2/health/ready"
    triton = found["triton"]
    assert triton["startupProbe"]["exec"]["command"][-1] == triton["readinessProbe"]["exec"]["command"][-1] == ready
    assert triton["livenessProbe"]["exec"]["command"][-1] == f"http://127.0.0.1:{names.OPENAI_PORT}/health/ready"
    # The front may need its whole time to ask Triton.
    assert front["readinessProbe"]["timeoutSeconds"] > 5


def test_values_in_seconds_become_probes_of_that_length(render) -> None:
    asked = {**NEEDED, "triton": {"startSeconds": 1801, "restartAfterUnreadySeconds": 95}}
    triton = containers(render(asked)["Deployment"])["triton"]
    start, live = triton["startupProbe"], triton["livenessProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] == 1805
    assert live["periodSeconds"] * live["failureThreshold"] == 100


def test_a_pod_has_time_to_drain(render) -> None:
    deployment = render({**NEEDED, "drain": {"endpointsSeconds": 7, "requestSeconds": 120}})["Deployment"]
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    after = max(Limits().exit_seconds, _exit_seconds(deployment))
    assert grace > 7 + 120 + after


def _exit_seconds(deployment) -> int:
    (option,) = [word for word in containers(deployment)["triton"]["args"] if word.startswith("--exit-timeout-secs=")]
    return int(option.partition("=")[2])


class Gauges(BaseHTTPRequestHandler):
    """Metrics in which a request ends after the second look."""

    def do_GET(self) -> None:
        self.server.looks += 1  # type: ignore[attr-defined]
        value = 1 if self.server.looks < 3 else 0  # type: ignore[attr-defined]
        lines = [f'{name}{{model="nld"}} {value}' if index else f"{name} {value}" for index, name in enumerate(GAUGES)]
        body = "\n".join(["# TYPE nld_live_rows gauge", "nld_live_rows_of_others 7", *lines, ""]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


GAUGES = ("nld_front_open_requests", "nld_live_rows", "nld_waiting_requests")


@pytest.fixture
def gauges() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Gauges)
    server.looks = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def hook(render, name: str, port: int, seconds: int) -> list[str]:
    """The command that a container runs before it ends, at a server of this test."""
    made = render({**NEEDED, "drain": {"endpointsSeconds": 0, "requestSeconds": seconds}})
    command = containers(made["Deployment"])[name]["lifecycle"]["preStop"]["exec"]["command"]
    own = {"front": names.OPENAI_PORT, "triton": names.METRICS_PORT}[name]
    assert f"127.0.0.1:{own}/metrics" in command[-1]
    assert "  sleep 1\n" in command[-1]
    script = command[-1].replace(f"127.0.0.1:{own}", f"127.0.0.1:{port}").replace("  sleep 1\n", "  sleep 0.05\n")
    return [*command[:-1], script]


needs_curl = pytest.mark.skipif(which("curl") is None, reason="the hook needs curl, which the image has")


@needs_curl
@pytest.mark.parametrize("name", ["front", "triton"])
def test_a_container_waits_until_no_request_is_open(render, gauges, name) -> None:
    subprocess.run(hook(render, name, gauges.server_port, 60), check=True, timeout=60)
    assert gauges.looks == 3  # type: ignore[attr-defined]


@needs_curl
def test_a_container_does_not_wait_for_ever(render, gauges) -> None:
    gauges.looks = -1000  # type: ignore[attr-defined]
    began = time.monotonic()
    # The shell counts whole seconds, of which the first may be nearly over.
    subprocess.run(hook(render, "front", gauges.server_port, 2), check=False, timeout=60)
    assert time.monotonic() - began >= 1
    assert gauges.looks < 0  # type: ignore[attr-defined]


def test_hooks_look_at_gauges_that_exist(render) -> None:
    found = containers(render(NEEDED)["Deployment"])
    known = {name for name, family in {**FAMILIES, **FRONT_FAMILIES}.items() if family.kind == "gauge"}
    for name in GAUGES:
        assert name in known
        assert sum(name in each["lifecycle"]["preStop"]["exec"]["command"][-1] for each in found.values()) == 1
