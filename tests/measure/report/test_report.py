# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The report as its user gets it: what it says, and in which files."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from nld_trt.cli import run
from nld_trt.files import human_bytes
from nld_trt.measure.sweep.results import SUMMARY_JSON
from tests.measure.report.sweep_rows import ROWS, row

# Elements of HTML that have no end.
VOID = {"meta", "link", "br", "hr", "img"}


class Page(HTMLParser):
    """The texts, tables and addresses of a page; it fails at an element that is closed where it is not open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.names, self.text = [], [], set(), ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[name] for name in ("href", "src") if name in found]
        self.names |= {found["id"]} if "id" in found else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        self.text += data


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


def test_a_page_is_whole_and_fetches_nothing(sweep, capsys):
    folder = sweep()
    assert run(["report", str(folder)]) == 0
    page = page_of(folder / "report.html")
    assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= page.names
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", source)) == {"http://www.w3.org/2000/svg"}
    assert len(source) < 2_000_000


def test_the_most_important_comes_first(sweep, capsys):
    assert run(["report", str(sweep())]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "With 1 user, linear, block 32 is fastest: 330 tokens/s, 3.30 times AR.",
        "Most in all: ar at 16 users, 1,400 tokens/s.",
        "AR overtakes the best of the other fixed modes between 8 and 16 users, at about 12.",
        "Auto gives 97% to 102% of the best fixed mode.",
    ]


def test_every_row_is_on_the_page_with_its_file(sweep, capsys):
    point = row("ar", 3, 777.0)
    folder = sweep([point], points=[("ar_c3", {"row": point})])
    assert run(["report", str(folder)]) == 0
    text = page_of(folder / "report.html").text
    assert "results/points/ar_c3.json" in text
    assert "777" in text
    assert human_bytes(2**34) in text


def test_texts_of_others_are_no_markup(sweep, capsys):
    folder = sweep([row(model='<script>alert("1")</script>', device="GPU | <i>", mode="<b>")])
    assert run(["report", str(folder), "-o", str(folder / "all")]) == 0
    page = page_of(folder / "all" / "report.html")
    assert '<script>alert("1")</script>' in page.text
    assert "nld-trt sweep engine <b>" in page.text
    markdown = (folder / "all" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown.replace("\\<", "")
    assert "GPU \\| \\<i\\>" in markdown


def test_a_folder_has_all_forms(sweep, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    target = tmp_path / "report"
    assert run(["report", str(sweep()), "-o", str(target), "--plots", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    charts = {"pareto-gpu", "speedup", "throughput-nld-8b-trt-bf16-nvidia-gb200"}
    texts = {"report.html", "report.md", "report.csv"}
    assert names == texts | {f"charts/{name}.{form}" for name in charts for form in ("svg", "png")}
    assert set(shown["files"]) == {str(target / name) for name in names}
    for path in target.glob("charts/*.svg"):
        ElementTree.parse(path)
    for name in re.findall(r"\]\((charts/[^)]+)\)", (target / "report.md").read_text(encoding="utf-8")):
        assert name in names


def test_csv_has_the_rows(sweep, tmp_path, capsys):
    target = tmp_path / "rows.csv"
    assert run(["report", str(sweep()), "-o", str(target)]) == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(each["mode"], float(each["output_tps"])) for each in rows] == [
        (each["mode"], each["output_tps"]) for each in ROWS
    ]


def test_a_report_of_two_runs_names_them(sweep, tmp_path, capsys):
    other = [row("ar", 1, 150.0, precision="fp16")]
    target = tmp_path / "both.md"
    assert run(["report", str(sweep(ROWS, "one")), str(sweep(other, "two")), "-o", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert "Where the numbers of one are from" in text
    assert "fp16: most in all: ar at 1 user, 150 tokens/s." in text


def scores_file(path, sha="aa", mode="ar", block=None, **changes):
    """A file of nld-trt evaluate with one mode."""
    score = {"mode": mode, "block_length": block, "accuracy": 0.875}
    values = {"engine": "nld-8b", "model_sha256": sha, "quantization": None, "backend": "trt", "precision": "bf16"}
    path.write_text(json.dumps({**values, "scores": [score], **changes}), encoding="utf-8")
    return path


def test_models_of_several_families_are_side_by_side_and_on_one_pareto_picture(sweep, tmp_path, capsys):
    ours = [{**each, "family": "nld", "model_sha256": "aa"} for each in ROWS]
    others = [row("ar", users, 90.0 * users, model="other", family="qwen3", model_sha256="bb") for users in (1, 4)]
    folders, target = [str(sweep(ours, "one")), str(sweep(others, "two"))], tmp_path / "report"
    scores = ["--scores", str(scores_file(tmp_path / "a.json"))]
    scores += ["--scores", str(scores_file(tmp_path / "b.json", "bb"))]
    assert run(["report", *folders, *scores, "-o", str(target), "--no-plots"]) == 0
    assert "other: most in all: ar at 4 users, 360 tokens/s." in capsys.readouterr().out
    text = (target / "report.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| Qwen3 | other |")]
    assert lines == ["| Qwen3 | other | ar | 0.875 | – | 90 | 360 | – | – |"]
    assert "| Nemotron-Labs-Diffusion | nld-8b | linear, block 32 | – | 4.20 |" in text
    picture = (target / "charts" / "pareto-gpu.svg").read_text(encoding="utf-8")
    assert "nld-8b: linear, block 32" in picture
    assert "other: ar" in picture


def test_one_model_has_no_table_of_models(sweep, capsys):
    folder = sweep()
    assert run(["report", str(folder)]) == 0
    assert "Models side by side" not in page_of(folder / "report.html").text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha": "cc"}, "are of no point of these folders"),
        ({"mode": "diffusion", "block": 4}, "diffusion, block 4"),
        ({"scores": [{"mode": "ar"}]}, "has no scores of nld-trt evaluate"),
        ({"backend": "ort"}, "are of checkpoint aa, ort bf16, ar"),
    ],
)
def test_scores_of_something_else_are_refused(sweep, tmp_path, capsys, changes, message):
    folder = sweep([{**each, "model_sha256": "aa"} for each in ROWS])
    before = sorted(folder.rglob("*"))
    path = scores_file(tmp_path / "scores.json", **changes)
    assert run(["report", str(folder), "--scores", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_runs_of_the_same_are_told_apart_by_their_names(sweep, tmp_path, capsys):
    runs = [sweep([row("ar", 1, rate)], name) for name, rate in (("one", 100.0), ("two", 150.0))]
    assert run(["report", *map(str, runs), "-o", str(tmp_path / "both.html")]) == 0
    out = capsys.readouterr().out
    assert "one: most in all: ar at 1 user, 100 tokens/s." in out
    assert "two: most in all: ar at 1 user, 150 tokens/s." in out


def test_requests_that_arrive_at_a_rate_are_named_and_not_drawn_over_users(sweep, tmp_path, capsys):
    rates = [row("ar", 8, rate * 50, request_rate=rate, workload="chat") for rate in (0.5, 2.0)]
    target = tmp_path / "report"
    assert run(["report", str(sweep([row("ar", 1, 100.0, workload="chat"), *rates])), "-o", str(target)]) == 0
    out = capsys.readouterr().out
    assert "0.5 requests/s: most in all" in out
    assert "2 requests/s: most in all" in out
    assert "chat:" not in out
    assert len([*target.glob("charts/throughput-*.svg")]) == 1
    assert "arrive at a rate" in (target / "report.md").read_text(encoding="utf-8")


def test_what_was_not_measured_is_left_out(sweep, capsys):
    folder = sweep([row("default", 1, 90.0, device=None, gpus=None, backend=None, precision=None, tps_per_user=None)])
    assert run(["report", str(folder)]) == 0
    text = page_of(folder / "report.html").text
    assert "Energy per token" not in text
    assert "AR was not measured with another mode" in text
    assert "Speed for a user" not in text


def test_warnings_come_before_numbers(sweep, capsys):
    rows = [row(repeats=1, scripted_acceptance="speed-bench")]
    assert run(["report", str(sweep(rows, failed={"linear_b32_c1": "out of memory"}))]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Acceptance was drawn from speed-bench")
    assert second == "1 point of results failed, with no figures here: linear_b32_c1."
    assert third.startswith("Some points were measured once")


def test_energy_and_categories_have_sections(sweep, capsys):
    point = row("linear", 1, 330.0, block=32, joules_per_token=1.25, acceptance_length=8.0)
    sums = {"coding": {"requests": 2, "tokens": 90, "nfe": 20, "accepted": 70, "drafts": 10}}
    folder = sweep([point], points=[("linear_b32_c1", {"row": point, "categories": sums})])
    assert run(["report", str(folder)]) == 0
    text = page_of(folder / "report.html").text
    assert "Energy per token" in text
    assert "1.25" in text
    assert "Acceptance length by category of prompts" in text


def test_a_plan_is_shown_with_its_error(sweep, tmp_path, capsys):
    point = {
        "platform": "gb200", "precision": "bf16", "mode": "linear", "block_length": 32, "users": 1, "context": 512,
        "tokens_per_second": 363.0, "tokens_per_second_low": 300.0, "tokens_per_second_high": 400.0,
        "provenance": "fitted",
    }  # fmt: skip
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"points": [point]}), encoding="utf-8")
    folder = sweep()
    assert run(["report", str(folder), "--plan", str(plan)]) == 0
    said = "The plan is off by 10.0% in the median and 10.0% at most; 1 of 1 measurements are in its range."
    assert said in capsys.readouterr().out
    assert "Plan against measurement" in page_of(folder / "report.html").text


def test_a_comparison_shows_and_writes_its_verdicts(sweep, tmp_path, capsys):
    after = [*(row(each["mode"], each["concurrency"], each["output_tps"], block=each["block_length"]) for each in ROWS)]
    after[0] = row("ar", 1, 130.0)
    target = tmp_path / "compare.html"
    arguments = [str(sweep(ROWS, "before")), str(sweep(after, "after")), "-o", str(target)]
    assert run(["report", "--compare", *arguments]) == 0
    out = capsys.readouterr().out
    assert "faster" in out
    assert "Of 12 points after is faster at 1 and slower at 0; 11 have no difference." in out
    text = page_of(target).text
    assert "+30.0%" in text
    assert "have nothing in common" in text


def test_a_comparison_needs_no_file(sweep, capsys):
    folders = [sweep(ROWS, "before"), sweep(ROWS, "after")]
    before = [sorted(folder.rglob("*")) for folder in folders]
    assert run(["report", "--compare", *map(str, folders)]) == 0
    assert "no difference" in capsys.readouterr().out
    assert [sorted(folder.rglob("*")) for folder in folders] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare"], "takes two folders, and 1 were given"),
        (["-o", "report.pdf"], "no form .pdf"),
        (["-o", "nowhere/report.html"], "a folder that does not exist"),
        (["--plan", "nothing.json"], "Cannot read nothing.json"),
        (["--scores", "nothing.json"], "Cannot read nothing.json"),
    ],
)
def test_what_cannot_be_reported_is_refused(sweep, monkeypatch, tmp_path, capsys, arguments, message):
    folder = sweep()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["report", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_half_written_folder_is_refused_and_left_as_it_is(sweep, capsys):
    folder = sweep()
    (folder / SUMMARY_JSON).unlink()
    before = sorted(folder.rglob("*"))
    assert run(["report", str(folder)]) == 2
    assert "it goes on where it ended" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_folder_of_something_else_is_not_replaced(sweep, tmp_path, capsys):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years", encoding="utf-8")
    assert run(["report", str(sweep()), "-o", str(target)]) == 2
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]
