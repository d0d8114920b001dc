# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's tokenizer as transformers opens it: ``tokenizer.json`` with the additions of the files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nld_trt.errors import InputError, shortened
from nld_trt.files import inside, read_json
from nld_trt.files.json_text import is_unicode
from nld_trt.model.text.files import SETTINGS_FILE, SPECIAL_TOKENS_FILE, TOKENIZER_FILE, read_text

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

# Named tokens that templates may use.
STANDARD_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Properties that an added token can have. The library prints any other name to stdout.
_PROPERTIES = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), bool) | {"content": str}
_DECODER = "added_tokens_decoder"
_EXTRA = "extra_special_tokens"


@dataclass(frozen=True)
class TextFiles:
    """An opened tokenizer and the settings beside it.

    Attributes:
        settings: the content of ``tokenizer_config.json``; empty if there is none.
        special: text of named tokens, such as ``bos_token``, by name. They are variables of templates.
    """

    tokenizer: Tokenizer
    settings: Mapping[str, Any]
    special: Mapping[str, str]


def open_tokenizer(folder: Path) -> TextFiles | None:
    """Open the tokenizer of an engine or checkpoint folder. Returns None if it has no ``tokenizer.json``.

    Truncation and padding in the file are switched off: they are settings of the training run that wrote it.

    Raises:
        InputError: a file cannot be read, or a token is not a text; the message names it.
    """
    from tokenizers import Tokenizer

    path = inside(folder, TOKENIZER_FILE)
    if not path.is_file():
        return None
    text = read_text(path)
    settings = _read_settings(folder)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise InputError(
            f"the tokenizer in {path} cannot be read: {error}", fix="Copy the file of the release again."
        ) from error
    special = _special_tokens(settings)
    added = [*_declared_tokens(settings), *_missing(tokenizer, settings, special)]
    if added:
        tokenizer.add_tokens(added)
    if tokenizer.padding is not None:
        special.setdefault("pad_token", tokenizer.padding["pad_token"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = settings.get("split_special_tokens") is True
    return TextFiles(tokenizer, settings, special)


def tokens_beyond(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Returns a line for every token without a row in an embedding of ``vocab_size`` rows."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= vocab_size)
    known = {number for number, _ in beyond}
    # A post-processor adds ids that need not be in the vocabulary.
    framed = sorted({number for number in tokenizer.encode("").ids if number >= vocab_size} - known)
    return [
        *(f"{shortened(repr(token))} has the id {number}" for number, token in beyond),
        *(f"the post-processor adds the id {number}" for number in framed),
    ]


def _read_settings(folder: Path) -> dict[str, Any]:
    """Read ``tokenizer_config.json``, and merge the older ``special_tokens_map.json`` where transformers does."""
    settings = _read_optional(folder, SETTINGS_FILE)
    return settings if _DECODER in settings else {**settings, **_read_optional(folder, SPECIAL_TOKENS_FILE)}


def _read_optional(folder: Path, name: str) -> dict[str, Any]:
    path = inside(folder, name)
    return read_json(path) if path.is_file() else {}


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    extra = settings.get(_EXTRA)
    for name, value in {**settings, **(extra if isinstance(extra, dict) else {})}.items():
        if value is None or not (name.endswith("_token") or (isinstance(extra, dict) and name in extra)):
            continue
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str) and is_unicode(content):
            found[name] = content
        elif name in STANDARD_TOKENS:
            raise InputError(
                f"{name} in {SETTINGS_FILE} is {shortened(repr(value))}, which is not a text",
                fix='Write the token itself, such as "</s>".',
            )
    # Tokens that the tokenizer lacks are added in this order, which decides their ids.
    return {name: found[name] for name in (*STANDARD_TOKENS, *found) if name in found}


def _declared_tokens(settings: Mapping[str, Any]) -> Iterator[AddedToken]:
    """Yield the tokens of ``added_tokens_decoder`` in the order of their ids. Properties are used, ids are not."""
    declared = settings.get(_DECODER) or {}
    named = {value for name, value in _special_tokens(settings).items() if name in STANDARD_TOKENS}
    if not isinstance(declared, dict) or not all(key.isdecimal() for key in declared):
        raise InputError(f"{_DECODER} in {SETTINGS_FILE} is not an object of tokens by id")
    for key in sorted(declared, key=int):
        token = _added(f"token {key} in {_DECODER}", declared[key])
        token.special = token.special or token.content in named
        yield token


def _missing(tokenizer: Tokenizer, settings: Mapping[str, Any], special: Mapping[str, str]) -> list[AddedToken]:
    """Find special tokens that the settings name and neither the tokenizer nor ``added_tokens_decoder`` has."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    known |= {token.content for token in _declared_tokens(settings)}
    extra = settings.get(_EXTRA) or settings.get("additional_special_tokens") or ()
    wanted: Iterable[Any] = [
        *(settings.get(name, content) for name, content in special.items()),
        *(extra if isinstance(extra, list) else ()),
    ]
    missing: dict[str, AddedToken] = {}
    for value in wanted:
        token = _added("a special token", value, special=True)
        if token.content not in known:
            missing.setdefault(token.content, token)
    return list(missing.values())


def _added(what: str, value: Any, **properties: bool) -> AddedToken:
    from tokenizers import AddedToken

    fields = {"content": value} if isinstance(value, str) else value
    known = {name: kind for name, kind in _PROPERTIES.items() if isinstance(fields, dict) and name in fields}
    is_token = "content" in known and all(isinstance(fields[name], kind) for name, kind in known.items())
    if not is_token or not is_unicode(fields["content"]):
        raise InputError(f"{what} of {SETTINGS_FILE} is {shortened(repr(value))}, which is not a token")
    given: dict[str, Any] = {**{name: fields[name] for name in known}, **properties}
    return AddedToken(**given)
