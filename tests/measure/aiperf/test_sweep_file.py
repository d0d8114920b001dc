# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file that names a server."""

from __future__ import annotations

import json

from nld_trt.cli import run as command


def test_a_server_is_measured_and_a_point_that_fails_is_named(front, recorded_aiperf, tmp_path, capsys):
    path, folder = tmp_path / "sweep.yaml", tmp_path / "results"
    path.write_text(
        f"server: {front.url}\nmodes: [linear]\nblock_lengths: [8]\nusers: [1, 2]\nrepeats: 1\nwarmup: 0\n"
        "workloads: [chat]\n",
        encoding="utf-8",
    )
    arguments = ["sweep", "--config", str(path), "-o", str(folder), "--aiperf", str(recorded_aiperf)]
    assert command(arguments) == 1
    assert "1 of 2 points failed\n  server.chat.linear_b8_c2: " in capsys.readouterr().err
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert [(row["mode"], row["concurrency"], row["workload"]) for row in summary["rows"]] == [("linear", 1, "chat")]
    (point,) = (folder / "points").glob("*.json")
    sent = json.loads(point.read_text(encoding="utf-8"))["commands"]
    assert all("--request-count 8 " in line for line in sent)
