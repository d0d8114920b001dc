# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reading the compiler's listing of an engine."""

from __future__ import annotations

from nld_trt.engine.trt.listing import EngineListing, Operand, node_names

LISTING = "\n".join(
    (
        "Layers:",
        "Name: __mye10_0_myl1_0, LayerType: shape_call, Inputs: [], Outputs: [], TacticName: , Metadata: ",
        "Name: _gemm_mha_v2_myl1_6, LayerType: kgen, Inputs: [ "
        "{ Name: query, Dimensions: [-1,-1,16], Strides: [16,-1,1], Datatype: BFloat16, Format: (Linear) Row major }, "
        "{ Name: present_key_0, Location: Device, Dimensions: [-1,16,272], Datatype: BFloat16 }], "
        "Constants: [ { Name: weight, Dimensions: [1], Datatype: Bool }], "
        "Outputs: [ { Name: out, Dimensions: [-1], Datatype: BFloat16 }], "
        "TacticName: _gemm_mha_v2_0x1a, StreamId: 0, Metadata: [ONNX Layer: layer_0/attention_0]",
        "Name: step [profile 1]_myl3_2, LayerType: gemm, Inputs: [ "
        "{ Name: tokens [profile 1], Dimensions: [-1,1], Datatype: Int32 }], Outputs: [], "
        "TacticName: stub, StreamId: 0, Metadata: [ONNX Layer: range_1 | verify_0 (SpecVerify)][ONNX Layer: add_2]",
        "Name: _gemv_mha_v1_myl3_4, LayerType: kgen, Inputs: [ { Name: inner, Dimensions: [-1] }], Constants: [], "
        "Outputs: [], TacticName: _gemv_mha_v1_0x2b_vec, StreamId: 0, Metadata: ",
        "",
        "I/O Tensors:",
        " Name: tokens, IOMode: Input, DataType: Int32, Dimensions: [-1,-1], Location: Device, ProfileInfo: [ "
        "{ MinShape: [1,1], OptShape: [1,64], MaxShape: [4,64], Format: x }, "
        "{ MinShape: [1,1], OptShape: [1,1], MaxShape: [4,1] }]",
        " Name: bonus_token, IOMode: Output, DataType: BFloat16, Dimensions: [-1], ProfileInfo: [ { Format: x }]",
    )
)


def test_kernels_keep_their_profile_even_without_a_mark():
    engine = EngineListing.parse(LISTING)
    assert [(kernel.name, kernel.profile, kernel.tactic) for kernel in engine.kernels] == [
        ("__mye10_0_myl1_0", 0, ""),
        ("_gemm_mha_v2_myl1_6", 0, "_gemm_mha_v2_0x1a"),
        ("step_myl3_2", 1, "stub"),
        ("_gemv_mha_v1_myl3_4", 1, "_gemv_mha_v1_0x2b_vec"),
    ]


def test_inputs_exclude_weights_and_outputs():
    engine = EngineListing.parse(LISTING)
    assert [kernel.inputs for kernel in engine.kernels] == [(), ("query", "present_key_0"), ("tokens",), ("inner",)]


def test_kernels_have_the_shapes_and_types_of_what_they_read_and_write():
    attention = EngineListing.parse(LISTING).kernels[1]
    assert attention.reads == (
        Operand("query", (-1, -1, 16), "bf16"),
        Operand("present_key_0", (-1, 16, 272), "bf16"),
    )
    assert attention.writes == (Operand("out", (-1,), "bf16"),)
    assert attention.reads[0].element_bytes == 2


def test_bindings_have_types_and_ranges():
    tokens, seed = EngineListing.parse(LISTING).tensors
    assert (tokens.name, tokens.mode, tokens.dtype, tokens.shape) == ("tokens", "input", "int32", (-1, -1))
    assert tokens.ranges == (((1, 1), (1, 64), (4, 64)), ((1, 1), (1, 1), (4, 1)))
    assert (seed.name, seed.mode, seed.dtype, seed.ranges) == ("bonus_token", "output", "bf16", ())


def test_nodes_of_a_function_lose_the_function():
    assert node_names("[ONNX Layer: range_1 | verify_0 (SpecVerify)][ONNX Layer: add_2]") == ("range_1", "add_2")


def test_other_text_is_no_engine():
    assert EngineListing.parse("Engine generation completed in 1.3 seconds.\n") == EngineListing((), ())
