# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of the families that see the whole canvas, made of layers of transformers, and their procedure
written down plainly: what their engines are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nld_trt.model.family import FAMILIES
from nld_trt.model.names import canonical, release_name
from nld_trt.model.network import Cache, Network
from nld_trt.model.release_config import release_config
from nld_trt.model.releases import Geometry

VOCABULARY = 256
EOS, MASK = VOCABULARY - 2, VOCABULARY - 1
# The class of transformers whose layers a family has, its sizes, and settings of the class.
CANVAS = {
    "llada": ("Llama", Geometry(64, 96, 2, 5e5, 4, 4, 16, VOCABULARY, "llada"), {"rms_norm_eps": 1e-5}),
    "dream": ("Qwen2", Geometry(64, 96, 2, 1e6, 4, 2, 16, VOCABULARY, "dream"), {"rms_norm_eps": 1e-6}),
}


def make_canvas_model(name: str, folder: Path, *, seed: int = 0) -> Any:
    """Write a random model of :data:`CANVAS` in the spelling of its releases, and return that of transformers.

    Its weights are large enough that the places of tokens matter, and its norms are not all one.
    """
    import transformers

    kind, sizes, settings = CANVAS[name]
    rope = {"rope_type": "default", "rope_theta": sizes.rope_theta}
    shared = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    config = getattr(transformers, f"{kind}Config")(
        **{key: getattr(sizes, key) for key in shared}, vocab_size=VOCABULARY, rope_parameters=rope, **settings
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval().float()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in parameter_name else 0.0, 0.15)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(release_config(sizes)), encoding="utf-8")
    family = FAMILIES[name]
    tensors = {release_name(canonical(key), family): value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors")
    return model


@torch.no_grad()
def canvas_logits(model: Any, canvas: Sequence[int], *, shifted: bool) -> torch.Tensor:
    """[L, V] float32 logits of every place of ``canvas``, of which every token sees every other."""
    ids = torch.tensor([canvas])
    everything = torch.zeros(1, 1, len(canvas), len(canvas))
    logits = model(ids, attention_mask=everything).logits[0]
    return torch.cat([logits[:1], logits[:-1]]) if shifted else logits


class CachedLogits:
    """Logits by Fast-dLLM's prefix cache, from the network in PyTorch: after the first pass of a block, keys and values
    of what is before it stay those of that pass."""

    def __init__(self, network: Network, *, shifted: bool) -> None:
        self._network = network
        self._shift = int(shifted)
        self._cache: Cache | None = None

    @torch.no_grad()
    def __call__(self, canvas: Sequence[int], first: int, passes: int) -> torch.Tensor:
        """[L, V]; what is before ``first`` is zero."""
        start = first - self._shift
        new = torch.tensor([canvas])
        if passes == 0:
            logits, cache = self._network.run(new, causal=False)
            self._cache = cache.cropped(start)
            logits = logits[:, start:]
        else:
            logits, _ = self._network.run(new[:, start:], causal=False, cache=self._cache)
        wanted = logits[0, : len(canvas) - first]
        return torch.cat([torch.zeros(first, wanted.shape[-1]), wanted])


@dataclass(frozen=True)
class Answer:
    """Tokens until EOS or the limit, and the passes of each block."""

    tokens: list[int]
    passes: list[int]


def denoise_canvas(
    logits_of: Callable[[Sequence[int], int, int], torch.Tensor],
    prompt: Sequence[int],
    *,
    tokens: int,
    block_length: int,
    threshold: float | None,
    steps: int | None = None,
    eos: Sequence[int] = (),
) -> Answer:
    """The procedure of LLaDA and Dream: blocks of masks from left to right, the most confident ones first.

    A block whose tokens before an EOS are all known is not filled any further.

    Args:
        logits_of: from the canvas, where the block begins, and the passes that it has had.
    """
    canvas = [*prompt, *[MASK] * tokens]
    passes = []
    for first in range(len(prompt), len(canvas), block_length):
        block = range(first, min(first + block_length, len(canvas)))
        taken = 0
        while True:
            scores = logits_of(canvas, first, taken)
            probabilities = scores.softmax(-1)
            scores = scores.clone()
            scores[:, MASK] = float("-inf")
            choice = scores.argmax(-1)
            open_places = [place for place in block if canvas[place] == MASK]
            by_confidence = sorted(open_places, key=lambda place: -float(probabilities[place, choice[place]]))
            quota = 1
            if steps is not None:
                quota = len(block) // steps + (1 if taken < len(block) % steps else 0)
            for rank, place in enumerate(by_confidence):
                confident = threshold is not None and probabilities[place, choice[place]] >= threshold
                if rank < quota or confident:
                    canvas[place] = int(choice[place])
            taken += 1
            known = [canvas[place] for place in block]
            end = next((index for index, token in enumerate(known) if token in eos), len(known))
            if MASK not in known[:end]:
                break
        passes.append(taken)
        if end < len(known):
            return Answer(canvas[len(prompt) : first + end + 1], passes)
    return Answer(canvas[len(prompt) :], passes)
