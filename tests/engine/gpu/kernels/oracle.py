# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX functions on the inputs of the kernels, and what it means that both agree."""

from __future__ import annotations

import numpy as np

from nld_trt.measure.kernels import reference
from nld_trt.measure.kernels.cases import MASK
from tests.graph.functions import INPUTS, run_operators


def onnx_step(values: dict, **filters) -> dict:
    """Outputs of the functions. Their ``cut`` is that of the filters, and not of ``values``."""
    given = {name: values[name] for name in INPUTS if name in values and name != "logits"}
    return run_operators(MASK, values["logits"], **given, **filters)


def assert_same(found: dict, expected: dict, values: dict | None = None) -> None:
    """Integers are equal; probabilities as nearly as FP32 sums in different orders are.

    Args:
        values: the inputs. Where a row is sampled, a choice may be the neighbour if a boundary is as near as rounding.
    """
    same = (found["verified_tokens"] == expected["verified_tokens"]).all(-1)
    if values is None:
        assert same.all()
    else:
        for tokens in (found["verified_tokens"], expected["verified_tokens"]):
            assert reference.wrong_choices(values, tokens, MASK) == []
    for name in set(found) & set(expected):
        if found[name].dtype == np.float32:
            np.testing.assert_allclose(found[name][same], expected[name][same], rtol=3e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name][same], expected[name][same], err_msg=name)
