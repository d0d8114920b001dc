# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""JSON from users is read as Python reads it, or refused by name: no text raises anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.json_text import MAX_DEPTH, MAX_DIGITS, JsonError, check_plain, parse_json

NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

# Text that was read as something else, or ended the program, to what is said about it.
FAULTY: dict[str, tuple[str | bytes, str]] = {
    "whole number of many digits": ('{"a": ' + "9" * 5000 + "}", "has a whole number of 5000 digits"),
    "negative number of many digits": ('{"a": [-' + "1" * 5000 + "]}", "has a whole number of 5000 digits"),
    "deep list": ("[" * 100_000 + "]" * 100_000, "is nested more than 100 deep"),
    "deep object": ('{"a":' * 5000 + "1" + "}" * 5000, "is nested more than 100 deep"),
    "just too deep": ("[" * 102 + "]" * 102, "is nested more than 100 deep"),
    "open brackets": ("[" * 100_000, "is "),
    "name twice": ('{"a": 1, "a": 2}', "has 'a' twice in one object"),
    "inner name twice": ('[{"b": {"a": 1, "c": 0, "a": 1}}]', "has 'a' twice in one object"),
    "not UTF-8": (b'{"a": "\xff"}', "has text that is not Unicode"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "has text that is not Unicode"),
    "NUL byte": ('{"a": "\0"}', "is not JSON: Invalid control character"),
    "NUL bytes": (b"\0\0\0\0", "is not JSON"),
    "nothing": ("", "is not JSON"),
    "more behind": ('{"a": 1} {"b": 2}', "is not JSON: Extra data"),
    "unended": ('{"a": "b', "is not JSON"),
    "one quote": ("{'a': 1}", "is not JSON"),
}


@given(VALUES)
def test_ordinary_values_are_read_as_they_are(value):
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789eE.+-\\undltrfaseINity \ud800\0', max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        value = parse_json(text)
    except JsonError:
        return
    assert repr(value) == repr(json.loads(text))


@pytest.mark.parametrize("case", FAULTY)
def test_what_cannot_be_used_is_named(case):
    text, message = FAULTY[case]
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    assert caught.value.what.startswith(message)


def test_numbers_and_depth_up_to_the_limits_are_read():
    assert parse_json("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    assert parse_json("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
    assert parse_json("1." + "0" * 10_000) == 1.0


def test_a_byte_order_mark_is_skipped():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == parse_json('\ufeff{"a": 1}') == {"a": 1}


def test_a_fault_leaves_the_other_values_readable():
    with pytest.raises(JsonError) as caught:
        parse_json('{"id": "x", "n": ' + "1" * 2000 + "}")
    assert caught.value.values["id"] == "x"


def test_a_line_of_megabytes_is_read():
    text = "long " * 1_000_000
    assert parse_json(json.dumps({"a": text})) == {"a": text}


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", '"\\ud800"', '{"\\udfff": 1}', '[[{"a": [NaN]}]]'])
def test_what_no_other_reader_takes_is_found_at_any_depth(text):
    with pytest.raises(InputError, match=r"^the field has (nan|-?inf|text that is not Unicode)"):
        check_plain("the field", parse_json(text))


@given(VALUES)
def test_plain_values_pass(value):
    text = json.dumps(value, ensure_ascii=False)
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        with pytest.raises(InputError):
            check_plain("the field", value)
    else:
        check_plain("the field", value)
