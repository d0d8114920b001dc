# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Lists in messages: short ones whole, long ones cut, and no kind left out."""

import re

from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError, some

MOST = 16


@given(sizes=st.lists(st.integers(0, 40), max_size=5))
def test_every_line_is_shown_or_counted(sizes: list[int]) -> None:
    kinds = [[f"{kind}: {number}" for number in range(size)] for kind, size in enumerate(sizes)]
    found = some(*kinds)
    hidden = sum(int(match[1]) for line in found if (match := re.fullmatch(r"\.\.\. and (\d+) more such lines", line)))
    shown = [line for line in found if not line.startswith("...")]
    assert len(found) <= MOST
    assert len(shown) + hidden == sum(sizes)
    assert {line.split(":")[0] for line in shown} == {str(kind) for kind, size in enumerate(sizes) if size}


@given(sizes=st.lists(st.integers(0, 5), max_size=3))
def test_what_fits_is_shown_in_order(sizes: list[int]) -> None:
    kinds = [[f"{kind}: {number}" for number in range(size)] for kind, size in enumerate(sizes)]
    assert some(*kinds) == [line for lines in kinds for line in lines]


@given(digits=st.integers(60, 2000))
def test_no_message_prints_an_endless_number(digits: int) -> None:
    number = "7" * digits
    error = InputError(f"seed is {number}", details=[f"-{number}.5"], fix=f"--max-seq-len {number}")
    assert number not in str(error)
    assert len(str(error)) < 160
    assert error.fix is not None
    assert error.fix.startswith("--max-seq-len 777")
    assert error.fix.endswith("...")


def test_hashes_and_paths_are_printed_whole() -> None:
    text = "/data/20261127/" + "0123456789abcdef" * 4
    assert str(InputError(text)) == text
