# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Fields of a request's body: which become inputs of the served model, and which are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nld_trt.decode.fields import FIELDS, SAMPLING
from nld_trt.errors import InputError, shortened
from nld_trt.serving.openai.errors import INVALID, UNSUPPORTED, ApiError, of_input

# Fields of a request that keep their names. OpenAI's clients send those that OpenAI lacks in `extra_body`.
_SAME_NAME: Final = (
    "mode", "allow_diffusion", "block_length", "threshold", "steps", "block_cache", "lora", *SAMPLING, "acceptance",
    "ensemble", "max_thinking_tokens", "end_think_token_id",
)  # fmt: skip
# Names of a limit on the answer's tokens, the newest first, which wins.
_LIMITS_OF_TOKENS: Final = ("max_completion_tokens", "max_tokens")
_PENALTIES: Final = ("frequency_penalty", "presence_penalty")
# What clients of vLLM write for "every token".
_ALL_TOKENS: Final = -1

# Fields that would change an answer and that the model lacks, with the values that have no effect.
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (),
    "logit_bias": ({},),
    "tool_choice": ("auto", "none"),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "best_of": (1,),
    "suffix": ("",),
    "use_beam_search": (False,),
    "continue_final_message": (False,),
    "stop_token_ids": ([],),
}


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Refuse fields that the model cannot honour. Fields that are unknown are ignored, as OpenAI's clients expect.

    Raises:
        ApiError: a field has an effect. The message names it and the values that have none.
    """
    for name, neutral in _NEUTRAL.items():
        value = body.get(name)
        if value is None or any(value == allowed and type(value) is type(allowed) for allowed in neutral):
            continue
        allowed = "".join(f" or send {item!r}" for item in neutral)
        raise ApiError(UNSUPPORTED, f"{name} is not supported; leave it out{allowed}", param=name)
    if body.get("min_tokens") and not body.get("ignore_eos"):
        raise ApiError(UNSUPPORTED, "min_tokens is not supported without ignore_eos; leave it out", param="min_tokens")


def settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the inputs of the model, by name, for the settings in ``body``. Null is left out, like a field that is
    absent, so that the server's default is used. The server checks ranges.

    Raises:
        ApiError: a value has another type. The message names the field.
    """
    inputs: dict[str, Any] = {}
    for name in _SAME_NAME:
        value = body.get(name)
        if value is None:
            continue
        field = FIELDS[name]
        try:
            field.check_type(value)
        except InputError as error:
            raise of_input(error, name) from error
        assert field.tensor is not None
        inputs[field.tensor.name] = value
    if inputs.get("top_k") == _ALL_TOKENS:
        inputs["top_k"] = 0
    inputs |= {name: number(body, name) for name in _PENALTIES if body.get(name) is not None}
    for name in _LIMITS_OF_TOKENS:
        if body.get(name) is not None:
            inputs["max_tokens"] = whole(body, name)
            break
    if flag(body, "ignore_eos"):
        inputs["ignore_eos"] = True
    stop = _stop(body.get("stop"))
    if stop:
        inputs["stop_words"] = stop
    return inputs


def parameters(body: Mapping[str, Any]) -> dict[str, str | int | bool]:
    """Returns Triton's request parameters for settings that are no inputs. The model refuses what it cannot honour."""
    penalty = body.get("repetition_penalty")
    return {} if penalty is None or number(body, "repetition_penalty") == 1 else {"repetition_penalty": str(penalty)}


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Returns a field that is true or false; false where it is absent or null."""
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise _wrong(name, value, "true or false")
    return bool(value)


def whole(body: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Returns a field that is a whole number."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "a whole number")
    return value


def number(body: Mapping[str, Any], name: str) -> float:
    """Returns a field that is a number."""
    value = body[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(name, value, "a number")
    return value


def mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns a field that is an object; an empty one where it is absent or null."""
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise _wrong(name, value, "an object")
    return value or {}


def _stop(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong("stop", value, "a text or a list of texts")
    return [text for text in texts if text]


def _wrong(name: str, value: Any, words: str) -> ApiError:
    return ApiError(INVALID, f"{name} is {shortened(repr(value))}; it must be {words}", param=name)
