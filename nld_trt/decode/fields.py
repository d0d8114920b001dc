# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The fields of a request, each declared once: requests files, options of commands, input tensors and their
documentation follow from this table.

This module loads no library, because the command line shows its texts in ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Final, Literal

from nld_trt import names
from nld_trt.errors import InputError, shortened
from nld_trt.model.config import MAX_EOS_IDS

# Triton's names of types.
Dtype = Literal["STRING", "BOOL", "INT32", "UINT32", "UINT64", "FP32"]

# Engines compute in float32, whose largest number this is.
_MAX_TEMPERATURE: Final = 3.4028234663852886e38
MAX_SEED: Final = 2**63 - 1

_WORDS: Final[dict[type, str]] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True)
class Range:
    """Values that a field may have.

    Attributes:
        allows: a test that NaN fails.
        words: what follows "it must be".
    """

    allows: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class Tensor:
    """The field as an input of a served model.

    Attributes:
        default: where it differs from the field's own.
        many: the tensor holds any number of values; others hold one.
        json: the tensor is a text that holds JSON.
    """

    name: str
    dtype: Dtype
    many: bool = False
    json: bool = False
    default: str | None = None


@dataclass(frozen=True)
class Field:
    """One field of a request.

    Attributes:
        types: Python types of its JSON values; bool is no int here.
        meaning: a part of a sentence. ``{null}`` stands for how null is written.
        default: what a request gets that does not have the field; None where that is nothing.
        setting: the request has it under this name. Others make up its prompt, or are given back with the result.
        flag: commands have an option for it.
        choices: the texts that it may be; auto only at a server.
        served: only requests to a server have it.
    """

    name: str
    types: tuple[type, ...]
    meaning: str
    default: str | None = None
    setting: bool = True
    flag: bool = False
    choices: tuple[str, ...] = ()
    served: bool = False
    range: Range | None = None
    tensor: Tensor | None = None

    @property
    def option(self) -> str:
        """The name of its option."""
        return "--" + self.name.replace("_", "-")

    @property
    def kinds(self) -> str:
        """Its types in words. A number may be a whole one, which need not be said."""
        kinds = [kind for kind in self.types if kind is not int or float not in self.types]
        return " or ".join(_WORDS[kind] for kind in kinds)

    @property
    def at_server(self) -> Field:
        """The field for those who ask a server, which has defaults of its own."""
        return replace(self, default=None if self.default is None else "the server's")

    @property
    def help(self) -> str:
        """Sentences for ``--help``."""
        meaning = self.meaning.format(null="null")
        default = "" if self.default is None else f" Default: {self.default}."
        # A sentence that begins with a mode keeps the mode's spelling.
        if meaning.partition(":")[0] not in names.SERVED_MODES:
            meaning = meaning[0].upper() + meaning[1:]
        return f"{meaning}.{default}"

    @property
    def tensor_meaning(self) -> str:
        """A part of a sentence for the table of tensors."""
        assert self.tensor is not None
        default = self.tensor.default or self.default
        choices = f": {', '.join(f'`{choice}`' for choice in self.choices)}" if self.choices else ""
        meaning = self.meaning.format(null="a negative number")
        form = ", as a text in JSON" if self.tensor.json else ""
        return f"{meaning}{choices}{form}" + ("" if default is None else f" (default: {default})")

    def check_type(self, value: Any) -> None:
        """Check that a value has one of the field's types.

        Raises:
            InputError: it has another one.
        """
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise InputError(f"{self.name} is {shortened(repr(value))}; it must be {self.kinds}")

    def check(self, value: Any, called: str | None = None) -> None:
        """Check that a value is in range; None stands for one that is not stated.

        Args:
            called: how messages call the value; None means by the field's name.

        Raises:
            InputError: it is out of range.
        """
        if value is None or self.range is None:
            return
        # Files that were edited by hand may hold anything; libraries have numbers of their own.
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not (is_number and self.range.allows(value)):
            raise InputError(f"{called or self.name} is {shortened(value)}; it must be {self.range.words}")


_AT_LEAST_1 = Range(lambda value: value >= 1, "at least 1")
_OPTIONAL_LIST = (list, type(None))
_NUMBER = (int, float)

FIELDS: Final[dict[str, Field]] = {
    each.name: each
    for each in (
        Field("id", (str, int, float, type(None)), "given back with the result", "null", setting=False),
        Field(
            "prompt", (str,), "the prompt: a user message, which the chat template is put around", setting=False,
            tensor=Tensor("text_input", "STRING"),
        ),
        Field(
            "prompt_ids", (list,), "the prompt as token ids", setting=False,
            tensor=Tensor("input_ids", "INT32", many=True),
        ),
        Field(
            "messages", (list,), "the prompt as a conversation: a list of messages", setting=False,
            tensor=Tensor("messages", "STRING", json=True),
        ),
        Field(
            "tools", _OPTIONAL_LIST, "descriptions of functions for the chat template: a list of objects",
            setting=False, tensor=Tensor("tools", "STRING", json=True),
        ),
        Field(
            "documents", _OPTIONAL_LIST, "documents for the chat template: a list of objects", setting=False,
            tensor=Tensor("documents", "STRING", json=True),
        ),
        Field(
            "chat_template_kwargs", (dict, type(None)), "variables of the chat template: an object",
            "`enable_thinking` is false", setting=False,
            tensor=Tensor("chat_template_kwargs", "STRING", json=True),
        ),
        Field(
            "system", (str, type(None)), "system message of the conversation", setting=False, flag=True,
            tensor=Tensor("system", "STRING"),
        ),
        Field(
            "raw", (bool,), "use the prompt as it is, without the chat template", "false", setting=False, flag=True,
            tensor=Tensor("raw", "BOOL"),
        ),
        Field(
            "mode", (str,), "decoding mode",
            f"{names.DEFAULT_MODE}, {names.EAGLE3} with a head that drafts, or the only one that a model has",
            flag=True, choices=names.SERVED_MODES,
            tensor=Tensor("mode", "STRING", default="the repository's, `auto` unless `repo --mode` was given"),
        ),
        Field(
            "lora", (bool,), "use the draft adapter in linear and quadratic mode", "when the engine has one", flag=True,
            tensor=Tensor("lora", "BOOL"),
        ),
        Field(
            "max_new_tokens", (int,), "tokens to generate",
            f"the checkpoint's, or up to {names.DEFAULT_MAX_NEW_TOKENS}; as many as fit", flag=True, range=_AT_LEAST_1,
            tensor=Tensor(
                "max_tokens", "INT32", default="the checkpoint's `max_new_tokens`, or as many as fit after the prompt"
            ),
        ),
        Field(
            "block_length", (int,), "tokens per block or draft",
            "the checkpoint's; in quadratic mode no more than the engine was built for", flag=True, range=_AT_LEAST_1,
            tensor=Tensor("block_length", "INT32"),
        ),
        Field(
            "threshold", (int, float, type(None)),
            "diffusion: confidence that commits a token, {null} for one token per pass; linear: 0 drafts in one pass, "
            "above 0 in several",
            "0.9 in diffusion, 0 in linear", flag=True,
            range=Range(lambda value: 0.0 <= value <= 1.0, "between 0 and 1, or null"),
            tensor=Tensor("threshold", "FP32"),
        ),
        Field(
            "steps", (int,),
            "families without a causal pass: passes of a block, each of which commits at least its part of the block",
            "at least one token per pass", flag=True, range=_AT_LEAST_1, tensor=Tensor("steps", "INT32"),
        ),
        Field(
            "block_cache", (bool,),
            "diffusion over a whole canvas: after its first pass, a block takes keys and values of what is before it "
            "from there; the text is another one",
            "false", flag=True, tensor=Tensor("block_cache", "BOOL"),
        ),
        Field(
            "eos_token_id", (int, list),
            f"token ids that end the answer, up to {MAX_EOS_IDS}; -1 for never", "the checkpoint's",
            tensor=Tensor("eos_token_id", "INT32", many=True),
        ),
        Field(
            "stop", (list,), "strings that end the text and are not part of it", flag=True,
            tensor=Tensor("stop_words", "STRING", many=True),
        ),
        Field(
            "keep_markers", (bool,),
            "leave the markers of thinking and tool calls in the text, such as `<think>`; other special tokens have "
            "none",
            "false", tensor=Tensor("keep_markers", "BOOL"),
        ),
        Field(
            "max_thinking_tokens", (int,), "tokens of thinking after which the marker is forced, in ar and diffusion",
            "no limit", range=Range(lambda value: value >= 0, "0 or more"),
            tensor=Tensor("max_thinking_tokens", "INT32"),
        ),
        Field(
            "end_think_token_id", (int,), "token id of that marker",
            tensor=Tensor("end_think_token_id", "INT32", default="that of the tokenizer's `</think>`"),
        ),
        Field(
            "temperature", _NUMBER, "0: the most likely token; above 0: tokens are sampled", "the checkpoint's, or 0",
            flag=True,
            range=Range(
                lambda value: 0.0 <= value <= _MAX_TEMPERATURE, f"from 0, which is greedy, to {_MAX_TEMPERATURE:.2g}"
            ),
            tensor=Tensor("temperature", "FP32"),
        ),
        Field(
            "top_k", (int,), "sample from this many of the most likely tokens; 0: from all", "the checkpoint's, or 0",
            flag=True,
            range=Range(
                lambda value: 0 <= value <= names.MAX_TOP_K,
                f"a whole number from 0, which keeps every token, to {names.MAX_TOP_K}",
            ),
            tensor=Tensor("top_k", "INT32"),
        ),
        Field(
            "top_p", _NUMBER,
            "sample from the fewest most likely tokens whose probabilities add up to this; 1: from all",
            "the checkpoint's, or 1", flag=True,
            range=Range(lambda value: 0.0 < value <= 1.0, "above 0 and at most 1, which keeps every token"),
            tensor=Tensor("top_p", "FP32"),
        ),
        Field(
            "min_p", _NUMBER, "leave out tokens below this fraction of the most likely token's probability",
            "the checkpoint's, or 0", flag=True,
            range=Range(lambda value: 0.0 <= value < 1.0, "below 1 and at least 0, which keeps every token"),
            tensor=Tensor("min_p", "FP32"),
        ),
        Field(
            "seed", (int,), "seed of the sampling, below 2^63; the same seed repeats an answer", "a new one each time",
            flag=True, range=Range(lambda value: 0 <= value <= MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
            tensor=Tensor("seed", "UINT64"),
        ),
        Field(
            "acceptance", (str,), "linear: rule that keeps drafted tokens",
            f"{names.REJECT}; {names.MATCH} where the threshold is above 0", flag=True,
            choices=names.ACCEPTANCE_RULES, tensor=Tensor("acceptance", "STRING"),
        ),
        Field(
            "ensemble", _NUMBER, "quadratic: weight of the AR prediction in verifying, 0 to 1",
            "1, which gives the text of ar", flag=True,
            range=Range(lambda value: 0.0 <= value <= 1.0, "between 0 and 1, which is AR alone"),
            tensor=Tensor("ensemble", "FP32"),
        ),
        Field(
            "allow_diffusion", (bool,),
            "auto: the text may be other than that of ar, so that diffusion may be chosen as well", "false",
            served=True,
            tensor=Tensor("allow_diffusion", "BOOL"),
        ),
    )
}  # fmt: skip

# Settings of how tokens are sampled, in the order of tables.
SAMPLING: Final = ("temperature", "top_k", "top_p", "min_p", "seed")


def markdown_table() -> str:
    """The fields of requests files as documentation shows them."""
    lines = ["| field | type | meaning | default |", "|---|---|---|---|"]
    for field in FIELDS.values():
        if field.served:
            continue
        kinds = ", ".join(f"`{choice}`" for choice in field.choices if choice != names.AUTO) or field.kinds
        lines.append(f"| `{field.name}` | {kinds} | {field.meaning.format(null='null')} | {field.default or 'none'} |")
    return "\n".join(lines)
