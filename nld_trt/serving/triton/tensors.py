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

from nld_trt.model.config import MAX_EOS_IDS

Direction = Literal["input", "output"]
Dtype = Literal["STRING", "BOOL", "INT32", "UINT32", "UINT64", "FP32"]

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


TENSORS: tuple[Tensor, ...] = (
    _input("text_input", "STRING", "the prompt: a user message, to which the chat template is applied"),
    _input("input_ids", "INT32", "the prompt as token ids, instead of `text_input`", many=True),
    _input("messages", "STRING", "a conversation, instead of `text_input`: a JSON list of messages", json=True),
    _input("tools", "STRING", "descriptions of functions for the chat template: a JSON list of objects", json=True),
    _input("documents", "STRING", "documents for the chat template: a JSON list of objects", json=True),
    _input(
        "chat_template_kwargs",
        "STRING",
        'variables of the chat template, such as `{"enable_thinking": true}`: a JSON object',
        json=True,
    ),
    _input("system", "STRING", "system message of the conversation"),
    _input("raw", "BOOL", "use `text_input` without the chat template"),
    _input("stream", "BOOL", "a response per committed piece of text, instead of one at the end (default false)"),
    _input(
        "max_tokens",
        "INT32",
        "tokens to generate (default: the checkpoint's `max_new_tokens`, or as many as fit after the prompt)",
    ),
    _input("mode", "STRING", "`ar`, `diffusion`, `linear` or `quadratic` (default linear)"),
    _input(
        "block_length",
        "INT32",
        "tokens per block or round (default: the checkpoint's; in quadratic no more than the engine's drafts)",
    ),
    _input("threshold", "FP32", "confidence that commits a token, 0 to 1; negative: one token per pass"),
    _input("lora", "BOOL", "draft adapter on or off in linear and quadratic mode (default: when the engine has one)"),
    _input(
        "stop_words",
        "STRING",
        "strings that end the text, without being part of it; empty strings are ignored",
        many=True,
    ),
    _input(
        "eos_token_id",
        "INT32",
        f"tokens that end the answer, up to {MAX_EOS_IDS}; -1: none (default: the checkpoint's)",
        many=True,
    ),
    _input("ignore_eos", "BOOL", "do not stop at the end-of-sequence token, for benchmarks"),
    _input(
        "temperature",
        "FP32",
        "0: the most likely token; above: sample from softmax(logits / temperature) (default: the checkpoint's, or 0)",
    ),
    _input("top_k", "INT32", "sample from the k most likely tokens; 0: all (default: the checkpoint's, or 0)"),
    _input(
        "top_p",
        "FP32",
        "of these, the smallest set with at least this total probability; 1: all (default: the checkpoint's, or 1)",
    ),
    _input(
        "min_p",
        "FP32",
        "of these, those with at least this fraction of the top probability; 0: all (default: the checkpoint's, or 0)",
    ),
    _input("seed", "UINT64", "seed of the sampling, below 2^63 (default: a random one)"),
    _input(
        "acceptance",
        "STRING",
        "`reject` or `match`: rule by which linear accepts drafted tokens (default reject, or match with a threshold)",
    ),
    _input("ensemble", "FP32", "quadratic: weight of the AR prediction in verifying, 0 to 1 (default 1)"),
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
    _output("tokens_per_forward", "FP32", "last response: generated tokens over `nfe`"),
    _output("acceptance_length", "FP32", "last response, linear and quadratic: tokens per verified draft"),
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
