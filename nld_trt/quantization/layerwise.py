# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantizes the network one layer at a time: loads a layer, calibrates it on the outputs of the layers before it, packs
and releases it.

Activations are passed on in float32 and unquantized, as when ModelOpt calibrates a whole network, so the results are
the same, and only one layer and the hidden states of the calibration packs are in memory.

Shapes: S tokens of a pack, H hidden.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    HEAD_MODULE,
    biased_parts,
    layer_bias,
    layer_parts,
    layer_tensor,
)
from nld_trt.model.network import Layer, LayerCache, RMSNorm, position_terms
from nld_trt.model.safetensors_file import Array
from nld_trt.progress import Stage
from nld_trt.quantization.calibration import Pack
from nld_trt.quantization.modelopt import quietly
from nld_trt.quantization.packing import pack, to_numpy, to_torch
from nld_trt.quantization.plan import Plan
from nld_trt.quantization.smoothing import fold_into_norm, input_scale, share_scales

Tensors = dict[str, Array]


@dataclass(frozen=True)
class Phase:
    """One calibration by ModelOpt.

    Attributes:
        method: ModelOpt's name of the calibration method.
        options: names of the recipe's algorithm options that the method takes.
        extra: options that are always set.
        costs: approximate costs of its passes over the data, for showing progress.
        most_packs: number of packs that it uses, spread evenly over all; None for all.
    """

    method: str
    options: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    costs: tuple[int, ...] = (1,)
    most_packs: int | None = None

    def chosen(self, packs: int) -> list[int]:
        """Returns the indexes of the packs that this phase uses, of ``packs`` in total."""
        most = packs if self.most_packs is None else min(self.most_packs, packs)
        return [index * packs // most for index in range(most)]

    def work(self, packs: int) -> int:
        """Returns the cost of all passes over ``packs`` packs."""
        return sum(self.costs) * len(self.chosen(packs))


# awq_lite runs the data twice: for statistics, and with every scale that it tries. Its debug option keeps the results
# of the search on the layers, which layers that share a scale need.
_SCALES = Phase("awq_lite", ("alpha_step",), {"debug": True}, (1, 12))
# awq_clip uses 64 tokens of each pack and is slow; 24 packs are three times the tokens that AWQ's authors search with.
_CLIPS = Phase(
    "awq_clip", ("min_clip_ratio", "shrink_step", "max_tokens_per_batch", "max_co_batch_size"), {}, (20,), 24
)

# The phases of each method of a recipe, in order. Scales are shared after the first phase, which would undo clipping
# that was done before.
PHASES: Mapping[str, tuple[Phase, ...]] = {
    "max": (Phase("max"),),
    "awq_lite": (_SCALES,),
    "awq_clip": (_CLIPS,),
    "awq_full": (_SCALES, _CLIPS),
}


class LayerwiseQuantizer:
    """Quantizes the parts of one checkpoint in order: its layers, then the final norm with the head.

    Attributes:
        parts: the number of parts.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, packs: Sequence[Pack], device: torch.device) -> None:
        """Prepare the quantization. ``packs`` may be empty when the plan reads no activations."""
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.plan = plan
        self.packs = packs
        self.device = device
        self.parts = self.config.num_hidden_layers + 1
        inverse = rotary.inverse_frequencies(self.config.rope, self.config.head_dim)
        self._inverse_frequencies = torch.from_numpy(inverse).float().to(device)

    def embed(self) -> list[Tensor]:
        """Compute the input of the first layer: float32 [S, H] for each pack."""
        table = to_torch(self.checkpoint.read(EMBEDDING))
        return [table[torch.from_numpy(pack.tokens)].float() for pack in self.packs]

    def run(self, part: int, hidden: list[Tensor], stage: Stage) -> tuple[Tensors, list[Tensor]]:
        """Quantize one part.

        Args:
            hidden: the hidden states that are its input.
            stage: is told how much of the part is done, which is 1 in all.

        Returns:
            Its tensors by full name, and the hidden states that are its output.
        """
        if part == self.config.num_hidden_layers:
            return self._head(hidden, stage), []
        return self._layer(part, hidden, stage)

    def _layer(self, index: int, hidden: list[Tensor], stage: Stage) -> tuple[Tensors, list[Tensor]]:
        prefix = f"encoder.layers.{index}"
        names = {part: layer_tensor(index, part) for part in layer_parts(self.config)}
        biases = {part: layer_bias(index, part) for part in biased_parts(self.config)}
        stored = {part: to_torch(self.checkpoint.read(name)) for part, name in names.items()}
        dtypes = {part: tensor.dtype for part, tensor in stored.items()}
        with torch.device("meta"):
            layer = Layer(self.config)
        state = {f"{part}.weight": stored.pop(part).float() for part in names}
        state |= {f"{part}.bias": to_torch(self.checkpoint.read(name)).float() for part, name in biases.items()}
        layer.load_state_dict(state, assign=True)
        if self.checkpoint.adapter is not None and hidden:
            lora_a, lora_b = self.checkpoint.read_adapter(index)
            layer.self_attn.attach(torch.from_numpy(lora_a), torch.from_numpy(lora_b), self.checkpoint.adapter.scale)
        layer = layer.eval().requires_grad_(False).to(self.device)
        outputs = list(hidden)

        def forward(data: int) -> None:
            outputs[data] = self._forward(layer, self.packs[data], hidden[data])

        def share() -> None:
            share_scales(layer, self.config, dtypes["input_layernorm"])

        self._calibrate(prefix, layer, forward, share, stage)
        tensors: Tensors = {}
        for part, name in names.items():
            module = layer.get_submodule(part)
            tensors |= self._finished(name.removesuffix(".weight"), module, dtypes[part])
        # Scales of the input change the weight and not what is added to its product.
        tensors |= {name: self.checkpoint.read(name) for name in biases.values()}
        return tensors, outputs

    def _head(self, hidden: list[Tensor], stage: Stage) -> Tensors:
        stored = to_torch(self.checkpoint.read(FINAL_NORM))
        norm = RMSNorm(self.config.hidden_size, self.config.rms_norm_eps)
        norm.weight = nn.Parameter(stored.float(), requires_grad=False)
        norm_name = FINAL_NORM.removesuffix(".weight")
        if HEAD_MODULE not in self.plan.formats:
            stage.advance(1.0)
            return self._finished(norm_name, norm, stored.dtype)
        weight = to_torch(self.checkpoint.read(HEAD))
        with torch.device("meta"):
            head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        head.weight = nn.Parameter(weight.float(), requires_grad=False)
        head, norm = head.to(self.device), norm.to(self.device)

        def forward(data: int) -> None:
            head(norm(hidden[data].to(self.device)))

        def share() -> None:
            if input_scale(head) is not None:
                fold_into_norm(norm, [head], stored.dtype)

        self._calibrate(HEAD_MODULE, head, forward, share, stage)
        return {
            **self._finished(norm_name, norm, stored.dtype),
            **self._finished(HEAD_MODULE, head, weight.dtype),
        }

    def _calibrate(
        self,
        prefix: str,
        module: nn.Module,
        forward: Callable[[int], None],
        share: Callable[[], None],
        stage: Stage,
    ) -> None:
        """Let ModelOpt quantize ``module`` under its full name. ``share`` is called after the first phase."""
        import modelopt.torch.quantization as mtq

        algorithm = self.plan.recipe.algorithm
        phases = PHASES[algorithm["method"]] if self.plan.touches(prefix) else ()
        total = sum(phase.work(len(self.packs)) for phase in phases)
        with torch.no_grad(), quietly():
            root = _framed(prefix, module)
            for number, phase in enumerate(phases):
                loop = self._loop(phase, forward, total, stage) if self.packs else None
                settings = {name: algorithm[name] for name in phase.options if name in algorithm}
                settings |= {"method": phase.method, **phase.extra}
                if number == 0:
                    entries = copy.deepcopy(self.plan.config["quant_cfg"])
                    mtq.quantize(root, {"quant_cfg": entries, "algorithm": settings}, loop)
                    share()
                else:
                    mtq.calibrate(root, settings, loop)
            if not phases:
                # The parts after one that stays in high precision need its output.
                for data in range(len(self.packs)):
                    forward(data)
        if not total:
            stage.advance(1.0)

    def _loop(
        self, phase: Phase, forward: Callable[[int], None], total: int, stage: Stage
    ) -> Callable[[nn.Module], None]:
        """Make the function that ModelOpt calls for each of the phase's passes over the data.

        ``total`` is the cost of all phases of the part.
        """
        costs = iter(phase.costs)

        def loop(_: nn.Module) -> None:
            cost = next(costs, 0)
            for data in phase.chosen(len(self.packs)):
                forward(data)
                stage.advance(cost / total)

        return loop

    def _forward(self, layer: nn.Module, pack: Pack, hidden: Tensor) -> Tensor:
        positions = torch.from_numpy(pack.positions)[None].to(self.device)
        terms = position_terms(self.config, self._inverse_frequencies, positions, torch.float32)
        mask = torch.from_numpy(pack.mask())[None, None].to(self.device)
        gate = torch.from_numpy(pack.gate)[None, :, None].to(self.device) if pack.gate.any() else None
        out, _ = layer(hidden[None].to(self.device), *terms, mask, LayerCache(), gate)
        result: Tensor = out[0].cpu()
        return result

    def _finished(self, module: str, linear: nn.Module, dtype: torch.dtype) -> Tensors:
        """Returns the tensors of a module by full name: packed, or in the dtype in which they were stored."""
        found = self.plan.formats.get(module)
        weight: Any = linear.weight
        tensors = {"weight": to_numpy(weight.to(dtype))} if found is None else pack(linear, found)
        return {f"{module}.{name}": tensor for name, tensor in tensors.items()}


def _framed(path: str, module: nn.Module) -> nn.Module:
    """Make a tree in which ``module`` has the name ``path``, because recipes choose modules by name."""
    root = parent = nn.Module()
    *outer, last = path.split(".")
    for name in outer:
        child = nn.Module()
        parent.add_module(name, child)
        parent = child
    parent.add_module(last, module)
    return root
