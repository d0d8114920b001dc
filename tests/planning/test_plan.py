# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Plans: what rates are made of, where ar overtakes, and what is refused."""

from __future__ import annotations

import re

import pytest

from nld_trt import names
from nld_trt.decode.auto.costs import CostPoint, CostTable, Origin
from nld_trt.decode.auto.shapes import PUBLISHED, of_mean
from nld_trt.errors import InputError
from nld_trt.files import write_json
from nld_trt.planning.building import build_cost
from nld_trt.planning.memory import Memory
from nld_trt.planning.model import PlannedModel, planned_model
from nld_trt.planning.plan import Plan, Question, plan_on, plans_on
from nld_trt.planning.platform import gpu_platform
from nld_trt.planning.times import Calibration


def question(model: PlannedModel | str = "8b", *, precision: str | None = None, **settings) -> Question:
    found = planned_model(model, precision) if isinstance(model, str) else model
    defaults = {
        "modes": names.DEFAULT_PLANNED_MODES, "users": (1, 8, 64), "users_stated": False, "block_length": None,
        "context": 512, "max_seq_len": None, "acceptance": PUBLISHED[names.DEFAULT_WORKLOAD],
    }  # fmt: skip
    return Question(found, **{**defaults, **settings}).within_limits()


def plan(platform: str = names.B200, **settings) -> Plan:
    return plan_on(gpu_platform(platform), question(**settings))


@pytest.fixture(scope="module")
def b200() -> Plan:
    return plan()


def test_a_rate_is_what_its_forwards_make_of_it(b200):
    forwards = {(each.width, each.rows): each.seconds for each in b200.forwards}
    for point in b200.points():
        took = sum(forwards[each["width"], each["rows"]] * each["count"] for each in point["forwards"])
        rate = point["users"] * point["tokens_per_round"] / took
        assert point["tokens_per_second"] == pytest.approx(rate)
        assert point["tokens_per_second_per_user"] == pytest.approx(rate / point["users"])
        assert point["tokens_per_second_low"] < rate < point["tokens_per_second_high"]


def test_a_round_of_linear_is_two_forwards_of_a_block(b200):
    [point] = [each for each in b200.points() if (each["mode"], each["users"]) == (names.LINEAR, 8)]
    [forward] = point["forwards"]
    assert (forward["width"], forward["rows"], forward["count"]) == (32, 8, 2)
    assert point["tokens_per_round"] == pytest.approx(6.82)


def test_auto_is_as_good_as_the_best(b200):
    rates = {(rate.mode, rate.users): rate for rate in b200.rates}
    for users in (1, 8, 64):
        best = max(rates[mode, users].tokens_per_second for mode in (names.AR, names.LINEAR))
        assert rates[names.AUTO, users].tokens_per_second >= best


def test_ar_overtakes_where_it_was_measured_to(b200):
    """On B200 with blocks of 32 between 16 and 32 users (NVIDIA, SPEED-Bench document)."""
    [found] = [each for each in b200.crossovers if each.block_length == 32]
    assert 16 <= found.users <= 32


def test_crossovers_separate_the_users(b200):
    for crossover in b200.crossovers:
        question_of = {"block_length": crossover.block_length, "modes": (names.AR, names.LINEAR)}
        for users, better in ((crossover.users - 1, names.LINEAR), (crossover.users, names.AR)):
            found = plan(users=(users,), **question_of)
            assert max(found.rates, key=lambda rate: rate.tokens_per_second).mode == better


def test_more_acceptance_moves_the_crossover_up():
    few, many = (plan(acceptance=of_mean(mean)).crossovers[-1].users for mean in (4, 10))
    assert few < many


def test_four_bits_are_faster_for_one_user_on_a_slow_memory():
    wide, narrow = (plan(names.DGX_SPARK, precision=each).rates[0].tokens_per_second for each in (None, names.INT4))
    assert 2 < narrow / wide < 4


def test_acceptance_beyond_what_was_published_is_said_to_be_extrapolated():
    assert "acceptance beyond 32 tokens is extrapolated" in plan(block_length=64).notes
    assert "acceptance beyond 32 tokens is extrapolated" not in plan(block_length=32).notes


def test_quadratic_has_no_number_and_says_why():
    found = plan(modes=(names.QUADRATIC, names.AR))
    assert {rate.mode for rate in found.rates} == {names.AR}
    [unknown] = found.unknown
    assert unknown.startswith("quadratic: how many tokens its forwards make with few drafts was not published")


@pytest.mark.parametrize(
    ("model", "mode", "settings", "width"),
    [
        ("8b", names.QUADRATIC, {}, 32),
        ("8b", names.LINEAR, {"block_length": 16}, 16),
        ("sdar-8b", names.DIFFUSION, {"block_length": 8}, 8),
        ("llada-8b", names.DIFFUSION, {"context": 700}, 700),
        ("dream-7b", names.DIFFUSION, {}, 512),
    ],
)
def test_stated_tokens_of_a_forward_give_a_rate_of_their_own(model, mode, settings, width):
    found = plan(model=model, modes=(mode,), tokens_per_forward=2.5, **settings)
    assert found.unknown == ()
    for rate in found.rates:
        [(forward, count)] = rate.forwards
        assert (forward.width, count, rate.tokens) == (width, 1, 2.5)
        assert rate.tokens_per_second == pytest.approx(rate.users * 2.5 / rate.seconds)
        assert rate.provenance == forward.provenance


@pytest.mark.parametrize("mode", [names.AR, names.AUTO])
def test_stated_tokens_are_refused_where_nothing_takes_them(mode):
    with pytest.raises(InputError, match=r"--tokens-per-forward is 2\.5"):
        plan(modes=(mode,), tokens_per_forward=2.5)


def test_a_forward_cannot_make_more_tokens_than_it_has():
    with pytest.raises(InputError, match="--tokens-per-forward is 9, and a forward has 8 new tokens"):
        plan(model="sdar-8b", modes=(names.DIFFUSION,), block_length=8, tokens_per_forward=9.0)


def test_stated_tokens_leave_other_modes_as_they_are():
    with_it, without = (plan(modes=(names.AR, names.LINEAR), tokens_per_forward=each) for each in (3.0, None))
    times = {
        found: [rate.tokens_per_second for rate in given.rates if rate.mode == names.AR]
        for found, given in (("with", with_it), ("without", without))
    }
    assert times["with"] == times["without"]


def test_users_that_do_not_fit_are_left_out_unless_they_were_asked_for():
    found = plan(names.RTX_5090)
    assert found.users == (1, 8)
    assert any(note.startswith("64 users do not fit") for note in found.notes)
    with pytest.raises(InputError, match=r"with 64 rows of 4096 tokens does not fit GeForce RTX 5090.* too much"):
        plan(names.RTX_5090, users_stated=True)


def test_the_nearest_settings_that_are_named_fit():
    with pytest.raises(InputError) as refused:
        plan(names.RTX_5090, users=(64,), users_stated=True)
    platform, seen = gpu_platform(names.RTX_5090), 0
    for setting in refused.value.details:
        users = int(re.search(r"--users (\d+)", setting)[1])
        length = int(re.search(r"--max-seq-len (\d+)", setting)[1])
        precision = re.search(r"--precision (\w+)", setting)
        shape = planned_model("8b", precision and precision[1]).shape
        memory = Memory.on(platform, shape, users=users, max_seq_len=length, block_length=32)
        assert memory.missing <= 0, setting
        seen += 1
    assert seen == 3


def test_a_model_that_fits_with_no_user_at_all_is_refused():
    with pytest.raises(InputError, match="does not fit GeForce RTX 5090"):
        plan(names.RTX_5090, model="14b", max_seq_len=262144)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"platform": names.GB300, "precision": names.FP8}, "plan has no fp8 law for GB300"),
        (
            {"platform": names.B200, "precision": names.NVFP4, "backend": names.TORCH},
            "no number for nvfp4 with torch on B200, which has no kernels that read NVFP4",
        ),
        ({"platform": names.H100, "backend": names.TRT_RTX}, "H100 SXM can run torch, trt; trt-rtx was asked for"),
        ({"context": 5000}, "--context 5000 and a block of 32 are more than the 4096 tokens of a row"),
    ],
)
def test_what_nothing_is_known_of_has_no_number(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        plan(**settings)


def test_platforms_without_a_plan_are_named_beside_the_others():
    found, refused = plans_on(names.PLANNED_PLATFORMS, question(precision=names.FP8))
    assert names.B200 in [each.platform.name for each in found]
    assert sorted(re.search("fp8 law for (.*?):", text)[1] for text in refused) == [
        "GB300", "GeForce RTX 5090", "Jetson Thor T5000",
    ]  # fmt: skip


def test_a_build_that_was_measured_costs_what_it_did():
    shape = planned_model("8b", names.INT4).shape
    found = build_cost(names.TRT_RTX, shape)
    assert found.seconds == pytest.approx(284.5, rel=0.01)
    assert found.peak_bytes == pytest.approx(11.52e9, rel=0.01)
    assert build_cost(names.TRT, shape) is None
    assert build_cost(names.TRT_RTX, planned_model("8b", None).shape) is None


TABLE = CostTable(
    tuple(CostPoint(rows, width, rows * width * 1e-3) for rows in (1, 8) for width in (1, 32)),
    Origin(engine="engine", device="some GPU", backend=names.TORCH, precision=names.BF16, context=64),
)


def test_a_table_replaces_the_law(tmp_path):
    write_json(tmp_path / "bench.json", TABLE.to_dict())
    found = plan(calibration=Calibration.read(tmp_path / "bench.json"), users=(1, 8))
    times = {(each.rows, each.width): each for each in found.forwards}
    assert times[8, 32].seconds == pytest.approx(0.256)
    assert {each.provenance for each in found.forwards} == {"measured here"}
    [token] = [rate for rate in found.rates if (rate.mode, rate.users) == (names.AR, 8)]
    assert token.tokens_per_second == pytest.approx(1000)
    assert token.range == (token.tokens_per_second, token.tokens_per_second)
    assert token.provenance == "measured here"
    assert any("some GPU" in note for note in found.notes)


def test_a_table_needs_no_law(tmp_path):
    write_json(tmp_path / "bench.json", TABLE.to_dict())
    calibration = Calibration.read(tmp_path / "bench.json")
    found = plan(names.GB300, precision=names.FP8, calibration=calibration, users=(8,))
    assert {each.bound for each in found.forwards} == {"unknown"}


LOOP = {"rows": 1, "block_length": 32, "one_token_ms": 8.0, "draft_ms": 10.0, "verify_ms": 12.0, "gaps_ms": 2.0}


def test_a_loop_corrects_the_law(tmp_path):
    write_json(tmp_path / "bench.json", LOOP)
    found = plan(calibration=Calibration.read(tmp_path / "bench.json"), users=(1, 8))
    law = {(each.rows, each.width): each.seconds for each in plan(users=(1, 8)).forwards}
    times = {(each.rows, each.width): each for each in found.forwards}
    assert times[1, 1].seconds == pytest.approx(0.008)
    assert times[1, 32].seconds == pytest.approx(0.011)
    assert (times[1, 32].provenance, times[8, 32].provenance) == ("measured here", "fitted")
    assert times[8, 32].seconds == pytest.approx(law[8, 32] * 0.011 / law[1, 32])
    [linear] = [rate for rate in found.rates if (rate.mode, rate.users) == (names.LINEAR, 1)]
    assert linear.seconds == pytest.approx(2 * 0.011 + 0.002)


@pytest.mark.parametrize(
    "report",
    [{}, {**LOOP, "draft_ms": -1}, {**LOOP, "rows": "1"}, {key: LOOP[key] for key in LOOP if key != "gaps_ms"},
     {"points": [], "schema_version": 1}, {"points": [], "schema_version": 99}],
)  # fmt: skip
def test_another_file_is_no_calibration(report, tmp_path):
    write_json(tmp_path / "bench.json", report)
    with pytest.raises(InputError, match=r"--calibrate .*bench\.json"):
        Calibration.read(tmp_path / "bench.json")
