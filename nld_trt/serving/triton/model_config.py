# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``config.pbtxt``, written as the protobuf message that Triton parses, so that every name in it is valid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.model.text.files import read_text
from nld_trt.optional import require
from nld_trt.serving.triton.tensors import INPUTS, OUTPUTS

FILE_NAME = "config.pbtxt"


def render_config(model: str, *, instance_kind: str, comment: str) -> str:
    """Make the text of a model's configuration, which is checked by parsing it.

    Args:
        instance_kind: KIND_CPU or KIND_MODEL, which leaves the choice of the GPU to the engine.
        comment: the first line, such as the command that wrote the file.
    """
    messages, text_format = _protobuf()
    config = messages.ModelConfig(name=model, backend="python")
    config.model_transaction_policy.decoupled = True
    for tensor in INPUTS.values():
        config.input.add(
            name=tensor.name,
            data_type=messages.DataType.Value(f"TYPE_{tensor.dtype}"),
            dims=tensor.dims,
            # Which inputs a request needs depends on its other inputs: the model checks that and names what is missing.
            optional=True,
        )
    for tensor in OUTPUTS.values():
        config.output.add(name=tensor.name, data_type=messages.DataType.Value(f"TYPE_{tensor.dtype}"), dims=tensor.dims)
    group = config.instance_group.add(count=1)
    group.kind = messages.ModelInstanceGroup.Kind.Value(instance_kind)
    # The printer leaves out values that equal protobuf's default. The 0 is written because it is a decision: batches
    # are formed by the model's scheduler and not by Triton.
    text = f"{_commented(comment)}max_batch_size: 0\n{text_format.MessageToString(config)}"
    assert text_format.Parse(text, messages.ModelConfig()) == config
    return text


def read_config(folder: Path) -> Any:
    """Returns the configuration of the model in ``folder``, a protobuf message.

    Raises:
        InputError: it cannot be read.
    """
    file = folder / FILE_NAME
    return parse_config(read_text(file), file)


def render_python_config(
    model: str,
    inputs: Iterable[tuple[str, str, bool]],
    outputs: Iterable[tuple[str, str, bool]],
    *,
    required: str,
    comment: str,
) -> str:
    """Make the text of the configuration of a Python model that sets batching and decoupling itself.

    Args:
        inputs, outputs: names, types and whether the tensor may hold many values.
        required: the input that every request has.
    """
    messages, text_format = _protobuf()
    config = messages.ModelConfig(name=model, backend="python")
    for name, dtype, many in inputs:
        kind = messages.DataType.Value(f"TYPE_{dtype}")
        config.input.add(name=name, data_type=kind, dims=[-1 if many else 1], optional=name != required)
    for name, dtype, many in outputs:
        config.output.add(name=name, data_type=messages.DataType.Value(f"TYPE_{dtype}"), dims=[-1 if many else 1])
    config.instance_group.add(count=1, kind=messages.ModelInstanceGroup.Kind.Value("KIND_CPU"))
    text = f"{_commented(comment)}{text_format.MessageToString(config)}"
    assert text_format.Parse(text, messages.ModelConfig()) == config
    return text


def _commented(comment: str) -> str:
    """Returns a comment. A command line can have line breaks, for example in a path, so every line becomes one."""
    return "".join(f"# {line}\n" for line in comment.splitlines())


def parse_config(text: str, place: object) -> Any:
    """Parse the protobuf message in ``text``.

    Raises:
        InputError: it is not a model configuration. The message names ``place`` and the line.
    """
    messages, text_format = _protobuf()
    try:
        return text_format.Parse(text, messages.ModelConfig())
    except text_format.ParseError as error:
        raise InputError(f"{place} is not a Triton model configuration: {error}") from error


def _protobuf() -> tuple[Any, Any]:
    messages = require("tritonclient.grpc.model_config_pb2", wanted_by="repo")
    return messages, require("google.protobuf.text_format", wanted_by="repo", extra="serve")
