# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The golden files are the ones that the expectations were computed from."""

import json
from pathlib import Path

from nld_trt.files import sha256_of

GOLDENS = Path(__file__).parents[1] / "goldens"


def test_every_golden_file_has_its_recorded_hash() -> None:
    recorded = json.loads((GOLDENS / "checksums.json").read_text(encoding="utf-8"))
    assert {name: sha256_of(GOLDENS / name) for name in recorded} == recorded


def test_every_golden_data_file_is_recorded() -> None:
    recorded = json.loads((GOLDENS / "checksums.json").read_text(encoding="utf-8"))
    stored = {path.relative_to(GOLDENS).as_posix() for path in GOLDENS.glob("*/**/*") if path.is_file()}
    assert stored == set(recorded)
