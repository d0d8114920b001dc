# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""From the tensors of one inference request to a request for the batch, with errors that name the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nld_trt.decode.fields import FIELDS
from nld_trt.decode.request import Request, ResolvedRequest, fitting_block_length
from nld_trt.engine.session import Array, EngineInfo
from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import BESIDE, Conversation, parse_beside
from nld_trt.model.text.prompt import refuse_beside
from nld_trt.names import NEVER, SERVED_MODES, ModeName
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton.sizes import check_sizes
from nld_trt.serving.triton.tensors import INPUTS

# Penalties, which no mode supports. The value 0 has no effect and is accepted.
_PENALTIES = ("frequency_penalty", "presence_penalty")
# Fields of TensorRT-LLM's models that would change an answer and that this model lacks, with the values that have no
# effect. Note that 0 == False and 1 == True.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bad_words": ("",),
    "embedding_bias_words": ("",),
    "beam_width": (1,),
    "num_return_sequences": (1,),
    "return_log_probs": (False,),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
}


@dataclass(frozen=True)
class Intake:
    """The request of one client, and the form of its responses.

    Attributes:
        echo: text to put before the answer.
        reply_ids: the prompt was given as token ids, so responses have token ids as well.
    """

    request: ResolvedRequest
    stream: bool = False
    echo: str = ""
    reply_ids: bool = False
    count_input: bool = True
    count_output: bool = True


def read_inputs(
    tensors: Mapping[str, Array], settings: ServingSettings, info: EngineInfo, codec: Codec | None
) -> Intake:
    """Read a request's input tensors. The settings have the defaults of those that are left out.

    Raises:
        InputError: a value cannot be used. The message names the tensor, its value and what is possible.
    """
    check_sizes(tensors, info.limits.max_seq_len)
    values = {name: _value(name, array) for name, array in tensors.items()}
    if not settings.ignore_penalties:
        _refuse_penalties(values)
    mode = values.get("mode", settings.defaults.mode)
    if mode not in SERVED_MODES:
        raise InputError(f"mode is {shortened(repr(mode))}; supported: {', '.join(SERVED_MODES)}")
    prompt_ids = _prompt_ids(values, settings, codec)
    # Most settings are taken as their tensors have them.
    given = {
        field.name: values[field.tensor.name]
        for field in FIELDS.values()
        if field.setting and field.tensor is not None and field.tensor.name in values
    }
    if "max_thinking_tokens" in given and "end_think_token_id" not in given and codec is not None:
        given["end_think_token_id"] = codec.end_of_thinking
    given |= {
        "mode": mode,
        "lora": given.get("lora", settings.defaults.lora),
        "max_new_tokens": _max_tokens(values.get("max_tokens", settings.defaults.max_tokens), len(prompt_ids), info),
        "block_length": _block_length(values.get("block_length"), mode, settings, info),
        "threshold": (
            _threshold(values["threshold"]) if "threshold" in values else settings.defaults.thresholds.get(mode)
        ),
        "eos_token_id": NEVER if values.get("ignore_eos") else values.get("eos_token_id"),
        # TensorRT-LLM's clients send an empty string where they have no stop words.
        "stop": tuple(word for word in values.get("stop_words", ()) if word),
    }
    return Intake(
        request=Request(prompt_ids, **given).resolved(info),
        stream=values.get("stream", False),
        echo=values.get("text_input", "") if not values.get("exclude_input_in_output", True) else "",
        reply_ids="input_ids" in values,
        count_input=values.get("return_num_input_tokens", True),
        count_output=values.get("return_num_output_tokens", True),
    )


def check_parameters(parameters: Mapping[str, Any], settings: ServingSettings) -> None:
    """Refuse features of TensorRT-LLM's models that this model lacks.

    Triton passes fields that are not inputs as parameters. Values without an effect are accepted, and unknown names
    are ignored.

    Raises:
        InputError: a field has an effect. The message names it and the values that have none.
    """
    supported = _NEUTRAL if settings.ignore_penalties else {**_NEUTRAL, "repetition_penalty": (1,)}
    for name, neutral in supported.items():
        if parameters.get(name, neutral[0]) not in neutral:
            allowed = " or ".join(repr(value) for value in dict.fromkeys(neutral))
            raise InputError(
                f"{name} is {shortened(repr(parameters[name]))}; the model does not support it, so only {allowed} "
                "is supported",
                fix=f"Leave {name} out.",
            )


def _value(name: str, array: Array) -> Any:
    """Convert a tensor to plain Python values."""
    tensor = INPUTS[name]
    items = array.reshape(-1).tolist()
    if tensor.dtype == "STRING":
        try:
            items = [item.decode() if isinstance(item, bytes) else str(item) for item in items]
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from error
    if tensor.json:
        items = [_parsed(name, item) for item in items]
    if tensor.many:
        return items
    if len(items) != 1:
        raise InputError(f"{name} has {len(items)} values; one was expected")
    return items[0]


def _parsed(name: str, text: str) -> Any:
    try:
        return parse_json(text)
    except JsonError as error:
        raise InputError(f"{name} {error.what}") from error


def _refuse_penalties(values: Mapping[str, Any]) -> None:
    for name in _PENALTIES:
        if values.get(name, 0.0) != 0.0:
            raise InputError(
                f"{name} is {values[name]:g}; only 0 is supported",
                fix=f"Leave {name} out, or write the repository with nld-trt repo --ignore-penalties.",
            )


def _prompt_ids(values: Mapping[str, Any], settings: ServingSettings, codec: Codec | None) -> tuple[int, ...]:
    given = [name for name in ("text_input", "input_ids", "messages") if name in values]
    if len(given) != 1:
        raise InputError("give either text_input or input_ids, or messages")
    (kind,) = given
    if kind == "input_ids":
        refuse_beside(values, ("system", *BESIDE), "input_ids leave no place for {}")
        if not values["input_ids"]:
            raise InputError("input_ids is empty: at least one token is needed")
        return tuple(values["input_ids"])
    if kind == "text_input" and not values["text_input"]:
        raise InputError("text_input is empty")
    if codec is None:
        raise InputError(f"the engine has no tokenizer: send input_ids instead of {kind}")
    if kind == "messages":
        refuse_beside(values, ("system", "raw"), "messages leave no place for {}")
        return codec.encode_conversation(Conversation.parse(values))
    if values.get("raw", settings.defaults.raw):
        if values.get("system"):
            raise InputError("system has no place in a raw prompt: leave out one of system and raw")
        refuse_beside(values, BESIDE, "a raw prompt has no place for {}")
        return codec.encode(values["text_input"])
    return codec.encode_conversation(
        Conversation.of_prompt(values["text_input"], values.get("system"), **parse_beside(values))
    )


def _block_length(asked: int | None, mode: ModeName, settings: ServingSettings, info: EngineInfo) -> int | None:
    default = settings.defaults.block_length
    if asked is not None or default is None:
        return asked
    return fitting_block_length(default, mode, info)


def _max_tokens(asked: int | None, prompt: int, info: EngineInfo) -> int:
    tokens_left = info.limits.max_seq_len - prompt
    if tokens_left < 1:
        raise InputError(
            f"the prompt has {prompt} tokens; the engine was built for {info.limits.max_seq_len}, answer included",
            fix=f"Shorten it, or rebuild the engine with nld-trt build --max-seq-len {prompt + (asked or 1)}.",
        )
    if asked is None:
        return min(tokens_left, info.generation.max_new_tokens or tokens_left)
    FIELDS["max_new_tokens"].check(asked, "max_tokens")
    if asked > tokens_left:
        raise InputError(
            f"max_tokens is {asked}; after a prompt of {prompt} tokens the engine can generate {tokens_left}",
            fix=f"Ask for less, or rebuild the engine with nld-trt build --max-seq-len {prompt + asked}.",
        )
    return asked


def _threshold(asked: float) -> float | None:
    return None if asked < 0.0 else asked
