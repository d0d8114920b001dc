# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints as ``torch`` engines on the CPU: the logits are those of the ``ort`` engine beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import Session, execute
from nld_trt.measure.compare.divergence import kl_divergence
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.inventory import linear_modules
from nld_trt.model.quantized.formats import ALGORITHMS
from nld_trt.model.text.codec import Codec
from tests.conftest import TINY_LIMITS
from tests.quantized_checkpoint import Export, write_quantized

EXPORTS = {
    **{name: Export(name, group_size=32 if name == "W4A16_AWQ" else 16) for name in ALGORITHMS},
    "mixed": Export(mixed={"*.mlp.*": ("W4A16_AWQ", 64), "*.[qkv]_proj": ("FP8", 0)}),
}


@pytest.fixture(scope="module")
def folders(root, tmp_path_factory):
    """Engine folder of nld-tiny with both backends, by case."""
    made = {}

    def engine(case: str) -> EngineFolder:
        if case not in made:
            folder = tmp_path_factory.mktemp("quantized")
            convert(write_quantized(root / "examples" / "nld-tiny", folder / "export", EXPORTS[case]), folder / "made")
            plans = [BuildPlan(name, "fp32", TINY_LIMITS, adapter=True, head="checkpoint") for name in ("ort", "torch")]
            build_engine(Checkpoint.open_converted(folder / "made"), plans, folder / "engine")
            made[case] = EngineFolder.open(folder / "engine")
        return made[case]

    return engine


@pytest.fixture(scope="module")
def ids(root):
    folder = root / "examples" / "nld-tiny"
    line = (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines()[0]
    return Codec.open(folder).encode_prompt(json.loads(line)["prompt"])[:32]


def logits(session: Session, ids, *, causal: bool) -> np.ndarray:
    """[tokens, V] of one pass over ``ids``: of a prompt, or of a block that is drafted with the adapter."""
    session.reserve(1, 64)
    step = fill(session, [Pass(ids, causal=causal, settings=PassSettings(adapter=True))])
    execute(session, step)
    return step.outputs["logits"][step.inputs["logit_rows"] >= 0].copy()


FORMS = {
    "W4A16_AWQ": {"int4": 42, "float": 1},
    "FP8": {"fp8": 42, "float": 1},
    "FP8_PER_CHANNEL_PER_TOKEN": {"fp8_per_token": 42, "float": 1},
    "W4A16_NVFP4": {"fp4": 42, "float": 1},
    "NVFP4": {"fp4_both": 42, "float": 1},
    "mixed": {"int4": 18, "fp8": 18, "float": 7},
}


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "draft"])
@pytest.mark.parametrize("case", EXPORTS)
def test_logits_are_those_of_the_embedded_engine(folders, ids, case, causal):
    folder = folders(case)
    model = folder.path / folder.manifest.backends["ort"].files["model"]
    # Exact: 4-bit kernels would round activations, which neither the format nor the torch engine does.
    expected = logits(OrtSession(model, folder.info("ort", debug=True), exact=True), ids, causal=causal)
    found = logits(folder.open_session("torch", debug=True), ids, causal=causal)
    assert len(expected) == len(ids)
    if case in ALGORITHMS and ALGORITHMS[case].activations == "none":
        np.testing.assert_allclose(found, expected, atol=2e-3)
        return
    # An activation beside the boundary of two rounded values may fall to either side.
    assert kl_divergence(expected.astype(np.float64), found.astype(np.float64)).mean() < 5e-3
    assert (expected.argmax(-1) == found.argmax(-1)).mean() > 0.9


@pytest.mark.parametrize("case", EXPORTS)
def test_proof_counts_the_layers_of_each_form(folders, case):
    manifest = folders(case).manifest
    proof = manifest.backends["torch"].proof
    assert proof["linear_layers"] == FORMS[case]
    assert sum(FORMS[case].values()) == len(linear_modules(manifest.config))
