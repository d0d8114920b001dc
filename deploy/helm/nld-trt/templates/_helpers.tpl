{{/* SPDX-FileCopyrightText: 2026 The nld-trt authors */}}
{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Name of every object: the release's, with the chart's unless it is part of it. */}}
{{- define "nld-trt.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "nld-trt.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nld-trt.labels" -}}
{{ include "nld-trt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "nld-trt.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end -}}

{{- define "nld-trt.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "nld-trt.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Labels by which Prometheus knows the pods of this release, if a ServiceMonitor scrapes them. */}}
{{- define "nld-trt.series" -}}
{{ printf "namespace=\"%s\",service=\"%s\"" .Release.Namespace (include "nld-trt.fullname" .) }}
{{- end -}}

{{/* Security of every container. */}}
{{- define "nld-trt.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
A command for preStop that waits until no request is left. The pod gets new requests for a moment after it has been
taken from the service. Takes the root, a URL of metrics and the gauges that count requests.
*/}}
{{- define "nld-trt.drain" -}}
{{- $drain := .root.Values.drain -}}
- /bin/sh
- -c
- |
  sleep {{ $drain.endpointsSeconds }}
  end=$(($(date +%s) + {{ $drain.requestSeconds }}))
  while [ "$(date +%s)" -lt "$end" ]; do
    curl --noproxy '*' --silent --max-time 2 {{ .url }} |
      awk '/^({{ join "|" .gauges }})[ {]/ { open += $NF } END { exit (open > 0) }' && exit 0
    sleep 1
  done
{{- end -}}

{{/* Refuses values that contradict each other. */}}
{{- define "nld-trt.check" -}}
{{- $claim := .Values.repository.existingClaim -}}
{{- $url := .Values.repository.objectStore.url -}}
{{- if and $claim $url -}}
{{- fail "repository.existingClaim and repository.objectStore.url are both set: the model repository has one source" -}}
{{- end -}}
{{- if not (or $claim $url) -}}
{{- fail "set repository.existingClaim or repository.objectStore.url: the folder that nld-trt repo wrote" -}}
{{- end -}}
{{- if and (not .Values.apiKeys.existingSecret) (not .Values.apiKeys.open) -}}
{{- fail "set apiKeys.existingSecret (kubectl create secret generic NAME --from-file=keys=FILE), or apiKeys.open=true to serve without keys" -}}
{{- end -}}
{{- if and .Values.apiKeys.existingSecret .Values.apiKeys.open -}}
{{- fail "apiKeys.existingSecret and apiKeys.open are both set: requests need a key or none" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
