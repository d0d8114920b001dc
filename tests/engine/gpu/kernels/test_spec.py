# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The table of operators against the sources, the ONNX functions, and the sizes that the kernels take."""

from __future__ import annotations

import re

import pytest

from nld_trt import names
from nld_trt.engine.gpu.kernels import launch, spec
from nld_trt.engine.gpu.kernels.image import KernelSource
from nld_trt.engine.gpu.kernels.launch import checked_sizes
from nld_trt.engine.gpu.kernels.spec import ADVANCE, DECODE_STEP, LOGIT_STATISTICS, OPERATORS, TENSORS
from nld_trt.errors import InputError
from nld_trt.graph import contract
from nld_trt.graph.step import advance
from nld_trt.graph.step.choose import CHOOSE_TOKENS
from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.plugin_form import PLUGIN_OPERATORS
from nld_trt.graph.step.tensors import CANDIDATES, PROGRAMS
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.model.config import MAX_EOS_IDS

C_TYPES = {
    "bool": "bool*",
    "float32": "float*",
    "int32": "int*",
    "int64": "long long*",
    "logits": "nld::TYPE::Storage*",
}


@pytest.fixture(scope="module")
def source() -> KernelSource:
    return KernelSource.shipped()


def parameters(source: KernelSource, symbol: str) -> list[tuple[str, str]]:
    """(type, name) of a kernel's parameters, as it or the macro that makes it for each type of logits has them."""
    text = source.files["decode_kernels.cu"].replace("\\\n", "\n")
    head = rf"(?:#define {symbol.upper()}\(NAME, TYPE\).*?\bNAME|\b{symbol})"
    listed = re.search(rf"{head}\(([^{{]*?)\)\s*{{", text, re.DOTALL)[1]
    words = [" ".join(part.replace("const ", "").replace("__restrict__", "").split()) for part in listed.split(",")]
    return [tuple(word.rsplit(" ", 1)) for word in words]


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_kernel_takes_what_the_table_says(source, operator) -> None:
    pointers = [(C_TYPES[TENSORS[name].dtype], name) for name in (*operator.inputs, *operator.outputs)]
    scalars = [("int", name) for name in operator.scalars]
    count = len(operator.inputs)
    assert parameters(source, operator.symbol) == [*pointers[:count], *scalars, *pointers[count:]]


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("kThreads", launch.THREADS),
        ("kDecisionThreads", launch.DECISION_THREADS),
        ("kWarp", launch.WARP),
        ("kChunk", launch.CHUNK),
        ("kMaxWidth", launch.MAX_WIDTH),
        ("kMaxEosIds", MAX_EOS_IDS),
        ("kPartialWords", launch.PARTIAL_WORDS),
        ("kCandidates", CANDIDATES),
        ("kHold", PROGRAMS.index(names.HOLD)),
        ("kDiffusion", PROGRAMS.index(names.DIFFUSION)),
        ("kQuadratic", PROGRAMS.index(names.QUADRATIC)),
        ("kBlocks", PROGRAMS.index(names.BLOCKS)),
    ],
)
def test_constants_are_those_of_the_sources(source, constant: str, value: int) -> None:
    assert re.findall(rf"constexpr int {constant} = (\d+);", "".join(source.files.values())) == [str(value)]


def onnx_names(kind: str) -> set[str]:
    """Inputs or outputs of the three functions that the kernels stand for, without what they hand to each other."""
    functions = (CHOOSE_TOKENS, BLOCK_DENOISE, SPEC_VERIFY)
    return {name for function in functions for name in getattr(function, kind)} - {"choice", "probability"}


def test_outputs_are_those_of_the_onnx_functions() -> None:
    assert set(DECODE_STEP.outputs) == onnx_names("outputs")


def test_inputs_are_those_of_the_onnx_functions() -> None:
    """Kernels look at every slot, and hand statistics to each other."""
    assert {*LOGIT_STATISTICS.inputs, *DECODE_STEP.inputs} ^ onnx_names("inputs") == {"sampled_slots", "partials"}


def test_decision_reads_everything_that_the_statistics_write() -> None:
    assert set(LOGIT_STATISTICS.outputs) <= set(DECODE_STEP.inputs)


def test_decision_sees_everything_that_the_statistics_are_of() -> None:
    assert set(LOGIT_STATISTICS.inputs) <= set(DECODE_STEP.inputs)


def test_next_pass_is_the_function_of_that_name() -> None:
    function = advance.ADVANCE
    assert (ADVANCE.name, ADVANCE.inputs, ADVANCE.outputs) == (function.name, function.inputs, function.outputs)


def test_next_pass_sees_what_the_decision_found() -> None:
    assert set(DECODE_STEP.outputs) - {"confidence"} <= set(ADVANCE.inputs)


def test_statistics_need_neither_random_numbers_nor_lists() -> None:
    assert LOGIT_STATISTICS.inputs == ("logits", "temperature", "cut")


@pytest.mark.parametrize("name", PLUGIN_OPERATORS)
def test_node_attributes_are_those_that_the_parser_looks_up(name) -> None:
    attributes = PLUGIN_OPERATORS[name].attributes(mask_token_id=7)
    assert attributes == {"mask_token_id": 7, "plugin_namespace": "nld", "plugin_version": "1", "aot": 1}


def test_block_of_one_row_gives_every_multiprocessor_work() -> None:
    """At 1 x 32 x 131072: more blocks than any supported GPU has multiprocessors."""
    splits, width, batch = launch.launch(LOGIT_STATISTICS, checked_sizes(1, 32, 131072)).grid
    assert (splits, width, batch) == (16, 32, 1)


def test_every_logit_is_in_a_split() -> None:
    for vocab in (256, 8191, 8192, 8193, 131071, 131072):
        sizes = checked_sizes(1, 1, vocab)
        assert (sizes.splits - 1) * launch.CHUNK < vocab <= sizes.splits * launch.CHUNK


def test_every_split_has_a_lane_of_the_warp_that_decides() -> None:
    assert launch.LIMITS["vocab"][1] <= launch.WARP * launch.CHUNK


def test_every_slot_has_a_thread_of_the_block_that_decides() -> None:
    assert launch.MAX_WIDTH <= launch.DECISION_THREADS


def test_widest_quadratic_pass_is_of_fifteen_drafts() -> None:
    assert contract.quadratic_width(15) <= launch.MAX_WIDTH < contract.quadratic_width(16)


@pytest.mark.parametrize(
    ("batch", "width", "vocab", "message"),
    [
        (65, 32, 131072, "a batch of 65: they take 1 to 64"),
        (1, 257, 131072, "a width of 257: they take 1 to 256"),
        (0, 1, 131072, "a batch of 0"),
        (1, 1, 255, "a vocab of 255: they take 256 to 131072"),
        (1, 1, 131073, "a vocab of 131073"),
    ],
)
def test_sizes_beyond_the_kernels_are_refused(batch: int, width: int, vocab: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_sizes(batch, width, vocab)


def test_kernels_have_names_of_their_own() -> None:
    assert len(set(spec.KERNELS)) == len(spec.KERNELS) == 7
