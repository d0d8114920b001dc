# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The table of request fields, and all that follows from it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.cli import cli
from nld_trt.decode.fields import FIELDS, markdown_table
from nld_trt.decode.request import Request
from nld_trt.errors import InputError
from nld_trt.model.text.conversation import BESIDE
from nld_trt.model.text.prompt import PROMPTS
from nld_trt.serving.triton.tensors import INPUTS

SETTINGS = [field for field in FIELDS.values() if field.setting]


def test_settings_are_the_fields_of_a_request():
    assert {field.name for field in SETTINGS} == set(Request.__dataclass_fields__) - {"prompt_ids"}


def test_other_fields_make_up_the_prompt_or_name_the_request():
    others = {field.name for field in FIELDS.values() if not field.setting}
    assert others == {"id", "system", "raw", *PROMPTS, *BESIDE}


@pytest.mark.parametrize("command", ["generate", "client"])
def test_every_flag_is_an_option_of_the_command(command):
    made = {parameter.name: parameter for parameter in cli.get_command(None, command).params}
    flags = [field for field in FIELDS.values() if field.flag]
    assert [field.name for field in flags if field.option not in made[field.name].opts] == []
    for field in flags:
        if field.choices:
            there = [choice for choice in field.choices if choice != names.AUTO or command == "client"]
            assert [*made[field.name].type.choices] == there


def test_every_tensor_is_an_input_of_the_served_model():
    assert {field.tensor.name for field in FIELDS.values() if field.tensor is not None} <= INPUTS.keys()


def test_requests_files_are_documented_as_they_are(root):
    page = (root / "docs" / "decoding.md").read_text(encoding="utf-8")
    assert page.split("<!-- fields -->")[1].split("<!-- /fields -->")[0].strip() == markdown_table()


@given(st.sampled_from([field for field in FIELDS.values() if field.range]))
def test_no_range_allows_what_is_no_number(field):
    with pytest.raises(InputError, match=rf"{field.name} is nan; it must be "):
        field.check(float("nan"))


@pytest.mark.parametrize("value", ["1", True, [1], {}])
def test_no_range_allows_what_is_of_another_type(value):
    for field in FIELDS.values():
        if field.range is not None:
            with pytest.raises(
                InputError, match=rf"the default {field.name} is .*; it must be {field.range.words[:9]}"
            ):
                field.check(value, f"the default {field.name}")


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_a_value_of_another_type_is_refused_by_the_fields_name(field):
    with pytest.raises(InputError, match=rf"{field.name} is .*; it must be {field.kinds}"):
        field.check_type(object())


def test_the_table_needs_no_library():
    code = "import sys, nld_trt.decode.fields, nld_trt.decode.figures\nprint(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout.split()
    assert not {"numpy", "onnx", "click"} & set(loaded)
