# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How large the inputs of one request may be, which is checked before anything is done with them.

Tokenizing, or rendering a conversation, takes time that grows with the text, while other requests wait to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nld_trt.engine.session import Array
from nld_trt.errors import InputError
from nld_trt.serving.triton.tensors import INPUTS

# Bytes of text for each token that the engine was built for. A token of prose or code has 3 to 5 bytes; JSON writes
# letters of other scripts with 6 bytes each.
_BYTES_PER_TOKEN: Final = 16
# Added to that, for descriptions of tools and the like of which a template may use only a part.
_BYTES_BESIDE: Final = 64 * 1024
# What a text takes in the message beside its bytes, so that a million empty ones are not free.
_FRAME: Final = 8


def text_limit(max_seq_len: int) -> int:
    """Returns the bytes that all texts of a request may have together."""
    return _BYTES_BESIDE + _BYTES_PER_TOKEN * max_seq_len


def check_sizes(tensors: Mapping[str, Array], max_seq_len: int) -> None:
    """Check the sizes of a request's inputs.

    Raises:
        InputError: there is more text, or there are more token ids, than an engine of ``max_seq_len`` tokens can use.
    """
    texts = {}
    for name, array in tensors.items():
        if INPUTS[name].dtype == "STRING":
            texts[name] = sum(len(text) + _FRAME for text in array.reshape(-1))
        elif array.size > max_seq_len:
            raise InputError(
                f"{name} has {array.size} values; the engine was built for {max_seq_len} tokens, answer included",
                fix="Shorten it, or rebuild the engine with a larger nld-trt build --max-seq-len.",
            )
    total, limit = sum(texts.values()), text_limit(max_seq_len)
    if total > limit:
        largest = max(texts, key=lambda name: texts[name])
        raise InputError(
            f"{largest} has {texts[largest]} bytes and all texts of the request have {total}; the engine was built for "
            f"{max_seq_len} tokens, and {limit} bytes are read",
            fix="Shorten it, send token ids (input_ids), or rebuild the engine with a larger --max-seq-len.",
        )
