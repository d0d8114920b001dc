# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An Eagle3 head over a stock model of transformers, written plainly: whole sequences, no caches, no batches.

It follows the published description of EAGLE-3 and shares no code with the package. Engines are compared with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.stock_models import SIZES

HIDDEN, HEAD_DIM, KV_HEADS = SIZES["hidden_size"], SIZES["head_dim"], SIZES["num_key_value_heads"]
# The fewest layers of a target of which a head reads three different ones: 2, 3 and 4.
LAYERS = 7
DRAFT_VOCAB = 96
# Tokens of a periodic target that follow each other, and those that a trained head knows.
PERIOD = 8
KNOWN = range(8, 8 + DRAFT_VOCAB)
_IGNORED = -100


class Attention(nn.Module):
    def __init__(self, heads: int, theta: float) -> None:
        super().__init__()
        self.heads, self.theta = heads, theta
        self.q_proj = nn.Linear(2 * HIDDEN, heads * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(2 * HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(2 * HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(heads * HEAD_DIM, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-2]
        query = self.rotated(self.q_proj(x).unflatten(-1, (self.heads, HEAD_DIM)))
        key = self.rotated(self.k_proj(x).unflatten(-1, (KV_HEADS, HEAD_DIM)))
        value = self.v_proj(x).unflatten(-1, (KV_HEADS, HEAD_DIM))
        key, value = (each.repeat_interleave(self.heads // KV_HEADS, -2) for each in (key, value))
        scores = torch.einsum("...qhd,...khd->...hqk", query, key) * HEAD_DIM**-0.5
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
        return self.o_proj(torch.einsum("...hqk,...khd->...qhd", scores.softmax(-1), value).flatten(-2))

    def rotated(self, x: Tensor) -> Tensor:
        frequencies = self.theta ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angles = torch.arange(x.shape[-3])[:, None] * frequencies
        cos, sin = (torch.cat([each, each], -1)[:, None] for each in (angles.cos(), angles.sin()))
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(HIDDEN, width, bias=False)
        self.up_proj = nn.Linear(HIDDEN, width, bias=False)
        self.down_proj = nn.Linear(width, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class MidLayer(nn.Module):
    def __init__(self, heads: int, width: int, theta: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(HIDDEN, 1e-6)
        self.hidden_norm = nn.RMSNorm(HIDDEN, 1e-6)
        self.self_attn = Attention(heads, theta)
        self.post_attention_layernorm = nn.RMSNorm(HIDDEN, 1e-6)
        self.mlp = Mlp(width)

    def forward(self, embedded: Tensor, states: Tensor) -> Tensor:
        x = torch.cat([self.input_layernorm(embedded), self.hidden_norm(states)], -1)
        states = states + self.self_attn(x)
        return states + self.mlp(self.post_attention_layernorm(states))


class Head(nn.Module):
    """The head's layer and vocabulary. ``d2t`` is what the target's id of a token is more than the head's."""

    def __init__(self, target: Any, *, heads: int = 4, width: int = 160, theta: float = 1e4) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * HIDDEN, HIDDEN, bias=False)
        self.midlayer = MidLayer(heads, width, theta)
        self.norm = nn.RMSNorm(HIDDEN, 1e-6)
        self.lm_head = nn.Linear(HIDDEN, DRAFT_VOCAB, bias=False)
        # A list, so that the target is no module of the head.
        self.target = [target]
        self.register_buffer("d2t", torch.empty(DRAFT_VOCAB, dtype=torch.int64))
        self.register_buffer("t2d", torch.empty(target.config.vocab_size, dtype=torch.bool))
        self.know(torch.arange(DRAFT_VOCAB) * 4)
        self.settings = {"num_attention_heads": heads, "intermediate_size": width, "rope_theta": theta}

    def know(self, ids: Tensor) -> None:
        """Take the target's tokens ``ids``, ascending, as the vocabulary."""
        self.d2t.copy_(ids - torch.arange(DRAFT_VOCAB))
        self.t2d.zero_()[ids] = True

    def features(self, tokens: Tensor) -> Tensor:
        """What the target says of each token: [texts, tokens] to [texts, tokens, H]."""
        return self.fc(self.joined(tokens))

    def joined(self, tokens: Tensor) -> Tensor:
        """[texts, tokens, 3 H], the inputs of three of the target's layers."""
        (target,) = self.target
        states = target(tokens, output_hidden_states=True).hidden_states
        count = target.config.num_hidden_layers
        return torch.cat([states[layer] for layer in (2, count // 2, count - 3)], -1)

    def states(self, tokens: Tensor, features: Tensor) -> Tensor:
        """The states after the layer [texts, tokens, H]: of each token, with what is known before it."""
        (target,) = self.target
        return self.midlayer(target.get_input_embeddings()(tokens), features)

    def logits(self, states: Tensor) -> Tensor:
        return self.lm_head(self.norm(states))

    def draft(self, tokens: list[int], count: int) -> tuple[list[int], list[Tensor]]:
        """``count`` drafts after ``tokens``, whose last one the target has not read, and the logits of each."""
        features = self.features(torch.tensor([tokens[:-1]]))
        tokens, drafts, logits = list(tokens), [], []
        for _ in range(count):
            states = self.states(torch.tensor([tokens[1:]]), features)
            logits.append(self.logits(states[0, -1]))
            own = int(logits[-1].argmax())
            drafts.append(own + int(self.d2t[own]))
            tokens.append(drafts[-1])
            features = torch.cat([features, states[:, -1:]], 1)
        return drafts, logits


@dataclass
class Generated:
    """Tokens of a generation, and how many of each pass were accepted, the verifier's own included."""

    tokens: list[int]
    accepted: list[int]


@torch.no_grad()
def generate(target: Any, head: Head, prompt: list[int], *, block: int, max_new_tokens: int) -> Generated:
    """Greedy decoding by drafts of ``block`` - 1 tokens."""
    tokens = [*prompt, int(target(torch.tensor([prompt])).logits[0, -1].argmax())]
    accepted = []
    while len(tokens) - len(prompt) < max_new_tokens and tokens[-1] != SIZES["eos_token_id"]:
        drafts, _ = head.draft(tokens, block - 1)
        choice = target(torch.tensor([[*tokens, *drafts]])).logits[0, len(tokens) - 1 :].argmax(-1).tolist()
        same = 0
        while same < len(drafts) and drafts[same] == choice[same]:
            same += 1
        accepted.append(same + 1)
        for token in choice[: same + 1]:
            tokens.append(token)
            if token == SIZES["eos_token_id"] or len(tokens) - len(prompt) == max_new_tokens:
                break
    return Generated(tokens[len(prompt) :], accepted)


def random_head(target: Any, seed: int = 0) -> Head:
    """A head with weights that are large enough for the places of tokens to matter."""
    torch.manual_seed(seed)
    head = Head(target).eval()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.15)
    return head


def periodic(target: Any, folder: Path) -> Any:
    """Make ``target`` say tokens in circles of :data:`PERIOD`, mostly, and save it: a head can learn that."""
    tokens = torch.arange(SIZES["vocab_size"])
    following = tokens // PERIOD * PERIOD + (tokens + 1) % PERIOD
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                parameter.mul_(0.03)
        target.lm_head.weight[following] = target.get_input_embeddings().weight.clone()
    target.save_pretrained(folder)
    return target


def trained_head(target: Any, *, steps: int = 100) -> Head:
    """A head that knows the tokens :data:`KNOWN`, and has learnt what a periodic target says of them."""
    head = random_head(target)
    own = torch.arange(DRAFT_VOCAB) + KNOWN.start
    head.know(own)
    generator = torch.Generator().manual_seed(0)
    prompts = own[torch.randint(DRAFT_VOCAB, (DRAFT_VOCAB // PERIOD, 4), generator=generator)]
    prompts[:, -1] = own[::PERIOD]
    texts = prompts
    with torch.no_grad():
        for _ in range(28):
            texts = torch.cat([texts, target(texts).logits[:, -1:].argmax(-1)], 1)
        joined = head.joined(texts)
    known = torch.where(torch.isin(texts, own), texts - KNOWN.start, _IGNORED)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(steps):
        loss, states = 0.0, head.fc(joined)
        # Of each token the state of the one before it: the target's, and in a chain the head's own.
        for first in (1, 2):
            states = head.states(texts[:, first:], states[:, :-1])
            logits = head.logits(states[:, :-1]).flatten(0, 1)
            loss = loss + F.cross_entropy(logits, known[:, first + 1 :].flatten(), ignore_index=_IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


def save_head(head: Head, folder: Path, **changes: Any) -> Path:
    """Write a head as heads are released. ``changes`` are of its config.json."""
    folder.mkdir(parents=True)
    settings = {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "rms_norm_eps": 1e-6,
        "vocab_size": len(head.t2d),
        "draft_vocab_size": DRAFT_VOCAB,
        **head.settings,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / "model.safetensors")
    return folder
