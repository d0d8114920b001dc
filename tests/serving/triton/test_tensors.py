# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tensor table, and the pages that repeat it."""

from __future__ import annotations

from pathlib import Path

from nld_trt.serving import metrics
from nld_trt.serving.triton.tensors import INPUTS, OUTPUTS, TENSORS, markdown_table


def section(text: str, name: str) -> str:
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]


def test_names_are_unique_in_each_direction() -> None:
    assert len(INPUTS) + len(OUTPUTS) == len(TENSORS)


def test_scalar_inputs_have_the_shape_that_the_openai_front_end_sends() -> None:
    assert {tensor.dims for tensor in INPUTS.values() if not tensor.many} == {(1, 1)}


def test_token_counts_have_the_type_that_the_openai_front_end_reads() -> None:
    assert OUTPUTS["num_input_tokens"].dtype == OUTPUTS["num_output_tokens"].dtype == "UINT32"


def test_documentation_has_the_tables(root: Path) -> None:
    page = (root / "docs" / "serving.md").read_text(encoding="utf-8")
    assert section(page, "inputs") == markdown_table("input")
    assert section(page, "outputs") == markdown_table("output")
    assert section(page, "metrics") == metrics.markdown_table()
