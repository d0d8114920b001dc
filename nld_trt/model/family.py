# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The families of networks that can be deployed, as data: all that differs between them (docs/families.md).

Inside the package there is one spelling, that of Nemotron-Labs-Diffusion: tensors are called as in ``model.inventory``
and settings as in ``model.config``. A family says how its releases spell them, which parts its layers have beside those
that all have, and how it decodes. Everything else follows from this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.names import ModeName

# plain: frequencies θ^(-2i/D). yarn: interpolated ones, and a scale of queries that grows with their position.
Rotary = Literal["plain", "yarn"]
# What a token sees. causal: what is before it. block: also the rest of its block, but in a prompt only what is before
# it. blocks: the rest of its block in prompts too. canvas: prompt and answer whole, masks included.
Visibility = Literal["causal", "block", "blocks", "canvas"]
# The kind of pass whose keys and values stay in the cache.
Committing = Literal["causal", "bidirectional", "no"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: as manifests have it.
        title: as messages have it.
        releases: published names of checkpoints whose real shapes are known (``model.releases``).
        licence: of the weights, as far as it is published.
        model_types: values of ``model_type`` in ``config.json``.
        modes: decoding modes that the network was trained for, the first of them the default.
        sees: what a token of its bidirectional passes sees; ``causal`` where it has none.
        committed_by: the kind of pass whose keys and values stay in the cache; ``no`` where none do.
        shifted: the prediction of a mask stands one position before it, as those of causal passes do.
        has_mask: ``config.json`` names the token MASK.
        rotary: the form of its rotary embedding.
        q_k_norm: queries and keys are normed over head_dim before rotary.
        qkv_bias: the projections to queries, keys and values have biases.
        fixed: settings of ``config.json`` that have one supported value. A file may leave them out.
        defaults: settings that its ``config.json`` need not have, and their values then.
        may_lack: further settings that it need not have, and which follow from others (``model.spelling``) or are not
            needed.
        keys: its spelling of settings to ours, where they differ.
        tensors: its spelling of modules to ours, where tools do not use it for other families too; ``{layer}`` stands
            for the number of a layer.
        takes_head: an Eagle3 head may draft for it (``model.draft_head``).
        left_out: beginnings of the names, in our spelling, of tensors that are not converted, with what they are.
    """

    name: str
    title: str
    releases: tuple[str, ...]
    licence: str
    model_types: tuple[str, ...]
    modes: tuple[ModeName, ...]
    sees: Visibility = "causal"
    committed_by: Committing = "causal"
    shifted: bool = False
    has_mask: bool = False
    rotary: Rotary = "plain"
    q_k_norm: bool = False
    qkv_bias: bool = False
    takes_head: bool = False
    fixed: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    defaults: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    may_lack: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    tensors: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    left_out: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @property
    def reads_canvas(self) -> bool:
        """Whether every pass is over prompt and answer whole, so that no keys and values are kept."""
        return self.sees == "canvas"

    @property
    def aligns_blocks(self) -> bool:
        """Whether blocks stand at multiples of their length, the prompt's included, so that their length is fixed."""
        return self.sees == "blocks"

    @property
    def has_blocks(self) -> bool:
        """Whether one of its modes decodes several tokens in one pass."""
        return self.modes != (names.AR,)

    @property
    def default_mode(self) -> ModeName:
        """The mode of a request that names none."""
        return names.DEFAULT_MODE if names.DEFAULT_MODE in self.modes else self.modes[0]

    def with_head(self) -> Family:
        """This family as a network of it decodes that an Eagle3 head drafts for."""
        return replace(self, modes=(names.EAGLE3, *self.modes))

    def offered(self, mode: str) -> ModeName:
        """The mode that a request for ``mode`` is decoded in: ``auto`` is the default where there is nothing to choose.

        Raises:
            InputError: the family has no such mode.
        """
        if mode == names.AUTO and mode not in self.modes:
            return self.default_mode
        found = next((each for each in self.modes if each == mode), None)
        if found is None and mode == names.EAGLE3:
            raise InputError(
                f"mode is {mode!r}, and no Eagle3 head drafts in this engine; it decodes in {', '.join(self.modes)}",
                fix="Convert the checkpoint with nld-trt convert --draft HEAD_FOLDER, and build from that."
                if self.takes_head
                else f"Use mode {self.default_mode}.",
            )
        if found is None:
            raise InputError(
                f"mode is {mode!r}, which {self.title} was not trained for; it decodes in {', '.join(self.modes)}",
                fix=f"Use mode {self.default_mode}.",
            )
        return found

    def renamed(self, module: str) -> str:
        """Our name of the tensor or module that a release calls ``module``."""
        for theirs, ours in self.tensors.items():
            pattern = re.escape(theirs).replace(re.escape("{layer}"), r"(?P<layer>\d+)")
            if found := re.match(rf"{pattern}(?=\.|$)", module):
                return ours.format(**found.groupdict()) + module[found.end() :]
        return module

    def released(self, module: str) -> str | None:
        """The releases' name of what we call ``module``; None where they have the name that most models have."""
        for theirs, ours in self.tensors.items():
            pattern = re.escape(ours).replace(re.escape("{layer}"), r"(?P<layer>\d+)")
            if found := re.match(rf"{pattern}(?=\.|$)", module):
                return theirs.format(**found.groupdict()) + module[found.end() :]
        return None


NLD: Final = "nld"
NLD_VLM: Final = "nld-vlm"
QWEN3: Final = "qwen3"
MISTRAL: Final = "mistral"
SDAR: Final = "sdar"
LLADA: Final = "llada"
DREAM: Final = "dream"

_NLD_FIXED: Final = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "sliding_window": None,
    "dlm_paradigm": "bidirectional",
}
_AR_FIXED: Final = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
# A block of one token is what a causal network decodes.
_AR_DEFAULTS: Final = {"block_size": 1}
# What releases of SDAR need not state, because their users name it: those that do not say otherwise have these.
_SDAR_DEFAULTS: Final = {"block_size": 4, "mask_token_id": 151669}
# Settings of LLaDA's configuration that would change the network, in its spelling where ours has no such setting.
_LLADA_FIXED: Final = {
    "hidden_act": "silu",
    "block_type": "llama",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
}
_LLADA_KEYS: Final = {
    "activation_type": "hidden_act",
    "d_model": "hidden_size",
    "mlp_hidden_size": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_sequence_length": "max_position_embeddings",
    "weight_tying": "tie_word_embeddings",
}
_LLADA_LAYER: Final = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_LLADA_TENSORS: Final = {
    "transformer.wte": "encoder.embed_tokens",
    **{
        f"transformer.blocks.{{layer}}.{theirs}": f"encoder.layers.{{layer}}.{ours}"
        for theirs, ours in _LLADA_LAYER.items()
    },
    "transformer.ln_f": "encoder.norm",
    "transformer.ff_out": "diffusion_head",
}
# Releases state no length of a block: their users take 32 tokens.
_CANVAS_DEFAULTS: Final = {"block_size": 32}
# What configurations of transformers may leave out.
_FOLLOWING: Final = ("head_dim", "num_key_value_heads", "bos_token_id")

FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family(
            NLD,
            "Nemotron-Labs-Diffusion",
            releases=("Nemotron-Labs-Diffusion-3B", "Nemotron-Labs-Diffusion-8B", "Nemotron-Labs-Diffusion-14B"),
            licence="NVIDIA Nemotron Open Model License",
            model_types=("nemotron_labs_diffusion",),
            modes=(*names.NLD_MODES, names.AUTO),
            sees="block",
            has_mask=True,
            rotary="yarn",
            fixed=_NLD_FIXED,
        ),
        Family(
            NLD_VLM,
            "Nemotron-Labs-Diffusion-VLM",
            releases=("Nemotron-Labs-Diffusion-VLM-8B",),
            licence="NVIDIA Source Code License",
            model_types=("nemotron_labs_diffusion_vlm",),
            modes=(*names.NLD_MODES, names.AUTO),
            sees="block",
            has_mask=True,
            rotary="yarn",
            fixed=_NLD_FIXED,
            left_out={
                "encoder.vision_tower.": "the vision tower",
                "encoder.multi_modal_projector.": "the projector of image features",
            },
        ),
        Family(
            QWEN3,
            "Qwen3",
            releases=("Qwen3-4B", "Qwen3-8B"),
            licence="Apache-2.0",
            model_types=("qwen3",),
            modes=(names.AR,),
            q_k_norm=True,
            takes_head=True,
            fixed=_AR_FIXED | {"use_sliding_window": False},
            defaults=_AR_DEFAULTS,
            may_lack=_FOLLOWING,
        ),
        Family(
            MISTRAL,
            "Mistral",
            releases=("Ministral-8B-Instruct-2410",),
            licence="Mistral Research License",
            # transformers has the second since it knows which layers of this release have a window.
            model_types=("mistral", "ministral"),
            modes=(names.AR,),
            fixed=_AR_FIXED,
            defaults=_AR_DEFAULTS,
            may_lack=_FOLLOWING,
        ),
        Family(
            SDAR,
            "SDAR",
            releases=("SDAR-8B-Chat", "TraDo-8B"),
            licence="Apache-2.0",
            model_types=("sdar",),
            modes=(names.DIFFUSION,),
            sees="blocks",
            committed_by="bidirectional",
            has_mask=True,
            q_k_norm=True,
            fixed=_AR_FIXED | {"use_sliding_window": False},
            defaults=_SDAR_DEFAULTS,
            may_lack=_FOLLOWING,
        ),
        Family(
            LLADA,
            "LLaDA",
            releases=("LLaDA-8B-Instruct",),
            licence="MIT",
            model_types=("llada",),
            modes=(names.DIFFUSION,),
            sees="canvas",
            committed_by="no",
            has_mask=True,
            fixed=_LLADA_FIXED,
            defaults=_CANVAS_DEFAULTS,
            may_lack=_FOLLOWING,
            keys=_LLADA_KEYS,
            tensors=_LLADA_TENSORS,
        ),
        Family(
            DREAM,
            "Dream",
            releases=("Dream-v0-Instruct-7B",),
            licence="Apache-2.0",
            model_types=("Dream",),
            modes=(names.DIFFUSION,),
            sees="canvas",
            committed_by="no",
            shifted=True,
            has_mask=True,
            qkv_bias=True,
            fixed={"hidden_act": "silu", "use_sliding_window": False, "use_mrope": False},
            defaults=_CANVAS_DEFAULTS,
            may_lack=_FOLLOWING,
        ),
    )
}

_DELTA_NET: Final = (
    "three of four layers are gated delta-nets, whose recurrent state needs a cache of its own and, to verify drafts, "
    "a way back to an earlier state; neither exists here"
)
# Families that users compare with and that cannot be converted, with the reason.
_NOT_BUILT: Final[Mapping[str, str]] = {
    "qwen3_5": _DELTA_NET,
    "qwen3_5_text": _DELTA_NET,
    "qwen3_next": _DELTA_NET,
    "mixtral": "it is a mixture of experts, and layers here have one MLP",
}
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")


def known_types() -> str:
    """The model types that can be converted, for messages."""
    return ", ".join(f"{kind} ({family.title})" for family in FAMILIES.values() for kind in family.model_types)


def recognised(raw: Mapping[str, Any]) -> Family:
    """The family of a ``config.json``.

    Raises:
        InputError: it is of none of them, or says that its layers have experts.
    """
    kind = raw.get("model_type")
    experts = next((key for key in _EXPERTS if raw.get(key)), None)
    for family in FAMILIES.values():
        if kind in family.model_types and experts is None:
            return family
    reason = _NOT_BUILT.get(str(kind))
    if experts is not None or str(kind).endswith("_moe"):
        reason = _NOT_BUILT["mixtral"]
    raise InputError(
        f"model_type is {kind!r} in config.json, which is not supported" + (f": {reason}" if reason else ""),
        details=[f"supported: {known_types()}"],
        fix="Use the config.json that was released with the weights, of one of these.",
    )
