# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX network against the golden forwards, and proof that wrong networks would be noticed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from nld_trt.engine.session import execute
from nld_trt.model import rotary
from nld_trt.model.config import RopeParameters
from tests.graph.passes import run_pass

TOLERANCE = 1e-4
NAMES = ("tiny-a", "tiny-b")


def worst_errors(goldens, session, name, use_adapter=True):
    """Largest absolute error of logits per pass kind over every golden forward."""
    folder = goldens / name
    data = load_file(folder / "forwards.safetensors")
    errors: dict[str, float] = {}
    for meta in json.loads((folder / "forwards.json").read_text(encoding="utf-8"))["forwards"]:
        ids = data[f"{meta['name']}.input_ids"][0]
        # Passes of one prompt follow its prefill. Drafts wrote the slots that verify uses, which must not matter.
        outputs = run_pass(
            session,
            ids,
            cache_length=meta["cache_len"],
            causal=meta["kind"] == "causal",
            adapter=meta["adapter"] and use_adapter,
        )
        kind = meta["name"].rstrip("0123456789")
        error = float(np.abs(outputs["logits"] - data[f"{meta['name']}.logits"]).max())
        hidden = f"{meta['name']}.final_hidden"
        if hidden in data:
            error = max(error, float(np.abs(outputs["final_hidden"] - data[hidden]).max()))
        for layer in range(session.info.config.num_hidden_layers):
            for kind_name, stem in (("k", "past_key"), ("v", "past_value")):
                key = f"{meta['name']}.{kind_name}{layer}"
                if key in data:
                    span = slice(meta["cache_len"], meta["cache_len"] + len(ids))
                    cache = session._caches[f"{stem}_{layer}"][0, :, span]
                    error = max(error, float(np.abs(cache - data[key][0]).max()))
        errors[kind] = max(errors.get(kind, 0.0), error)
    return errors


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_forward_is_within_tolerance(goldens, debug_session, name):
    errors = worst_errors(goldens, debug_session(name), name)
    assert set(errors) == {"prefill", "draft_full", "draft_part", "draft_full_lora", "draft_part_lora", "verify"}
    assert max(errors.values()) < TOLERANCE


def _plain_rope(rope: RopeParameters, head_dim: int) -> np.ndarray:
    return rope.rope_theta ** (-2.0 * np.arange(head_dim // 2) / head_dim)


def _enlarged(table):
    return lambda *arguments: tuple(1.277 * values for values in table(*arguments))


MUTATIONS = {
    "plain rope": ("inverse_frequencies", _plain_rope, NAMES),
    "magnitude 1.277": ("cos_sin_table", _enlarged(rotary.cos_sin_table), NAMES),
    # tiny-a keeps the released original length, below which the scale is exactly 1.
    "no query scale": ("query_scale", lambda rope, positions: np.ones(len(positions), np.float32), ("tiny-b",)),
}


@pytest.mark.parametrize(("mutation", "name"), [(m, name) for m, (_, _, names) in MUTATIONS.items() for name in names])
def test_a_wrong_rotary_rule_is_caught(goldens, debug_session, monkeypatch, mutation, name):
    attribute, replacement, _ = MUTATIONS[mutation]
    monkeypatch.setattr(rotary, attribute, replacement)
    errors = worst_errors(goldens, debug_session(name, fresh=True), name)
    assert errors["prefill"] > TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_an_inactive_adapter_is_caught(goldens, debug_session, name):
    errors = worst_errors(goldens, debug_session(name), name, use_adapter=False)
    assert errors["draft_full_lora"] > TOLERANCE
    assert errors["draft_full"] < TOLERANCE


def test_first_layer_keys_do_not_depend_on_the_pass_type_and_later_ones_do(debug_session):
    session = debug_session("tiny-b")
    ids = [7, 9, 11, 13]
    keys = {}
    for causal in (True, False):
        run_pass(session, ids, cache_length=0, causal=causal, adapter=False)
        keys[causal] = [session._caches[f"past_key_{layer}"][0, :, :4].copy() for layer in (0, 1)]
    np.testing.assert_array_equal(keys[True][0], keys[False][0])
    assert np.abs(keys[True][1] - keys[False][1]).max() > 1e-3


@pytest.mark.parametrize(("causal", "changes"), [(True, False), (False, True)])
def test_a_later_token_changes_earlier_logits_only_in_a_bidirectional_pass(debug_session, causal, changes):
    session = debug_session("tiny-a")
    first = run_pass(session, [5, 6, 7, 8], cache_length=0, causal=causal, adapter=False)["logits"]
    second = run_pass(session, [5, 6, 7, 9], cache_length=0, causal=causal, adapter=False)["logits"]
    assert bool(np.abs(first[0, :3] - second[0, :3]).max() > 1e-5) == changes


def test_rows_of_one_forward_do_not_see_each_other(debug_session):
    """A prefill row, a draft row and a verify row together give what each gives alone."""
    session = debug_session("tiny-b")
    rows = [([5, 6, 7, 8, 9], 0, True, False), ([3, 100, 100], 0, False, True), ([4, 9], 0, True, False)]
    alone = [run_pass(session, ids, cache_length=c, causal=k, adapter=a)["logits"][0] for ids, c, k, a in rows]
    session.reserve(3, session.info.limits.capacity)
    step = session.step(3, 5, 5)
    for index, (ids, length, causal, adapter) in enumerate(rows):
        step.inputs["tokens"][index] = ids + [0] * (5 - len(ids))
        step.inputs["cache_length"][index] = length
        step.inputs["valid_count"][index] = len(ids)
        step.inputs["causal"][index] = causal
        step.inputs["draft_adapter"][index] = adapter
        step.inputs["logit_rows"][index] = [*range(len(ids)), *[-1] * (5 - len(ids))]
    execute(session, step)
    for index, (ids, *_) in enumerate(rows):
        np.testing.assert_allclose(step.outputs["logits"][index, : len(ids)], alone[index], atol=1e-5)
