# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels' arithmetic, run on the CPU, against the ONNX functions and against NumPy."""

from __future__ import annotations

import ctypes

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nld_trt.engine.kernels.spec import BLOCK_DENOISE, DECODE_STEP, OPERATORS, SPEC_VERIFY, TENSORS
from nld_trt.graph import operators
from nld_trt.graph.tape import DOMAIN, OPSET
from tests.engine.kernels import reference
from tests.engine.kernels.emulation import DTYPES, Emulation, build

MASK = 100
# Rows, window slots, vocabulary: one split and several, whole vectors and odd ends, one slot to the largest window.
SIZES = [
    (1, 1, 256),
    (2, 5, 257),
    (64, 1, 259),
    (3, 64, 300),
    (4, 9, 1000),
    (2, 7, 4099),
    (1, 32, 8192),
    (2, 3, 8193),
    (1, 4, 16391),
    (1, 2, 131071),
    (1, 4, 131072),
]
ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "logits": TensorProto.FLOAT,
}


@pytest.fixture(scope="module")
def library(root, tmp_path_factory) -> ctypes.CDLL:
    return build(root, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def kernels(library) -> Emulation:
    return Emulation(library, MASK)


@pytest.fixture(scope="module")
def onnx_step():
    """Both ONNX functions as one model; those of the kernels' inputs that it has are its inputs."""
    nodes = [
        helper.make_node("BlockDenoise", operators.DENOISE_INPUTS, operators.DENOISE_OUTPUTS, domain=DOMAIN),
        helper.make_node("SpecVerify", operators.VERIFY_INPUTS, operators.VERIFY_OUTPUTS, domain=DOMAIN),
    ]
    inputs = list(dict.fromkeys((*operators.DENOISE_INPUTS, *operators.VERIFY_INPUTS)))
    outputs = list(dict.fromkeys((*operators.DENOISE_OUTPUTS, *operators.VERIFY_OUTPUTS)))
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(n, ONNX_TYPES[TENSORS[n].dtype], [*TENSORS[n].axes]) for n in inputs],
        [helper.make_tensor_value_info(n, ONNX_TYPES[TENSORS[n].dtype], None) for n in outputs],
    )
    model = helper.make_model(
        graph,
        functions=operators.decode_functions(MASK),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=11,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(values):
        feeds = {name: values[name].astype(TENSORS[name].dtype.replace("logits", "float32")) for name in inputs}
        return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    return run


def case(batch, width, vocab, logit_type="fp32", *, spread=3.0, temperature=0.0, seed=0):
    """Random inputs. Logits are rounded to ``logit_type`` and held as float32; drafts often match."""
    rng = np.random.default_rng((batch, width, vocab, seed))
    logits = rng.normal(scale=spread, size=(batch, width, vocab)).astype(DTYPES[logit_type]).astype(np.float32)
    block = rng.integers(0, vocab, (batch, width))
    allowed = logits.copy()
    allowed[..., MASK] = -np.inf
    for row in range(batch):
        reach = rng.integers(0, width + 1)
        block[row, 1 : 1 + reach] = allowed[row].argmax(-1)[:reach][: width - 1]
    block[rng.random((batch, width)) < 0.5] = MASK
    return {
        "logits": logits,
        "block": block.astype(np.int32),
        "valid": rng.integers(1, width + 1, batch).astype(np.int32),
        "threshold": rng.choice([0.0, 0.02, 0.3, 2.0], batch).astype(np.float32),
        "quota": rng.integers(0, 4, batch).astype(np.int32),
        "eos_token_id": rng.choice(block.reshape(-1), batch).astype(np.int32),
        "temperature": np.full(batch, temperature, np.float32),
        "seed": rng.integers(-(2**63), 2**63, batch),
        "draw": rng.integers(0, 1000, batch).astype(np.int32),
        "positions": rng.integers(0, 10**6, (batch, width)).astype(np.int32),
        "cut": np.full((batch, width), -np.inf, np.float32),
    }


def assert_same(found, expected):
    """Integers are equal; probabilities as nearly as FP32 sums in different orders are."""
    for name in set(found) & set(expected):
        if found[name].dtype == np.float32:
            np.testing.assert_allclose(found[name], expected[name], rtol=3e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_greedy_step_is_the_onnx_functions(kernels, onnx_step, sizes, logit_type):
    values = case(*sizes, logit_type)
    found = kernels.step(DECODE_STEP, values, logit_type)
    assert_same(found, onnx_step(values))
    assert found["finite"].tolist() == [1] * sizes[0]
    share = reference.probabilities(values["logits"])
    share = np.take_along_axis(share, found["verified_tokens"][..., None], -1)[..., 0]
    masked = found["confidence"] >= 0
    np.testing.assert_allclose(found["confidence"][masked], share[masked], rtol=2e-6)


@pytest.mark.parametrize("width", range(1, 65))
def test_every_window_width(kernels, onnx_step, width):
    values = case(2, width, 263, seed=width)
    assert_same(kernels.step(DECODE_STEP, values), onnx_step(values))


@pytest.mark.parametrize("spread", [0.0, 1e-30, 1000.0])
def test_flat_and_steep_logits(kernels, onnx_step, spread):
    values = case(2, 6, 8200, spread=spread)
    values["threshold"][:] = 1e-4
    assert_same(kernels.step(DECODE_STEP, values), onnx_step(values))


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("vocab", [256, 8195, 30001])
def test_lowest_id_wins_a_tie(kernels, logit_type, vocab):
    """Wherever the equal logits lie: in one vector, one thread, one split, or far apart."""
    rng = np.random.default_rng(vocab)
    logits = np.full((1, 64, vocab), -1.0, np.float32)
    expected = []
    for slot in range(64):
        tied = np.sort(rng.choice(vocab, rng.integers(1, 9), replace=False))
        logits[0, slot, tied] = 2.0
        expected.append(next((token for token in tied if token != MASK), 0))
    assert kernels.step(SPEC_VERIFY, {"logits": logits}, logit_type)["verified_tokens"][0].tolist() == expected


@pytest.mark.parametrize("vocab", [256, 9001])
def test_mask_is_never_chosen_and_stays_in_the_denominator(kernels, vocab):
    logits = np.zeros((1, 1, vocab), np.float32)
    logits[0, 0, MASK], logits[0, 0, 7] = 50.0, 1.0
    found = kernels.step(DECODE_STEP, {"logits": logits, "threshold": np.full(1, 2.0), "quota": np.ones(1)})
    assert (found["block_tokens"][0, 0], found["verified_tokens"][0, 0]) == (7, 7)
    np.testing.assert_allclose(found["confidence"][0, 0], np.exp(1.0 - 50.0), rtol=1e-4)


def test_minus_infinity_is_an_ordinary_logit(kernels, onnx_step):
    values = case(2, 5, 9000)
    values["logits"][:, :, ::2] = -np.inf
    values["logits"][0, 1, :-1] = -np.inf
    assert_same(kernels.step(DECODE_STEP, values), onnx_step(values))


def spoil_with(value):
    def spoil(logits):
        logits[1, 2, 8500] = value

    return spoil


def all_minus_infinity(logits):
    logits[1, 2] = -np.inf


def only_mask_is_possible(logits):
    all_minus_infinity(logits)
    logits[1, 2, MASK] = 1.0


SPOILED = {
    "NaN": spoil_with(np.nan),
    "+inf": spoil_with(np.inf),
    "all -inf": all_minus_infinity,
    "only MASK": only_mask_is_possible,
}


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_row_that_is_not_finite_is_left_alone(kernels, spoil, temperature, logit_type):
    values = case(3, 4, 9000, logit_type, temperature=temperature)
    values |= {"block": np.full((3, 4), MASK), "valid": np.full(3, 3), "threshold": np.zeros(3)}
    sound = kernels.step(DECODE_STEP, values, logit_type)
    spoil(values["logits"])
    found = kernels.step(DECODE_STEP, values, logit_type)
    assert found["finite"].tolist() == [1, 0, 1]
    assert found["block_tokens"][1].tolist() == [MASK] * 4
    assert (found["masks_left"][1], found["confidence"][1].tolist()) == (3, [-1.0] * 4)
    assert (found["accepted_count"][1], found["next_seed"][1], found["eos_position"][1]) == (0, -1, 4)
    assert found["verified_tokens"][1, 2] == -1
    for name, values in found.items():
        np.testing.assert_array_equal(values[[0, 2]], sound[name][[0, 2]], err_msg="a neighbour changed")


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_padding_slots_may_hold_anything(kernels, spoil):
    values = case(3, 4, 9000) | {"valid": np.full(3, 2)}
    sound = kernels.step(DECODE_STEP, values)
    spoil(values["logits"])
    found = kernels.step(DECODE_STEP, values)
    assert found["finite"].tolist() == [1, 1, 1]
    for name in set(found) - {"verified_tokens"}:
        np.testing.assert_array_equal(found[name], sound[name], err_msg=name)


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [1e-3, 0.7, 1.0, 5.0])
@pytest.mark.parametrize("sizes", [size for size in SIZES if size != (64, 1, 259)], ids=str)
def test_sampled_step_follows_the_definition(kernels, sizes, temperature, logit_type):
    values = case(*sizes, logit_type, temperature=temperature)
    if sizes[2] < 131071:  # the two-pass cut of a large vocabulary costs a sort
        values["cut"][:, ::2] = np.partition(values["logits"], -20, -1)[:, ::2, -20]
    found = kernels.step(DECODE_STEP, values, logit_type)
    names = ("temperature", "seed", "draw", "positions", "cut")
    score = reference.scores(values["logits"], MASK, *(values[name] for name in names))
    choice = found["verified_tokens"]
    got = np.take_along_axis(score, choice[..., None], -1)[..., 0]
    # Noise is computed in 32 bits: a choice may be one that is equally good within their precision.
    np.testing.assert_allclose(got, score.max(-1), rtol=1e-5, atol=1e-4)
    assert (choice == score.argmax(-1)).mean() > 0.9
    share = np.take_along_axis(reference.probabilities(values["logits"]), choice[..., None], -1)[..., 0]
    masked = found["confidence"] >= 0
    np.testing.assert_allclose(found["confidence"][masked], share[masked], rtol=1e-4)
    tokens, left = reference.denoise(
        values["block"], values["valid"], choice, share, values["threshold"], values["quota"], MASK
    )
    np.testing.assert_array_equal(found["block_tokens"], tokens)
    np.testing.assert_array_equal(found["masks_left"], left)
    expected = reference.verify(values["block"], values["valid"], choice, values["eos_token_id"])
    for name, column in zip(("accepted_count", "next_seed", "eos_position"), expected, strict=True):
        np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_sampled_step_is_the_onnx_functions(kernels, onnx_step):
    if "temperature" not in operators.DENOISE_INPUTS:
        pytest.skip("the ONNX functions have no temperature")
    values = case(2, 8, 4099, temperature=0.8)
    found, expected = kernels.step(DECODE_STEP, values), onnx_step(values)
    np.testing.assert_array_equal(found["verified_tokens"], expected["verified_tokens"])


def test_frequencies_are_those_of_the_softmax(kernels):
    """64 rows of 64 slots are draws of one distribution: they differ in position and draw alone."""
    logits = np.zeros((64, 64, 256), np.float32) - 1e9
    logits[..., :4] = np.log([0.1, 0.2, 0.3, 0.4])
    values = {
        "logits": logits,
        "temperature": np.ones(64),
        "seed": np.full(64, 1234567890123),
        "draw": np.arange(64),
        "positions": np.tile(np.arange(64), (64, 1)),
    }
    tokens = kernels.step(SPEC_VERIFY, values)["verified_tokens"]
    share = np.bincount(tokens.reshape(-1), minlength=4) / tokens.size
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4], atol=4 * np.sqrt(0.25 / tokens.size))


def test_noise_depends_on_every_part_of_its_address(kernels):
    values = case(1, 4, 2000, spread=0.0, temperature=1.0)
    first = kernels.step(SPEC_VERIFY, values)["verified_tokens"]
    np.testing.assert_array_equal(kernels.step(SPEC_VERIFY, values)["verified_tokens"], first)
    for name, change in {"seed": 1, "draw": 1, "positions": 1}.items():
        other = kernels.step(SPEC_VERIFY, values | {name: values[name] + change})["verified_tokens"]
        assert (other != first).any(), name
    other = kernels.step(SPEC_VERIFY, values | {"seed": values["seed"] ^ (1 << 40)})["verified_tokens"]
    assert (other != first).any(), "the upper half of the seed"


def test_rows_choose_their_own_temperature(kernels):
    values = case(2, 3, 3000, temperature=0.9)
    sampled = kernels.step(DECODE_STEP, values)
    values["temperature"][1] = 0
    mixed = kernels.step(DECODE_STEP, values)
    greedy = kernels.step(DECODE_STEP, values | {"temperature": np.zeros(2)})
    for name, found in mixed.items():
        np.testing.assert_array_equal(found, np.stack([sampled[name][0], greedy[name][1]]), err_msg=name)


def test_result_of_a_row_does_not_depend_on_its_batch(kernels):
    values = case(5, 7, 20000, temperature=0.5)
    together = kernels.step(DECODE_STEP, values)
    for row in range(5):
        alone = kernels.step(DECODE_STEP, {name: value[row : row + 1] for name, value in values.items()})
        for name, found in together.items():
            np.testing.assert_array_equal(alone[name][0], found[row], err_msg=name)


@pytest.mark.parametrize("name", ["BlockDenoise", "SpecVerify"])
def test_fused_step_is_both_operators(kernels, name):
    values = case(3, 20, 9000)
    fused, alone = kernels.step(DECODE_STEP, values), kernels.step(OPERATORS[name], values)
    for output, found in alone.items():
        np.testing.assert_array_equal(found, fused[output], err_msg=output)


def test_denoise_with_threshold_zero_fills_the_block(kernels):
    values = case(2, 32, 5000) | {"block": np.full((2, 32), MASK), "valid": np.full(2, 32), "threshold": np.zeros(2)}
    found = kernels.step(BLOCK_DENOISE, values)
    assert (found["block_tokens"] != MASK).all()
    assert not found["masks_left"].any()


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_random_words_are_the_published_ones(library, counter, key, words):
    """Known answers that the authors of Philox publish; the reference has to give them as well."""
    found = (ctypes.c_uint * 4)()
    library.random_words((ctypes.c_uint * 4)(*counter), *(ctypes.c_uint(part) for part in key), found)
    assert " ".join(f"{word:08x}" for word in found) == words
    expected = reference.philox(np.array(counter, np.uint64), tuple(key))
    assert " ".join(f"{int(word):08x}" for word in expected) == words


def test_noise_is_finite_for_the_extreme_words(library):
    library.gumbel_noise.restype = ctypes.c_float
    for word in (0, 1, 511, 512, 2**31, 2**32 - 512, 2**32 - 1):
        expected = -np.log(-np.log(reference.uniform(np.array(word, np.uint64))))
        assert library.gumbel_noise(ctypes.c_uint(word)) == pytest.approx(float(expected), rel=1e-6)


def test_every_half_precision_number_is_widened_exactly(library):
    halves = np.arange(1 << 16, dtype=np.uint16)
    found = np.empty(1 << 16, np.float32)
    library.widen_fp16(ctypes.c_void_p(halves.ctypes.data), ctypes.c_void_p(found.ctypes.data), 1 << 16)
    np.testing.assert_array_equal(found, halves.view(np.float16).astype(np.float32))
