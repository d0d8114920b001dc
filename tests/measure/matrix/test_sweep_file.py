# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sweep files and workloads: what is shipped can be read, and what cannot be used is named."""

from __future__ import annotations

import json
import re

import pytest

from nld_trt import names
from nld_trt.cli import run as command
from nld_trt.errors import InputError
from nld_trt.measure.matrix.engine_steps import EngineTarget
from nld_trt.measure.matrix.sweep_file import SweepFile
from nld_trt.measure.matrix.tasks import tasks_of, units_of
from nld_trt.measure.matrix.workload import Workload, shipped_workloads
from nld_trt.measure.prompt_lines import read_prompt_file
from nld_trt.resources import data_folder
from tests.deploy.checks import check_command_exists

SHIPPED = sorted(data_folder("sweeps").glob("*.yaml"))
TINY = {"name": "tiny", "prompts": "prompts.jsonl"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweep_files_come_to_commands_that_exist(path, tmp_path):
    units = units_of(SweepFile.read(path), tmp_path)
    assert tasks_of(units)
    for unit in units:
        steps = [] if unit.engine is None else unit.engine.steps
        for arguments in (*(step.arguments for step in steps), unit.arguments(tmp_path, tmp_path / "prompts.jsonl")):
            check_command_exists(["nld-trt", *arguments])


def test_there_is_a_sweep_file_for_every_machine_that_is_asked_for():
    found = {platform for path in SHIPPED for platform in SweepFile.read(path).platforms}
    assert found >= set(names.PLATFORMS) - {names.B200}


@pytest.mark.parametrize("name", shipped_workloads())
def test_shipped_workloads_have_prompts_that_a_chat_client_can_send(name, tmp_path):
    workload = Workload.of(name, tmp_path)
    lines = read_prompt_file(workload.prompts_in(tmp_path))
    assert len(lines) >= 4
    if workload.prompts is not None:
        assert all(line.request["prompt"] for line in lines)
        assert len({line.request_id for line in lines}) == len(lines)


def test_drawn_prompts_have_the_length_that_was_asked_for(tmp_path):
    path = Workload.of({"name": "drawn", "prompt_tokens": 7}, tmp_path).prompts_in(tmp_path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {len(line["prompt_ids"]) for line in lines} == {7}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": ["ar"]}, "unknown keys: mode"),
        ({"platforms": ["cpu", "h300"]}, "h300; available: .*gb200"),
        ({"precisions": ["int3"]}, "int3; available: .*int4_awq"),
        ({"modes": ["eagle"]}, "eagle; available: ar"),
        ({"workloads": ["nonesuch"]}, "no workload 'nonesuch'; available: chat"),
        ({"workloads": [{"name": "a", "promts": "p.jsonl"}]}, "unknown keys: promts"),
        ({"workloads": [{"name": "a", "prompts": "absent.jsonl"}]}, r"absent\.jsonl is not a file"),
        ({"workloads": [TINY, TINY]}, "two workloads that are called tiny"),
        ({"workloads": [{"name": "a", "prompt_tokens": 9}]}, "drawn prompts .a. without scripted_acceptance"),
        ({"workloads": [{**TINY, "request_rates": [0]}]}, r"request_rates is \[0\]"),
        ({"users": [0]}, r"users is \[0\]"),
        ({"users": 4}, "users is 4; it must be a list"),
        ({"repeats": True}, "repeats is True"),
        ({"models": None}, "lacks models"),
        ({"models": []}, r"models \[\]; it must be a list of names, or of keys with model"),
        ({"models": [4]}, "in models, has invalid values"),
        ({"models": [{"modes": ["ar"]}]}, "without model"),
        ({"models": [{"model": "a", "mode": ["ar"]}]}, "in models, has unknown keys: mode"),
        ({"models": [{"model": "a", "modes": ["eagle"]}]}, "in models, has invalid values"),
        ({"models": [{"model": "a", "build": {"max_batch": 3}}]}, "in models, a has unknown keys in build: max_batch"),
        ({"models": [{"model": "a", "build": {"max_batch_size": 1}}], "users": [2]}, "engines of max_batch_size 1"),
        ({"models": [{"model": "a", "modes": ["quadratic"]}]}, "engines without its passes"),
        ({"server": "http://localhost:9000"}, "has a server, and models"),
        ({"num_gpus": 1}, "has num_gpus, and no server"),
        ({"build": {"max_batch": 3}}, "unknown keys in build: max_batch"),
        ({"build": {"max_seq_len": -1}}, "max_seq_len is -1"),
        ({"build": {"max_batch_size": 1}, "users": [1, 2]}, "users 2, and engines of max_batch_size 1"),
        ({"modes": ["quadratic"]}, "engines without its passes"),
        ({"scripted_acceptance": "nonesuch"}, "scripted-acceptance nonesuch is neither"),
        ({"scripted_acceptance": "qa", "modes": ["diffusion"]}, "mode diffusion has no drafts"),
        ({"scripted_acceptance": "qa", "workloads": [{**TINY, "ignore_eos": False}]}, "tiny has not ignore_eos"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_nothing_is_written(write, tmp_path, capsys, changes, message):
    path = write(**changes)
    with pytest.raises(InputError) as error:
        SweepFile.read(path)
    told = f"{error.value}"
    assert re.search(message, told), told
    assert command(["sweep", "--config", str(path), "-o", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--modes", "ar"], "--modes was given, and a sweep file"),
        (["engine"], "was given, and a sweep file"),
        (["--emit", "slurm", "--step", "3"], "--step and --emit"),
        (["--option", "partition=gpu"], "--option goes with --emit"),
        (["--step", "everything"], "--step is 'everything'"),
        (["--step", "99"], "has no point 99; its points are 0 to 1"),
        (["--step", "0"], "the engine of point 0 is not built"),
        (["--emit", "slurm", "--option", "partition"], "'partition' is not KEY=VALUE"),
        (["--emit", "slurm", "--option", "h300.partition=a"], "is for h300; platforms"),
        (["--emit", "slurm", "--option", "array=0-5"], "array is decided by"),
        (["--emit", "local", "--option", "wrkers=2"], "has no option wrkers"),
        (["--emit", "kubernetes"], "--option claim=NAME"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(write, tmp_path, capsys, flags, message):
    folder = tmp_path / "results"
    assert command(["sweep", "--config", str(write()), "-o", str(folder), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("*.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give an ENGINE_DIR or a URL, or a sweep file"),
        (["engine"], "Missing option '--prompts'"),
        (["engine", "--step", "1"], "--step goes with --config"),
        (["engine", "--emit", "slurm"], "--emit goes with --config"),
    ],
)
def test_a_sweep_without_a_file_needs_what_it_always_needed(tmp_path, capsys, arguments, message):
    assert command(["sweep", *arguments, "-o", str(tmp_path / "results")]) == 2
    assert message in capsys.readouterr().err


def test_steps_convert_quantize_and_build_what_is_missing(write, tmp_path, goldens):
    path = write(models=[str(goldens / "tiny-a"), "synthetic-3b"], precisions=["int4_rtn"])
    file = SweepFile.read(path)
    release, synthetic = (EngineTarget(file, model, "cpu", "int4_rtn", tmp_path) for model in file.models)
    assert [step.arguments[0] for step in release.steps] == ["convert", "quantize", "build"]
    assert [step.arguments[0] for step in synthetic.steps] == ["synthetic", "convert", "quantize", "build"]
    # Every command reads what the one before has made.
    for earlier, later in zip(synthetic.steps, synthetic.steps[1:], strict=False):
        assert later.arguments[1] == str(earlier.makes)


def test_a_model_has_modes_blocks_and_build_settings_of_its_own(write, tmp_path):
    own = {"model": "org/sdar", "modes": ["diffusion"], "block_lengths": [8], "build": {"block_length": 8}}
    file = SweepFile.read(write(models=["org/first", {"model": "org/qwen3", "modes": ["ar"]}, own]))
    found = [(task.unit.engine_name, task.mode, task.block_length) for task in tasks_of(units_of(file, tmp_path))]
    assert found == [
        ("first-cpu-fp32", "ar", None),
        ("first-cpu-fp32", "linear", 4),
        ("qwen3-cpu-fp32", "ar", None),
        ("sdar-cpu-fp32", "diffusion", 8),
    ]
    build = [" ".join(unit.engine.steps[-1].arguments) for unit in units_of(file, tmp_path)]
    assert ["--block-length 8" in each for each in build] == [False, False, True]
    assert all("--max-seq-len 64" in each for each in build)


def test_a_converted_checkpoint_is_built_as_it_is_and_other_settings_are_another_engine(write, tmp_path):
    first, second = (
        EngineTarget(file, file.models[0], "cpu", "fp32", tmp_path)
        for file in (SweepFile.read(write()), SweepFile.read(write("other.yaml", build={"max_seq_len": 96})))
    )
    assert [step.arguments[0] for step in first.steps] == ["build"]
    assert first.folder != second.folder


def test_ar_has_one_point_for_each_number_of_users_and_a_rate_is_a_point(write, tmp_path):
    workload = {**TINY, "request_rates": [0.5, 2]}
    file = SweepFile.read(write(block_lengths=[2, 4], users=[1, 2], workloads=[workload]))
    tasks = tasks_of(units_of(file, tmp_path))
    assert [task.number for task in tasks] == list(range(12))
    assert [task.label.partition(".tiny.")[2] for task in tasks if task.mode == "ar"] == [
        "ar_c1_r0.5", "ar_c1_r2", "ar_c2_r0.5", "ar_c2_r2",
    ]  # fmt: skip
