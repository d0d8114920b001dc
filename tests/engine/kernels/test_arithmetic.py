# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels' arithmetic, run on the CPU, against the ONNX functions and against NumPy."""

from __future__ import annotations

import ctypes

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nld_trt.engine.kernels import reference
from nld_trt.engine.kernels.cases import DTYPES, MASK, SIZES, case
from nld_trt.engine.kernels.spec import TENSORS
from nld_trt.graph import operators
from nld_trt.graph.tape import DOMAIN, OPSET

ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "logits": TensorProto.FLOAT,
}


@pytest.fixture(scope="module")
def onnx_step():
    """The ONNX functions as one model; those of the kernels' inputs that it has are its inputs."""
    functions = operators.decode_functions(MASK)
    nodes = [helper.make_node(each.name, each.input, each.output, domain=DOMAIN) for each in functions]
    made = [name for each in functions for name in each.output]
    inputs = list(dict.fromkeys(name for each in functions for name in each.input if name not in made))
    outputs = [name for name in made if name in TENSORS]
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(n, ONNX_TYPES[TENSORS[n].dtype], [*TENSORS[n].axes]) for n in inputs],
        [helper.make_tensor_value_info(n, ONNX_TYPES[TENSORS[n].dtype], None) for n in outputs],
    )
    model = helper.make_model(
        graph,
        functions=functions,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=11,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(values):
        return dict(zip(outputs, session.run(outputs, {name: values[name] for name in inputs}), strict=True))

    run.inputs = inputs
    return run


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
    found = kernels.step(values, logit_type)
    assert_same(found, onnx_step(values))
    assert found["finite"].tolist() == [1] * sizes[0]
    share = reference.probabilities(values["logits"])
    share = np.take_along_axis(share, found["verified_tokens"][..., None], -1)[..., 0]
    masked = found["confidence"] >= 0
    np.testing.assert_allclose(found["confidence"][masked], share[masked], rtol=2e-6)


@pytest.mark.parametrize("width", range(1, 65))
def test_every_window_width(kernels, onnx_step, width):
    values = case(2, width, 263, seed=width)
    assert_same(kernels.step(values), onnx_step(values))


@pytest.mark.parametrize("spread", [0.0, 1e-30, 1000.0])
def test_flat_and_steep_logits(kernels, onnx_step, spread):
    values = case(2, 6, 8200, spread=spread)
    values["threshold"][:] = 1e-4
    assert_same(kernels.step(values), onnx_step(values))


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
    assert kernels.step({"logits": logits}, logit_type)["verified_tokens"][0].tolist() == expected


@pytest.mark.parametrize("vocab", [256, 9001])
def test_mask_is_never_chosen_and_stays_in_the_denominator(kernels, vocab):
    logits = np.zeros((1, 1, vocab), np.float32)
    logits[0, 0, MASK], logits[0, 0, 7] = 50.0, 1.0
    found = kernels.step({"logits": logits, "threshold": np.full(1, 2.0), "quota": np.ones(1)})
    assert (found["block_tokens"][0, 0], found["verified_tokens"][0, 0]) == (7, 7)
    np.testing.assert_allclose(found["confidence"][0, 0], np.exp(1.0 - 50.0), rtol=1e-4)


def test_minus_infinity_is_an_ordinary_logit(kernels, onnx_step):
    values = case(2, 5, 9000)
    values["logits"][:, :, ::2] = -np.inf
    values["logits"][0, 1, :-1] = -np.inf
    assert_same(kernels.step(values), onnx_step(values))


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
    sound = kernels.step(values, logit_type)
    spoil(values["logits"])
    found = kernels.step(values, logit_type)
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
    sound = kernels.step(values)
    spoil(values["logits"])
    found = kernels.step(values)
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
    found = kernels.step(values, logit_type)
    assert reference.differences(found, values, MASK) == []
    chosen = found["verified_tokens"] == reference.scores(values, MASK).argmax(-1)
    assert chosen.mean() > 0.9


def test_sampled_step_is_the_onnx_functions(kernels, onnx_step):
    if "temperature" not in onnx_step.inputs:
        pytest.skip("the ONNX functions have no temperature")
    values = case(2, 8, 4099, temperature=0.8)
    found, expected = kernels.step(values), onnx_step(values)
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
        "position": np.tile(np.arange(64), (64, 1)),
    }
    tokens = kernels.step(values)["verified_tokens"]
    share = np.bincount(tokens.reshape(-1), minlength=4) / tokens.size
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4], atol=4 * np.sqrt(0.25 / tokens.size))


def test_noise_depends_on_every_part_of_its_address(kernels):
    values = case(1, 4, 2000, spread=0.0, temperature=1.0)
    first = kernels.step(values)["verified_tokens"]
    np.testing.assert_array_equal(kernels.step(values)["verified_tokens"], first)
    for name, change in {"seed": 1, "draw": 1, "position": 1}.items():
        other = kernels.step(values | {name: values[name] + change})["verified_tokens"]
        assert (other != first).any(), name
    other = kernels.step(values | {"seed": values["seed"] ^ (1 << 40)})["verified_tokens"]
    assert (other != first).any(), "the upper half of the seed"


def test_rows_choose_their_own_temperature(kernels):
    values = case(2, 3, 3000, temperature=0.9)
    sampled = kernels.step(values)
    values["temperature"][1] = 0
    mixed = kernels.step(values)
    greedy = kernels.step(values | {"temperature": np.zeros(2)})
    for name, found in mixed.items():
        np.testing.assert_array_equal(found, np.stack([sampled[name][0], greedy[name][1]]), err_msg=name)


def test_result_of_a_row_does_not_depend_on_its_batch(kernels):
    values = case(5, 7, 20000, temperature=0.5)
    together = kernels.step(values)
    for row in range(5):
        alone = kernels.step({name: value[row : row + 1] for name, value in values.items()})
        for name, found in together.items():
            np.testing.assert_array_equal(alone[name][0], found[row], err_msg=name)


def test_denoise_with_threshold_zero_fills_the_block(kernels):
    values = case(2, 32, 5000) | {"block": np.full((2, 32), MASK), "valid": np.full(2, 32), "threshold": np.zeros(2)}
    found = kernels.step(values)
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
