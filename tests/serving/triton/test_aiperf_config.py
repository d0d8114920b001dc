# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark that a repository brings along, in AIPerf's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nld_trt import names
from nld_trt.serving.triton.aiperf_config import render_aiperf_config

NLD_MODES = (*names.NLD_MODES, names.AUTO)


def config(rows: int = 8, drafts: int = 0, model: str = "nld", default: str = names.LINEAR) -> dict[str, Any]:
    engine = {"limits": {"max_batch_size": rows, "max_quadratic_length": drafts}}
    return yaml.safe_load(render_aiperf_config(model, engine, NLD_MODES, default=default, prompt="Hello"))


@pytest.mark.parametrize(
    ("drafts", "modes"), [(0, [mode for mode in names.NLD_MODES if mode != names.QUADRATIC]), (8, [*names.NLD_MODES])]
)
def test_modes_are_those_of_the_engine(drafts: int, modes: list[str]) -> None:
    assert config(drafts=drafts)["sweep"]["parameters"]["endpoint.extra.mode"] == modes


@pytest.mark.parametrize(("rows", "levels"), [(1, [1]), (4, [1, 4]), (8, [1, 4, 8]), (32, [1, 4, 16, 32])])
def test_concurrency_goes_up_to_the_rows_of_the_engine(rows: int, levels: list[int]) -> None:
    assert config(rows=rows)["sweep"]["parameters"]["concurrency"] == levels


def test_it_is_for_the_model_and_its_tokenizer() -> None:
    found = config(model="mine", default=names.AR)["benchmark"]
    assert (found["model"], found["tokenizer"]["name"]) == ("mine", "mine/1/engine")
    assert found["endpoint"]["extra"]["mode"] == names.AR


def test_results_are_not_written_among_the_models(repository: Path) -> None:
    found = yaml.safe_load((repository / "aiperf.yaml").read_text(encoding="utf-8"))
    assert found["benchmark"]["artifacts"]["dir"].partition(":")[2].startswith("../")
    assert (repository / found["benchmark"]["tokenizer"]["name"] / "tokenizer.json").is_file()
