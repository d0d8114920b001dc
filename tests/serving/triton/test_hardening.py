# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Servers that can limit bodies are told to, and stacks are never made smaller."""

from __future__ import annotations

import resource

import pytest

from nld_trt.serving.triton import hardening
from nld_trt.serving.triton.hardening import body_limit, raise_stack_limit

MIB = 1024 * 1024


def test_only_a_server_that_knows_the_option_gets_it(tmp_path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"\0http-port\0")
    new.write_bytes(b"\0http-port\0http-max-input-size\0")
    assert body_limit(old) == ()
    assert body_limit(new) == ("--http-max-input-size=4194304",)


@pytest.mark.parametrize(
    ("soft", "hard", "strict", "wanted"),
    [
        (8 * MIB, resource.RLIM_INFINITY, False, 256 * MIB),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, False, 256 * MIB),
        (8 * MIB, 64 * MIB, False, 64 * MIB),
        (1024 * MIB, resource.RLIM_INFINITY, False, None),
        (8 * MIB, resource.RLIM_INFINITY, True, None),
    ],
)
def test_stacks_grow_as_far_as_they_may(monkeypatch, soft, hard, strict, wanted) -> None:
    chosen = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: chosen.append(limits))
    monkeypatch.setattr(hardening, "_counts_unused_memory", lambda: strict)
    raise_stack_limit()
    assert chosen == ([] if wanted is None else [(wanted, hard)])
