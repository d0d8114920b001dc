# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``ort`` engines from another tool's quantized export: proven, and with the predictions of their weights."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from nld_trt.cli import cli
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.layer_proof import LayerKernel, LayerProof
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import StepBuffers, execute
from nld_trt.errors import OperationError
from nld_trt.graph.network import linear
from nld_trt.measure.compare.divergence import kl_divergence
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.quantized.formats import ALGORITHMS, LinearFormat
from nld_trt.model.text.codec import Codec
from tests.conftest import TINY_LIMITS
from tests.near_ties import Text, assert_same_texts, next_logits
from tests.quantized_checkpoint import Export, random_prescale, write_effective, write_quantized

# The head as the exports have it, so that engines can be compared with the weights that these stand for.
PLAN = BuildPlan("ort", "fp32", TINY_LIMITS, adapter=True, head="checkpoint")
NEW_TOKENS = 40
MODES = ("ar", "diffusion", "linear")
EXPORTS = {
    **{name: Export(name, group_size=32 if name == "W4A16_AWQ" else 16) for name in ALGORITHMS},
    "head, too": Export(excluded=()),
    "mixed": Export(mixed={"*.mlp.*": ("W4A16_AWQ", 64), "*.[qkv]_proj": ("FP8", 0)}),
}


@pytest.fixture(scope="module")
def engines(root, tmp_path_factory):
    """Engine folder of nld-tiny, by case: quantized, or (True) with the float weights that this stands for."""
    source = root / "examples" / "nld-tiny"
    made = {}

    def engine(case: str, *, effective: bool = False) -> EngineFolder:
        if (case, effective) not in made:
            folder = tmp_path_factory.mktemp("quantized")
            export = write_quantized(source, folder / "export", EXPORTS[case])
            if effective:
                export = write_effective(export, folder / "effective")
            convert(export, folder / "converted")
            checkpoint = Checkpoint.open_converted(folder / "converted")
            build_engine(checkpoint, [PLAN], folder / "engine")
            made[case, effective] = EngineFolder.open(folder / "engine")
        return made[case, effective]

    return engine


@pytest.fixture(scope="module")
def prompts(root):
    folder = root / "examples" / "nld-tiny"
    lines = (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    return [Codec.open(folder).encode_prompt(json.loads(line)["prompt"]) for line in lines[::24]]


def open_session(folder: EngineFolder, *, exact: bool = True) -> OrtSession:
    """With debug outputs. Exact 4-bit kernels do not round activations: what that costs depends on the processor."""
    model = folder.path / folder.manifest.backends["ort"].files["model"]
    return OrtSession(model, folder.info("ort", debug=True), exact=exact)


class Twins:
    """A session whose every forward another one makes as well, from the same inputs.

    Attributes:
        logits: of both, [slots, V] of each forward.
    """

    runs_ahead = False

    def __init__(self, first: OrtSession, second: OrtSession) -> None:
        self._first, self._second = first, second
        self.info = first.info
        self.logits: list[tuple[np.ndarray, np.ndarray]] = []

    def __getattr__(self, name: str):
        return getattr(self._first, name)

    def reserve(self, rows: int, capacity: int, *, held: int | None = None) -> None:
        for session in (self._first, self._second):
            session.reserve(rows, capacity, held=held)

    def launch(self, buffers: StepBuffers) -> None:
        other = self._second.step(*buffers.shape)
        for name, values in buffers.inputs.items():
            other.inputs[name][...] = values
        execute(self._second, other)
        execute(self._first, buffers)
        real = buffers.inputs["logit_rows"] >= 0
        self.logits.append((buffers.outputs["logits"][real], other.outputs["logits"][real]))


@pytest.fixture(scope="module")
def twins(engines, prompts):
    """Logits of a quantized engine and of its float twin, [N, V] each, over all that the prompts decode to."""

    def decode(case: str, mode: str, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        made = Twins(open_session(engines(case, effective=True)), open_session(engines(case), exact=exact))
        threshold = 0.9 if mode == "diffusion" else None
        requests = [Request(prompt, mode=mode, max_new_tokens=NEW_TOKENS, threshold=threshold) for prompt in prompts]
        results = dict(generate(Batch(made, max_rows=1), requests))
        assert sum(len(result.output_ids) for result in results.values()) > 150
        float_logits, quantized_logits = (np.concatenate(each) for each in zip(*made.logits, strict=True))
        return float_logits, quantized_logits

    return decode


WEIGHT_ONLY = [name for name, found in ALGORITHMS.items() if found.activations == "none"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", [*WEIGHT_ONLY, "head, too"])
def test_quantized_weights_predict_what_the_weights_that_they_stand_for_predict(twins, case, mode):
    """In every forward of a decoding, causal or not, with the adapter or without."""
    float_logits, quantized_logits = twins(case, mode, exact=True)
    np.testing.assert_allclose(quantized_logits, float_logits, atol=2e-3)


def test_rounded_activations_change_few_predictions(twins):
    """What 4-bit kernels do unless they are told to be exact. Linear decoding has passes of every kind."""
    float_logits, quantized_logits = twins("head, too", "linear", exact=False)
    same = float_logits.argmax(-1) == quantized_logits.argmax(-1)
    assert same.mean() > 0.98
    assert kl_divergence(float_logits.astype(np.float64), quantized_logits.astype(np.float64)).mean() < 1e-2


@pytest.mark.parametrize("case", EXPORTS)
def test_linear_equals_ar_within_a_quantized_engine(engines, prompts, case):
    session = open_session(engines(case))

    def texts(mode: str) -> list[Text]:
        requests = [Request(prompt, mode=mode, max_new_tokens=NEW_TOKENS) for prompt in prompts]
        results = dict(generate(Batch(session), requests))
        return [(results[index].output_ids, results[index].finish_reason) for index in range(len(prompts))]

    # An activation beside the boundary of two rounded values may fall to either side.
    closer_than = 1e-3 if case in (*WEIGHT_ONLY, "head, too") else 0.5
    assert_same_texts(texts("linear"), texts("ar"), prompts, partial(next_logits, session), closer_than=closer_than)


KERNELS = {
    "W4A16_AWQ": {"W4A16_AWQ": (42, 42, {"MatMulNBits": 42})},
    "FP8": {"FP8": (42, 0, {"MatMul": 42})},
    "FP8_PER_CHANNEL_PER_TOKEN": {"FP8_PER_CHANNEL_PER_TOKEN": (42, 0, {"MatMul": 42})},
    "W4A16_NVFP4": {"W4A16_NVFP4": (42, 0, {"MatMul": 42})},
    "NVFP4": {"NVFP4": (42, 0, {"MatMul": 42})},
    "head, too": {"W4A16_AWQ": (43, 43, {"MatMulNBits": 43})},
    "mixed": {"W4A16_AWQ": (18, 18, {"MatMulNBits": 18}), "FP8": (18, 0, {"MatMul": 18})},
}


@pytest.mark.parametrize("case", EXPORTS)
def test_the_proof_counts_what_ran_in_packed_weights(engines, case):
    proof = engines(case).manifest.backends["ort"].proof
    assert {
        name: (found["expected"], found["in_plan"], found["kernels"])
        for name, found in proof["quantized_layers"].items()
    } == KERNELS[case]
    assert len(proof["fallbacks"]) == sum(in_plan == 0 for _, in_plan, _ in KERNELS[case].values())


def test_the_engine_says_what_is_quantized(engines):
    found = engines("mixed").manifest.quantization
    assert found["algorithm"] == "MIXED_PRECISION"
    assert not found["head"]
    assert 6 < found["bits_per_weight"] < 10
    assert found["layers"]["encoder.layers.5.mlp.up_proj"] == {"quant_algo": "W4A16_AWQ", "group_size": 64}
    assert "encoder.layers.0.self_attn.o_proj" not in found["layers"]


def test_weights_that_are_not_packed_in_the_engine_are_refused(converted, tmp_path, monkeypatch):
    """An INT4 layer that is unpacked while loading would run, at the speed and memory of FP32."""
    wrong = {"onnxruntime": linear.EMITTERS["W4A16_NVFP4"]["onnxruntime"]}
    monkeypatch.setattr(linear, "EMITTERS", {**linear.EMITTERS, "W4A16_AWQ": wrong})
    write_quantized(converted("tiny-a"), tmp_path / "export")
    convert(tmp_path / "export", tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    with pytest.raises(OperationError, match=r"mlp.up_proj is W4A16_AWQ and is computed by MatMul, from unpacked"):
        build_engine(checkpoint, [PLAN], tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_a_layer_that_is_nowhere_in_the_engine_is_a_problem():
    formats = {"a": LinearFormat.named("W4A16_AWQ"), "b": LinearFormat.named("FP8")}
    proof = LayerProof.compare("ort", formats, {"a": LayerKernel("MatMulNBits", True)})
    assert proof.problems == ("b was not found in the engine",)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("case", ALGORITHMS)
def test_every_algorithm_builds_with_prescales_in_both_precisions(converted, golden, tmp_path, case, precision):
    export = EXPORTS[case]
    if not case.startswith("FP8"):
        export = replace(export, group_size=16, prescale=random_prescale(golden("tiny-b").config, foldable=False))
    write_quantized(converted("tiny-b"), tmp_path / "export", export)
    convert(tmp_path / "export", tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    build_engine(checkpoint, [replace(PLAN, precision=precision)], tmp_path / "engine")
    session = EngineFolder.open(tmp_path / "engine").open_session()
    ((_, result),) = generate(Batch(session), [Request((5, 6, 7), mode="ar", max_new_tokens=4, eos_token_id=-1)])
    assert len(result.output_ids) == 4


def test_build_warns_of_what_the_backend_replaces(converted, tmp_path):
    write_quantized(converted("tiny-a"), tmp_path / "export", Export("FP8"))
    convert(tmp_path / "export", tmp_path / "converted")
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "converted"), "-o", str(tmp_path / "engine"), "--dry-run"])
    assert done.exit_code == 0
    assert "warning: ort has no kernels for FP8 (14 layers): weights are stored quantized and unpacked" in done.output
