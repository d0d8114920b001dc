# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs whose decode operators are plugins: what differs from the form of functions, and nothing else."""

from __future__ import annotations

import onnx
import pytest
from onnx import numpy_helper

from nld_trt.engine.gpu.kernels.spec import TENSORS
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import MODEL_FILE, load_graph, write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.graph.step.plugin_form import DECODE_STEP, LOGIT_STATISTICS, PLUGIN_OPERATORS
from nld_trt.graph.tape import DOMAIN

# The functions that plugins stand for, and the one of the two forms' own.
REPLACED = {"ChooseTokens", "BlockDenoise", "SpecVerify", "Advance"}
KEPT = {"DraftCandidates"}
QUADRATIC = pytest.mark.parametrize("quadratic", [0, 3])


@pytest.fixture
def written(golden, tmp_path):
    def write(**options):
        quadratic = options.pop("quadratic", 0)
        limits = Limits(2, 64, 16, 16, max_quadratic_length=quadratic)
        fixed = {"precision": PRECISIONS["bf16"], "adapter": True, "static_capacity": True, "dialect": "tensorrt"}
        return load_graph(write_graph(golden("tiny-a"), tmp_path, limits=limits, **fixed, **options))

    return write


def operators_of(model):
    """Nodes of the project's domain."""
    return {node.op_type: node for node in model.graph.node if node.domain == DOMAIN}


def names(values):
    return [value.name for value in values]


@QUADRATIC
def test_plugin_form_has_exactly_three_operators_without_a_body(written, quadratic) -> None:
    model = written(operators="plugins", quadratic=quadratic)
    bodies = {function.name for function in model.functions}
    assert bodies == KEPT
    assert set(operators_of(model)) - bodies == set(PLUGIN_OPERATORS)
    foreign = {node.op_type for node in model.graph.node if node.domain not in ("", DOMAIN)}
    assert not foreign


@QUADRATIC
def test_function_form_has_a_body_of_every_operator(written, quadratic) -> None:
    model = written(quadratic=quadratic)
    assert {function.name for function in model.functions} == set(operators_of(model)) == REPLACED | KEPT


def test_functions_are_what_a_graph_has_unless_told_otherwise(written) -> None:
    assert written() == written(operators="functions")


@QUADRATIC
@pytest.mark.parametrize("operators", ["functions", "plugins"])
def test_graph_is_well_formed(written, tmp_path, operators, quadratic) -> None:
    """ONNX knows nothing of the three operators, but their inputs must exist and their outputs be made once."""
    written(operators=operators, quadratic=quadratic, debug=True)
    # By its path, beside its weights.
    onnx.checker.check_model(tmp_path / MODEL_FILE)


@QUADRATIC
def test_forms_have_the_same_inputs_and_outputs(written, quadratic) -> None:
    functions, plugins = (written(operators=form, quadratic=quadratic) for form in ("functions", "plugins"))
    assert functions.graph.input == plugins.graph.input
    assert functions.graph.output == plugins.graph.output


@QUADRATIC
def test_forms_differ_in_the_operators_of_plugins_alone(written, quadratic) -> None:
    def others(form):
        nodes = written(operators=form, quadratic=quadratic).graph.node
        return [node for node in nodes if node.op_type not in REPLACED | set(PLUGIN_OPERATORS)]

    assert others("functions") == others("plugins")


@pytest.mark.parametrize("operators", ["functions", "plugins"])
def test_debug_outputs_are_made_in_both_forms(written, operators) -> None:
    model = written(operators=operators, debug=True)
    made = {name for node in model.graph.node for name in node.output}
    assert {"confidence", "logits", "final_hidden"} <= made & set(names(model.graph.output))


@QUADRATIC
@pytest.mark.parametrize("operator", PLUGIN_OPERATORS.values(), ids=PLUGIN_OPERATORS)
def test_node_has_inputs_and_outputs_in_the_order_of_the_kernel(written, operator, quadratic) -> None:
    node = operators_of(written(operators="plugins", quadratic=quadratic))[operator.name]
    assert len(node.input) == len(operator.inputs)
    assert list(node.output) == list(operator.outputs)
    # Inputs of the engine have the names of the table; what is computed before has the name of its node.
    bound = {binding.name for binding in contract.BINDINGS} - {"logits", "drafted_ids"}
    for given, name in zip(node.input, operator.inputs, strict=True):
        assert (given == name) == (name in bound or name in ("cut", "partials")), name


def test_node_attributes_name_mask_and_plugin(written, golden) -> None:
    model = written(operators="plugins")
    for operator in PLUGIN_OPERATORS.values():
        node = operators_of(model)[operator.name]
        found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        expected = operator.attributes(golden("tiny-a").config.mask_token_id)
        assert found == {name: value.encode() if isinstance(value, str) else value for name, value in expected.items()}


@QUADRATIC
def test_both_forms_read_the_same_values(written, quadratic) -> None:
    """By the inputs' names: a decision sees what the three functions see."""
    functions, plugins = (written(operators=form, quadratic=quadratic) for form in ("functions", "plugins"))
    bodies = {function.name: function for function in functions.functions}
    read = {
        name: value
        for operator in ("ChooseTokens", "BlockDenoise")
        for name, value in zip(bodies[operator].input, operators_of(functions)[operator].input, strict=True)
    }
    verify = dict(zip(bodies["SpecVerify"].input, operators_of(functions)["SpecVerify"].input, strict=True))
    read |= {"verify_valid": verify["verify_valid"], "eos_token_id": verify["eos_token_id"]}
    for operator in (LOGIT_STATISTICS, DECODE_STEP):
        given = dict(zip(operator.inputs, operators_of(plugins)[operator.name].input, strict=True))
        assert given == {name: read.get(name, name) for name in operator.inputs}
    assert (read["verify_valid"] != read["valid"]) == bool(quadratic)
    assert operators_of(plugins)["Advance"].input == operators_of(functions)["Advance"].input


def test_only_drafts_of_a_quadratic_pass_are_verified(written) -> None:
    model = written(operators="plugins", quadratic=3)
    makers = {name: node for node in model.graph.node for name in node.output}
    node = operators_of(model)["DecodeStep"]
    given = dict(zip(DECODE_STEP.inputs, node.input, strict=True))
    choice = makers[given["verify_valid"]]
    assert (choice.op_type, list(choice.input)[1:]) == ("Where", ["segments", given["valid"]])
    condition = makers[choice.input[0]]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.raw_data}
    assert (condition.op_type, condition.input[0], constants[condition.input[1]]) == ("Greater", "segments", 0)


def test_inputs_of_the_engine_have_the_types_that_the_kernels_take(written) -> None:
    model = written(operators="plugins")
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    shared = [name for name in DECODE_STEP.inputs if name in types]
    assert len(shared) >= 6
    for name in shared:
        assert onnx.helper.tensor_dtype_to_np_dtype(types[name]).name == TENSORS[name].dtype, name
