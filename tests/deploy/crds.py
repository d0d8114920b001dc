# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of the custom resources, as far as this repository uses them, written from their public references.

They refuse every field that is not in them, so that a misspelled one is found without a cluster.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_FREE = {"type": "object"}


def _fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": of}


def _resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _fields(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=_fields(("name",), name=_TEXT, namespace=_TEXT, labels=_FREE, annotations=_FREE),
        spec=spec,
    )


# https://prometheus-operator.dev/docs/api-reference/api/
SERVICE_MONITOR = _resource(
    "monitoring.coreos.com/v1",
    "ServiceMonitor",
    _fields(
        ("selector", "endpoints"),
        selector=_fields(("matchLabels",), matchLabels=_FREE),
        namespaceSelector=_fields(matchNames=_list(_TEXT)),
        endpoints=_list(
            _fields(("port",), port=_TEXT, path=_TEXT, interval={"type": "string", "pattern": r"^\d+[sm]$"})
        ),
    ),
)
PROMETHEUS_RULE = _resource(
    "monitoring.coreos.com/v1",
    "PrometheusRule",
    _fields(
        ("groups",),
        groups=_list(
            _fields(
                ("name", "rules"),
                name=_TEXT,
                rules=_list(
                    _fields(
                        ("alert", "expr"),
                        alert=_TEXT,
                        expr=_TEXT,
                        labels=_FREE,
                        annotations=_FREE,
                        **{"for": {"type": "string", "pattern": r"^\d+m$"}},
                    )
                ),
            )
        ),
    ),
)

_BEHAVIOR = _fields(
    scaleDown=_fields(
        stabilizationWindowSeconds=_COUNT,
        policies=_list(_fields(("type", "value", "periodSeconds"), type=_TEXT, value=_COUNT, periodSeconds=_COUNT)),
    )
)
# https://keda.sh/docs/latest/reference/scaledobject-spec and scalers/prometheus
SCALED_OBJECT = _resource(
    "keda.sh/v1alpha1",
    "ScaledObject",
    _fields(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=_fields(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
        minReplicaCount=_COUNT,
        maxReplicaCount=_COUNT,
        pollingInterval=_COUNT,
        cooldownPeriod=_COUNT,
        advanced=_fields(horizontalPodAutoscalerConfig=_fields(behavior=_BEHAVIOR)),
        triggers=_list(
            _fields(
                ("type", "metadata"),
                type={"const": "prometheus"},
                metricType={"enum": ["AverageValue", "Value"]},
                # Values of a trigger's metadata are texts, also the numbers.
                metadata=_fields(
                    ("serverAddress", "query", "threshold"), serverAddress=_TEXT, query=_TEXT, threshold=_TEXT
                ),
            )
        ),
    ),
)

# https://kserve.github.io/website/docs/reference/crd-api; containers and volumes are Kubernetes' own.
SERVING_RUNTIME = _resource(
    "serving.kserve.io/v1alpha1",
    "ServingRuntime",
    _fields(
        ("containers", "supportedModelFormats"),
        annotations=_FREE,
        supportedModelFormats=_list(_fields(("name",), name=_TEXT, version=_TEXT, autoSelect={"type": "boolean"})),
        protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
        containers=_list(_FREE),
        volumes=_list(_FREE),
    ),
)
_METRIC = _fields(
    ("type", "external"),
    type={"const": "External"},
    external=_fields(
        ("metric", "target"),
        metric=_fields(
            ("backend", "serverAddress", "query"), backend={"const": "prometheus"}, serverAddress=_TEXT, query=_TEXT
        ),
        target=_fields(("type", "value"), type={"const": "Value"}, value=_TEXT),
    ),
)
INFERENCE_SERVICE = _resource(
    "serving.kserve.io/v1beta1",
    "InferenceService",
    _fields(
        ("predictor",),
        predictor=_fields(
            ("model",),
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            terminationGracePeriodSeconds=_COUNT,
            automountServiceAccountToken={"type": "boolean"},
            securityContext=_FREE,
            model=_fields(
                ("modelFormat", "storageUri"),
                modelFormat=_fields(("name",), name=_TEXT, version=_TEXT),
                runtime=_TEXT,
                storageUri={"type": "string", "pattern": r"^(pvc|s3|gs|https|hf|oci)://"},
            ),
            autoScaling=_fields(metrics=_list(_METRIC)),
        ),
    ),
)

SCHEMAS = {
    schema["properties"]["kind"]["const"]: schema
    for schema in (SERVICE_MONITOR, PROMETHEUS_RULE, SCALED_OBJECT, SERVING_RUNTIME, INFERENCE_SERVICE)
}
