# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration documents: token ids from a file of chats, a plain text, or a set that ships with nld-trt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, check_plain, parse_json
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import Conversation
from nld_trt.model.text.files import TEMPLATE_FILE, TOKENIZER_FILE
from nld_trt.model.text.prompt import parse_prompt
from nld_trt.resources import data_folder

DEFAULT_SET = names.DEFAULT_CALIBRATION_SET
ANSWER_KEYS = ("answer", "response")

_LINE_FORMS = 'A line is {"prompt": ..., "answer": ...}, {"messages": [...]} or {"text": ...}.'


@dataclass(frozen=True)
class Document:
    """One calibration text.

    Attributes:
        ids: token ids, without padding.
        answer_start: index of the first token that the model would have generated, where blocks may begin.
            At least 1, because a block needs a token before it; 1 for plain text.
    """

    ids: tuple[int, ...]
    answer_start: int

    @property
    def holds_block(self) -> bool:
        """Whether the answer has a token with which a block could begin."""
        return 1 <= self.answer_start < len(self.ids)

    def cut(self, length: int) -> Document:
        """Returns the first ``length`` tokens, which may end before the answer begins."""
        return replace(self, ids=self.ids[:length])


# A document that is tokenized when it is chosen: a file may have many more documents than are needed.
_Candidate = Callable[[], Document]
_Check = Callable[[Mapping[str, Any]], None]
_Reader = Callable[[Mapping[str, Any], Codec, int], Document]


def shipped_sets() -> dict[str, Path]:
    """List the calibration sets that come with nld-trt, by name: ``quantize/calibration/NAME.jsonl``."""
    return {path.stem: path for path in sorted((data_folder("quantize") / "calibration").glob("*.jsonl"))}


def read_documents(
    source: str, codec: Codec | None, *, eos_token_id: int, size: int, seq_len: int, seed: int
) -> list[Document]:
    """Read at most ``size`` documents of at most ``seq_len`` tokens, in an order that ``seed`` decides.

    All are used where there are fewer. Documents that have no place for a block after they are cut are skipped.

    Args:
        source: name of a shipped set, or path of a ``.jsonl`` or ``.txt`` file. A line of a ``.jsonl`` file
            has ``prompt`` and ``answer`` (or ``response``), with ``system``, ``raw`` or ``tools`` as in a request file;
            ``messages`` that end with the assistant's, with ``tools`` likewise; or ``text``. Plain text is cut into
            documents.
        eos_token_id: the token after every answer, with which the model ends one.

    Raises:
        InputError: there is no such file or set, any line has another form, no document is long enough, or the
            checkpoint has no tokenizer.
    """
    if codec is None:
        raise InputError(
            "calibration needs a tokenizer, and the checkpoint has none",
            details=[f"needed beside the weights: {TOKENIZER_FILE}, and {TEMPLATE_FILE} for prompts and messages"],
            fix="Fetch these files from where the weights came from and convert the checkpoint again.",
        )
    if size < 1 or seq_len < 2:
        raise InputError(
            f"{size} calibration documents of {seq_len} tokens were asked for",
            fix="Pass at least 1 as --calib-size and at least 2 as --calib-seq-len.",
        )
    path = _locate(source)
    candidates = _FORMATS[path.suffix](path, codec, eos_token_id, seq_len)
    chosen: list[Document] = []
    for index in np.random.default_rng(seed).permutation(len(candidates)):
        document = candidates[index]().cut(seq_len)
        if document.holds_block:
            chosen.append(document)
        if len(chosen) == size:
            break
    if not chosen:
        raise InputError(
            f"none of the {len(candidates)} documents in {path} has a place for a block within {seq_len} tokens",
            details=["a block begins at a token of an answer, or at the second token or later of a plain text"],
            fix="Pass a larger --calib-seq-len, or longer texts.",
        )
    return chosen


def _locate(source: str) -> Path:
    """Find the file of a calibration set.

    Raises:
        InputError: ``source`` is neither a file of a supported kind nor the name of a shipped set.
    """
    path, sets = Path(source), shipped_sets()
    if source in sets:
        return sets[source]
    if path.is_file() and path.suffix in _FORMATS:
        return path
    if path.exists():
        what = "a folder" if path.is_dir() else "not a file of a supported kind"
        raise InputError(
            f"the calibration data {source} is {what}", fix=f"Pass a file whose name ends with {' or '.join(_FORMATS)}."
        )
    raise InputError(
        f"no calibration set or file is called {source!r}",
        details=[f"sets: {', '.join(sets) or 'none'}", f"files end with {' or '.join(_FORMATS)}"],
        fix=f"Pass --calib-dataset {DEFAULT_SET}, or the path of your own file.",
    )


def _text_candidates(path: Path, codec: Codec, eos_token_id: int, seq_len: int) -> Sequence[_Candidate]:
    """Cut a plain text into consecutive documents of ``seq_len`` tokens; the last may be shorter."""
    text = _read(path)
    ids = codec.encode(text) if text.strip() else ()
    if not ids:
        raise InputError(f"the calibration data {path} is empty")
    return [partial(Document, ids[first : first + seq_len], 1) for first in range(0, len(ids), seq_len)]


def _line_candidates(path: Path, codec: Codec, eos_token_id: int, seq_len: int) -> Sequence[_Candidate]:
    """Read one document from each line that is not blank. Forms of all lines are checked; nothing is tokenized yet."""
    candidates: list[_Candidate] = []
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
            if not isinstance(values, dict):
                raise InputError(f"it is a JSON {type(values).__name__}, not an object", fix=_LINE_FORMS)
            key = next((key for key in _FORMS if key in values), None)
            if key is None:
                found = f"it has {', '.join(shortened(repr(name)) for name in values) or 'nothing'}"
                raise InputError(f"{found}, and none of {', '.join(_FORMS)}", fix=_LINE_FORMS)
            check, read = _FORMS[key]
            check(values)
        except InputError as error:
            raise _bad_line(path, number, error) from error
        candidates.append(partial(_read_line, path, number, read, values, codec, eos_token_id))
    if not candidates:
        raise InputError(f"the calibration data {path} is empty", fix=_LINE_FORMS)
    return candidates


def _read_line(
    path: Path, number: int, read: _Reader, values: Mapping[str, Any], codec: Codec, eos_token_id: int
) -> Document:
    try:
        return read(values, codec, eos_token_id)
    except InputError as error:
        # The advice of the codec is meant for `generate`.
        fix = (
            '"raw": true beside a prompt leaves out the chat template and the system message; {"text": ...} has none; '
            "--chat-template NAME|FILE takes another template."
        )
        raise InputError(_bad_line(path, number, error).what, fix=fix if error.fix else None) from error


def _check_text(values: Mapping[str, Any]) -> None:
    _text_of(values, "text")


def _check_exchange(values: Mapping[str, Any]) -> None:
    _text_of(values, "prompt")
    given = [key for key in ANSWER_KEYS if key in values]
    if len(given) != 1:
        raise InputError(f"it has a prompt and {'both' if given else 'neither'} of {' and '.join(ANSWER_KEYS)}")
    _text_of(values, given[0])
    for name, kind in (("system", str), ("raw", bool)):
        if not isinstance(values.get(name), kind | None):
            raise InputError(f"{name} is {shortened(repr(values[name]))}, which has the wrong type")


def _check_conversation(values: Mapping[str, Any]) -> None:
    messages = values["messages"]
    if not isinstance(messages, list) or len(messages) < 2 or not all(isinstance(turn, dict) for turn in messages):
        raise InputError('messages must be a list of at least two objects with "role" and "content"')
    for turn in messages:
        _text_of(turn, "role")
        silent = turn.get("content") == "" or (turn.get("content") is None and turn.get("tool_calls"))
        if turn is messages[-1] or not silent:
            _text_of(turn, "content")
    Conversation.parse(values)
    if messages[-1]["role"] != "assistant":
        last = shortened(repr(messages[-1]["role"]))
        raise InputError(f"the last message is from {last}; it must be the assistant's answer")


def _text_of(values: Mapping[str, Any], key: str) -> str:
    """Returns the text of ``key``. Raises InputError if it is missing, not a text, blank or not Unicode."""
    value = values.get(key)
    if not isinstance(value, str):
        raise InputError(
            f"{key} is {shortened(repr(value))}, which is not a text" if key in values else f"it has no {key}"
        )
    if not value.strip():
        raise InputError(f"{key} is empty")
    check_plain(key, value)
    return value


def _read_text(values: Mapping[str, Any], codec: Codec, eos_token_id: int) -> Document:
    ids = codec.encode(values["text"])
    if len(ids) <= len(codec.encode("")):
        raise InputError("text gives no tokens")
    return Document(ids, 1)


def _read_exchange(values: Mapping[str, Any], codec: Codec, eos_token_id: int) -> Document:
    prompt = parse_prompt(values, codec)
    return _answered(prompt, next(values[key] for key in ANSWER_KEYS if key in values), codec, eos_token_id)


def _read_conversation(values: Mapping[str, Any], codec: Codec, eos_token_id: int) -> Document:
    *before, last = values["messages"]
    prompt = codec.encode_conversation(Conversation.parse({**values, "messages": before}))
    return _answered(prompt, last["content"], codec, eos_token_id)


def _answered(prompt: tuple[int, ...], answer: str, codec: Codec, eos_token_id: int) -> Document:
    ids = codec.encode_part(answer)
    if not prompt or not ids:
        raise InputError(f"the {'answer' if prompt else 'prompt'} gives no tokens")
    return Document((*prompt, *ids, eos_token_id), len(prompt))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the calibration data {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the calibration data {path} is not UTF-8 text: {error}") from error


def _bad_line(path: Path, number: int, error: InputError) -> InputError:
    what = f"line {number} of {path} cannot be used"
    if isinstance(error, JsonError):
        return InputError(f"{what}: it {error.what}", fix="Write one JSON object per line.")
    return InputError(f"{what}: {error.what}", details=error.details, fix=error.fix)


# The forms of a line by the key that identifies them, each with its check and its reader. The first key that a line has
# decides: a data set with both messages and a rendered text has markers of another template in the text.
_FORMS: dict[str, tuple[_Check, _Reader]] = {
    "messages": (_check_conversation, _read_conversation),
    "prompt": (_check_exchange, _read_exchange),
    "text": (_check_text, _read_text),
}

# The suffixes of calibration files, each with the function that finds the documents in a file.
_FORMATS: dict[str, Callable[[Path, Codec, int, int], Sequence[_Candidate]]] = {
    ".jsonl": _line_candidates,
    ".txt": _text_candidates,
}
