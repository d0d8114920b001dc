# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What AIPerf wrote about one run: a record for each request, and figures of the whole run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError, OperationError
from nld_trt.files import read_json
from nld_trt.files.json_text import JsonError, parse_json

# AIPerf's files, in the folder of its artifacts.
SUMMARY: Final = "profile_export_aiperf.json"
RECORDS: Final = "profile_export.jsonl"
RAW: Final = "profile_export_raw.jsonl"
RAW_PARTS: Final = "raw_records"
# Its phase whose requests count.
_TIMED: Final = "profiling"
# Of a message that has the whole answer of a server.
_LONGEST_REASON: Final = 300


@dataclass(frozen=True)
class ServedRequest:
    """One request. Times are in milliseconds; what a server does not tell is None.

    Attributes:
        conversation: the id that the line of the prompts has.
        itl: None if one chunk had the whole answer.
        accepted, drafts: accepted tokens of drafts, and the drafts.
        nfe: forwards that count.
    """

    conversation: str
    tokens: int
    ttft: float
    latency: float
    itl: float | None = None
    accepted: int | None = None
    drafts: int | None = None
    nfe: int | None = None


@dataclass(frozen=True)
class ServedRun:
    """One run, with AIPerf's figures for it. Rates are per second.

    Attributes:
        requests: those that were answered.
        failures: number of the others, by the reason. An answer without any text is one of them for AIPerf.
    """

    seconds: float
    output_rate: float
    request_rate: float
    requests: Sequence[ServedRequest]
    failures: Counter[str] = field(default_factory=Counter)


def read_run(artifacts: Path) -> ServedRun:
    """Read the files of a run.

    Raises:
        OperationError: every request failed, or AIPerf did not finish. The message has the reasons.
    """
    records = [each for each in _lines(artifacts / RECORDS) if _is_timed(each)]
    failures = Counter(_reason(each["error"]) for each in records if each.get("error"))
    answered = [each for each in records if not each.get("error")]
    if failures and not answered:
        raise OperationError(f"{len(records)} of {len(records)} requests failed: {told(failures)}")
    try:
        summary = read_json(artifacts / SUMMARY)
    except InputError as error:
        raise OperationError(f"AIPerf wrote no summary: {error.what}") from error
    if not answered or summary.get("was_cancelled"):
        raise OperationError("AIPerf ended before its requests did")
    forwards = _forwards(artifacts / RAW)
    return ServedRun(
        seconds=summary["benchmark_duration"]["avg"],
        output_rate=summary["output_token_throughput"]["avg"],
        request_rate=summary["request_throughput"]["avg"],
        requests=[_request(each, forwards) for each in answered],
        failures=failures,
    )


def told(failures: Mapping[str, int]) -> str:
    """Returns the most frequent reasons in one line."""
    return "; ".join(f"{count} × {reason}" for reason, count in Counter(failures).most_common(3))


def _is_timed(record: Mapping[str, Any]) -> bool:
    return bool(record["metadata"]["benchmark_phase"] == _TIMED)


def _request(record: Mapping[str, Any], forwards: Mapping[str, int]) -> ServedRequest:
    metadata, metrics = record["metadata"], record["metrics"]

    def value(name: str) -> Any:
        return metrics[name]["value"] if name in metrics else None

    return ServedRequest(
        conversation=metadata["conversation_id"],
        tokens=value("output_sequence_length") or 0,
        ttft=value("time_to_first_token"),
        latency=value("request_latency"),
        itl=value("inter_token_latency"),
        accepted=value("spec_decode_accepted_draft_tokens"),
        drafts=value("spec_decode_steps"),
        nfe=forwards.get(metadata["x_request_id"]),
    )


def _forwards(path: Path) -> dict[str, int]:
    """Returns the forwards of each answer, by the id of its request, from the ``metrics`` that end a stream."""
    found = {}
    for record in _lines(path) if path.is_file() else ():
        for response in reversed(record.get("responses") or ()):
            metrics = _metrics(response)
            if metrics is not None:
                if type(metrics.get("nfe")) is int:
                    found[record["metadata"]["x_request_id"]] = metrics["nfe"]
                break
    return found


def _metrics(response: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for packet in response.get("packets") or ():
        if packet["name"] == "data" and '"metrics"' in packet["value"]:
            values = json.loads(packet["value"])
            metrics = values.get("metrics") if isinstance(values, dict) else None
            if isinstance(metrics, dict):
                return metrics
    return None


def _reason(error: Mapping[str, Any]) -> str:
    """Returns why a request failed, in the words of the server if they are in OpenAI's form."""
    text = str(error.get("message") or error.get("type"))
    try:
        body = parse_json(text)
        text = str(body["error"]["message"])
    except (JsonError, KeyError, TypeError):
        pass
    line = " ".join(text.split())
    code = error.get("code")
    return f"{'' if code is None else f'{code}: '}{line[:_LONGEST_REASON]}"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except OSError as error:
        raise OperationError(f"AIPerf wrote no {path.name}") from error
    except ValueError as error:
        raise OperationError(f"AIPerf's {path.name} has a line that is not JSON") from error
