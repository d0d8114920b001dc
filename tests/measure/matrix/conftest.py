# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sweep files over a golden checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def write(tmp_path, converted):
    """Write a sweep file of two points of ``tiny-a`` on the CPU, with further keys; None takes a key away."""

    def make(name: str = "sweep.yaml", **changes) -> Path:
        prompts = tmp_path / "prompts.jsonl"
        prompts.write_text("\n".join(json.dumps({"prompt_ids": [1, 73, 20 + n]}) for n in range(3)), "utf-8")
        values = {
            "models": [str(converted("tiny-a"))],
            "platforms": ["cpu"],
            "precisions": ["fp32"],
            "build": {"max_seq_len": 64},
            "modes": ["ar", "linear"],
            "block_lengths": [4],
            "users": [1],
            "repeats": 1,
            "warmup": 0,
            "workloads": [{"name": "tiny", "prompts": "prompts.jsonl", "requests": 2, "max_new_tokens": 4}],
            **changes,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}), encoding="utf-8")
        return path

    return make
