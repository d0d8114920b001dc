# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Results of several sweeps in one folder."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest

from nld_trt.cli import run as command
from nld_trt.decode.engine import Engine
from nld_trt.errors import InputError
from nld_trt.measure.sweep.merge import Part, merge, read_parts
from nld_trt.measure.sweep.plan import plan_sweep
from nld_trt.measure.sweep.settings import SweepSettings

SETTINGS = SweepSettings(
    modes="ar", block_lengths=[4], concurrency=[1], threshold=0.9, requests=1, max_new_tokens=3, ignore_eos=True,
    warmup=0, repeats=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(engine, tmp_path_factory):
    """Folders of results: ``a`` has ar with 1 request in flight, ``b`` linear, ``c`` another measurement of ``a``."""
    home = tmp_path_factory.mktemp("measured")
    prompts = home / "prompts.jsonl"
    prompts.write_text('{"prompt_ids": [1, 73, 20]}\n', encoding="utf-8")
    with Engine.open(engine("tiny-a").path) as opened:
        for name, modes in (("a", "ar"), ("b", "linear"), ("c", "ar")):
            plan_sweep(opened, prompts, home / name, replace(SETTINGS, modes=modes)).run()
    return home


@pytest.fixture
def copied(measured, tmp_path):
    """Copy a folder of results under a new name and change its rows."""

    def copy(name, new, **changes):
        folder = shutil.copytree(measured / name, tmp_path / new)
        for path in (folder / "summary.json", *(folder / "points").glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            for row in content.get("rows") or [content["row"]]:
                row |= changes
            path.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return copy


def rows_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))["rows"]


def test_joined_results_are_a_sweep_of_their_own(measured, tmp_path, capsys):
    target = tmp_path / "all"
    assert command(["merge", str(measured / "a"), str(measured / "b"), "-o", str(target)]) == 0
    assert [row["mode"] for row in rows_of(target)] == ["ar", "linear"]
    with (target / "summary.csv").open(encoding="utf-8") as file:
        assert [line["mode"] for line in csv.DictReader(file)] == ["ar", "linear"]
    assert sorted(path.stem for path in (target / "points").glob("*.json")) == ["a.ar_c1", "b.linear_b4_c1"]
    # It can be joined again, with what it has.
    again = merge([Part.read(target), Part.read(measured / "a")])
    assert (len(again.rows), again.same) == (2, 1)


def test_two_words_are_the_same_command(measured, tmp_path, capsys):
    folders = [str(measured / name) for name in ("a", "b")]
    assert command(["sweep", "merge", *folders, "-o", str(tmp_path / "all"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["mode"] for row in found["rows"]] == ["ar", "linear"]


def test_a_copy_adds_nothing(measured, copied):
    merged = merge(read_parts([measured / "a", copied("a", "copy")]))
    assert (len(merged.rows), merged.same) == (1, 1)


@pytest.mark.parametrize(
    ("other", "changes", "message"),
    [
        (
            "b",
            {"version": "0.0.1"},
            "results in other are of another version of nld-trt than those in a: version 0.0.1",
        ),
        ("b", {"model_sha256": "0" * 64}, "in other are of another engine's checkpoint than those in a"),
        ("c", {}, "a and other have both measured the point ar_c1, with different results"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(measured, copied, tmp_path, capsys, other, changes, message):
    folder = copied(other, "other", **changes)
    assert command(["merge", str(measured / "a"), str(folder), "-o", str(tmp_path / "all")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "summary.json").unlink(), r"holds no results of a sweep: it has no summary\.json"),
        (lambda folder: shutil.rmtree(folder), r"holds no results of a sweep: it has no environment\.json"),
        (lambda folder: shutil.rmtree(folder / "points"), "has 1 rows, and the files of 0 of them"),
        (
            lambda folder: (folder / "summary.json").write_text('{"schema_version": 1, "rows": []}', encoding="utf-8"),
            "schema version 1; this nld-trt reads",
        ),
    ],
)
def test_a_folder_that_is_empty_or_half_written_is_refused(copied, damage, message):
    folder = copied("a", "damaged")
    damage(folder)
    with pytest.raises(InputError, match=message):
        Part.read(folder)


def test_a_merge_into_one_of_its_folders_or_of_one_twice_is_refused(measured, copied, tmp_path, capsys):
    folder = str(copied("a", "mine"))
    assert command(["merge", folder, str(measured / "b"), "-o", folder]) == 2
    assert command(["merge", folder, folder, "-o", str(tmp_path / "all")]) == 2
    assert not (tmp_path / "all").exists()


def test_a_point_that_failed_is_told_unless_another_folder_has_it(measured, copied):
    failing = copied("a", "failing")
    summary = json.loads((failing / "summary.json").read_text(encoding="utf-8"))
    summary["failed"] = {"ar_c2": "the device is lost"}
    (failing / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert merge(read_parts([failing, measured / "b"])).failed == {"failing.ar_c2": "the device is lost"}
