# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The served model's inputs and outputs, declared once.

The repository's config, the model inside the server, the client and the documentation use this table.
Names and types are those of Triton's TensorRT-LLM models where these have a counterpart, because stock
clients, ``generate_stream`` users and Triton's OpenAI front end use that layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nld_trt.decode.fields import FIELDS, SAMPLING, Dtype
from nld_trt.decode.figures import ACCEPTANCE_LENGTH, TOKENS_PER_FORWARD

Direction = Literal["input", "output"]

# Maps Triton's type names to NumPy's.
NUMPY_TYPES: dict[Dtype, str] = {
    "STRING": "object",
    "BOOL": "bool",
    "INT32": "int32",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP32": "float32",
}


@dataclass(frozen=True)
class Tensor:
    """One input or output of the model.

    Attributes:
        many: the tensor holds any number of values, and not one.
        json: the value is JSON text, because KServe's tensors have no type for objects.
    """

    name: str
    direction: Direction
    dtype: Dtype
    meaning: str
    many: bool = False
    json: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape in the configuration, where -1 is any size.

        Inputs have two dimensions although the model takes no batches, because the OpenAI front end sends ``[[x]]``;
        ``generate_stream`` takes the shape from the configuration.
        """
        size = -1 if self.many else 1
        return (1, size) if self.direction == "input" else (size,)

    @property
    def wire_type(self) -> str:
        """The type's name in the inference protocol, which calls strings BYTES."""
        return "BYTES" if self.dtype == "STRING" else self.dtype

    @property
    def numpy_type(self) -> str:
        return NUMPY_TYPES[self.dtype]


def _input(name: str, dtype: Dtype, meaning: str, *, many: bool = False, json: bool = False) -> Tensor:
    return Tensor(name, "input", dtype, meaning, many, json)


def _output(name: str, dtype: Dtype, meaning: str, *, many: bool = False) -> Tensor:
    return Tensor(name, "output", dtype, meaning, many)


def _field(name: str) -> Tensor:
    """The input for a field of a request."""
    field = FIELDS[name]
    assert field.tensor is not None
    tensor = field.tensor
    return Tensor(tensor.name, "input", tensor.dtype, field.tensor_meaning, tensor.many, tensor.json)


TENSORS: tuple[Tensor, ...] = (
    *(
        _field(name)
        for name in ("prompt", "prompt_ids", "messages", "tools", "documents", "chat_template_kwargs", "system", "raw")
    ),
    _input("stream", "BOOL", "a response per committed piece of text, instead of one at the end (default false)"),
    *(
        _field(name)
        for name in (
            "max_new_tokens",
            "mode",
            "block_length",
            "threshold",
            "steps",
            "block_cache",
            "lora",
            "stop",
            "keep_markers",
            "eos_token_id",
        )
    ),
    _input("ignore_eos", "BOOL", "do not stop at the end-of-sequence token, for benchmarks"),
    *(
        _field(name)
        for name in (
            *SAMPLING,
            "acceptance",
            "ensemble",
            "allow_diffusion",
            "max_thinking_tokens",
            "end_think_token_id",
        )
    ),
    _input("frequency_penalty", "FP32", "0, the only value that is supported"),
    _input("presence_penalty", "FP32", "0, the only value that is supported"),
    _input("exclude_input_in_output", "BOOL", "false puts `text_input` before the first text (default true)"),
    _input("return_num_input_tokens", "BOOL", "send `num_input_tokens` (default true)"),
    _input("return_num_output_tokens", "BOOL", "send `num_output_tokens` (default true)"),
    _output("text_output", "STRING", "new text"),
    _output("finish_reason", "STRING", "empty until the last response: `stop`, `length` or `cancelled`"),
    _output("num_input_tokens", "UINT32", "tokens of the prompt"),
    _output("num_output_tokens", "UINT32", "tokens that this response adds"),
    _output("output_ids", "INT32", "the tokens that this response adds; only in answers to `input_ids`", many=True),
    _output("mode", "STRING", "mode that decoded this request"),
    _output(TOKENS_PER_FORWARD.name, "FP32", f"last response: {TOKENS_PER_FORWARD.meaning}"),
    _output(ACCEPTANCE_LENGTH.name, "FP32", f"last response, where drafts are verified: {ACCEPTANCE_LENGTH.meaning}"),
    _output(
        "acceptance_histogram",
        "INT32",
        "last response, where drafts are verified: how many had 0, 1, 2, … tokens that were accepted and emitted",
        many=True,
    ),
    _output("cached_tokens", "INT32", "last response: tokens of the prompt whose keys and values were in the cache"),
    _output("mode_tokens", "STRING", "last response, auto: tokens by the mode that made them, an object in JSON"),
    _output("mode_switches", "INT32", "last response, auto: how often mode or block length have changed"),
    _output("mode_reason", "STRING", "last response, auto: why they have last changed"),
    _output("nfe", "INT32", "last response: forward evaluations, by the reference's counting rule"),
    _output("seed", "UINT64", "last response at a temperature above 0: the seed of the sampling"),
)
INPUTS: dict[str, Tensor] = {tensor.name: tensor for tensor in TENSORS if tensor.direction == "input"}
OUTPUTS: dict[str, Tensor] = {tensor.name: tensor for tensor in TENSORS if tensor.direction == "output"}


def markdown_table(direction: Direction) -> str:
    """Returns the table of the documentation."""
    lines = ["| name | type | shape | meaning |", "|---|---|---|---|"]
    for tensor in TENSORS:
        if tensor.direction == direction:
            shape = ", ".join("n" if size < 0 else str(size) for size in tensor.dims)
            lines.append(f"| `{tensor.name}` | {tensor.dtype} | [{shape}] | {tensor.meaning} |")
    return "\n".join(lines)
