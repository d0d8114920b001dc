# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Train nld-tiny or a sibling of another family: a small model in the layout of its family's releases.

Stage 1 trains the network on the losses of its family (recipes.py): those of next tokens, of masked blocks, or both.
Stage 2, of nld-tiny alone, freezes it and trains only a low-rank branch on every o_proj, which raises the acceptance
length of fully masked drafts.

    python examples/nld-tiny/train.py --output examples/nld-tiny/checkpoint
    python examples/nld-tiny/train.py --family qwen3 --initial examples/nld-tiny --output qwen3-tiny
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from pathlib import Path

import batches
import tasks
import tokenizer as nld_tokenizer
import torch
import torch.nn.functional as F
from batches import IGNORE, Batch, Example
from recipes import GEOMETRY, RECIPES, Recipe, from_release
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from nld_trt.model.config import ModelConfig
from nld_trt.model.network import Network

LORA_RANK, LORA_ALPHA = 16, 64


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments.output.mkdir(parents=True, exist_ok=True)

    drawn = list(itertools.islice(tasks.samples(arguments.seed, held_out=False), arguments.examples))
    if arguments.initial is None:
        tokenizer = nld_tokenizer.train(
            text for _, prompt, answer in drawn for text in (f"system\nuser\n{prompt}", f"assistant\n{answer}")
        )
    else:
        tokenizer = Tokenizer.from_file(str(arguments.initial / "tokenizer.json"))
    nld_tokenizer.save(tokenizer, arguments.output)
    prompts = tokenizer.encode_batch([nld_tokenizer.chat_prompt(prompt) for _, prompt, _ in drawn])
    answers = tokenizer.encode_batch([answer for _, _, answer in drawn])
    examples = [Example(p.ids, [*a.ids, nld_tokenizer.EOS_ID]) for p, a in zip(prompts, answers, strict=True)]

    recipe = RECIPES[arguments.family]
    lengths = arguments.block_lengths or recipe.block_lengths
    config = recipe.config(max(lengths, default=1))
    network = initial_network(config, arguments.initial, examples[:64]).to(device)
    count = sum(parameter.numel() for parameter in network.parameters())
    mean_answer = sum(len(example.answer) for example in examples) / len(examples)
    print(f"{count / 1e6:.2f} M parameters, {len(examples)} examples, {mean_answer:.1f} answer tokens on average")

    train_network(network, recipe, lengths, examples, arguments, device)
    save_network(network, recipe, config, arguments.output)
    if recipe.has_adapter:
        train_drafter(network, max(lengths), examples, arguments, device)
        save_drafter(network, arguments.output / "linear_spec_lora")
    print(f"checkpoint: {arguments.output}")


def initial_network(config: dict[str, object], folder: Path | None, examples: list[Example]) -> Network:
    """Make a network with random weights, or with those of a checkpoint, whose training is continued.

    The checkpoint may be one of another family. Norms of queries and keys that it lacks are made for ``examples``.
    """
    network = Network(ModelConfig.from_hf(config))
    if folder is not None:
        tensors = from_release(load_file(folder / "model.safetensors"))
        found = network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
        lacking = [name for name in found.missing_keys if not name.endswith(("q_norm.weight", "k_norm.weight"))]
        if lacking or found.unexpected_keys:
            raise SystemExit(f"{folder} has other tensors: lacking {lacking}, more {found.unexpected_keys}")
        if found.missing_keys:
            fit_norms(network, examples)
        return network
    residual = (2 * GEOMETRY["num_hidden_layers"]) ** 0.5
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            depth = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
            torch.nn.init.normal_(parameter, std=0.05 / depth)
    return network


def fit_norms(network: Network, examples: list[Example]) -> None:
    """Give norms of queries and keys the mean length of what they norm: scores begin near those without norms."""

    def fit(norm: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        norm.weight.data.fill_(inputs[0].pow(2).mean(-1).sqrt().mean())

    attentions = [layer.self_attn for layer in network.encoder.layers]
    norms = [norm for attention in attentions for norm in (attention.q_norm, attention.k_norm)]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    batch = batches.make(examples, random.Random(0), kind=batches.NO_BLOCKS, block_lengths=(), full_mask=0.0)
    with torch.no_grad():
        network(batch.tokens, batch.positions, batch.mask)
    for hook in hooks:
        hook.remove()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=RECIPES, default="nld", help="family of the network")
    parser.add_argument(
        "--block-lengths",
        type=lambda text: tuple(map(int, text.split(","))),
        help="tokens of the blocks that are masked, such as 4,8: one of them for each row; the family's by default",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--initial", type=Path, help="checkpoint to start from, instead of random weights")
    parser.add_argument("--steps", type=int, default=1800, help="optimizer steps of stage 1")
    parser.add_argument("--lr-scale", type=float, default=1.0, help="factor on the learning rates of stage 1")
    parser.add_argument("--smoothing", type=float, default=0.0, help="label smoothing of the masked-block loss")
    parser.add_argument("--full-mask", type=float, default=0.5, help="probability that a block is masked entirely")
    parser.add_argument(
        "--level-weights",
        action="store_true",
        help="weight masked slots by 1 / (fraction of their block that is masked), so that every block counts the same",
    )
    parser.add_argument("--drafter-steps", type=int, default=300, help="optimizer steps of stage 2")
    parser.add_argument("--tokens-per-batch", type=int, default=3072, help="clean tokens in a batch")
    parser.add_argument("--examples", type=int, default=60000, help="number of training examples")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train_network(
    network: Network,
    recipe: Recipe,
    lengths: tuple[int, ...],
    examples: list[Example],
    arguments: argparse.Namespace,
    device: torch.device,
) -> None:
    """Run stage 1: the weighted losses of the recipe, with Muon on matrices and AdamW on the rest."""
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in network.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    optimizers = [
        torch.optim.Muon(matrices, lr=0.01 * arguments.lr_scale, momentum=0.95, weight_decay=0.01, ns_steps=4),
        torch.optim.AdamW(others, lr=2e-3 * arguments.lr_scale, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    loader = batches.Loader(examples, arguments.seed + 1, arguments.tokens_per_batch)

    def loss(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits, _ = network(batch.tokens, batch.positions, batch.mask)
        losses = {}
        if recipe.next_weight:
            causal = cross_entropy(logits[:, : batch.clean], batch.next_targets)
            losses["causal"] = causal.sum() / (batch.next_targets != IGNORE).sum()
        if recipe.masked_weight:
            per_slot = cross_entropy(logits[:, batch.clean :], batch.same_targets, arguments.smoothing)
            weights = (batch.same_targets != IGNORE).float().flatten()
            if arguments.level_weights:
                weights = weights / batch.levels.clamp(min=0.1).flatten()
            losses["masked"] = (per_slot * weights).sum() / weights.sum()
        factors = {"causal": recipe.next_weight, "masked": recipe.masked_weight}
        return sum((factors[name] * value for name, value in losses.items()), torch.zeros(())), losses

    def draw() -> list[Batch]:
        return [
            batches.make(rows, loader.rng, kind=recipe.blocks, block_lengths=lengths, full_mask=arguments.full_mask)
            for rows in loader.draw()
        ]

    optimise("network", optimizers, loss, draw, arguments.steps, device)


def train_drafter(
    network: Network, longest: int, examples: list[Example], arguments: argparse.Namespace, device: torch.device
) -> None:
    """Run stage 2: train only lora_A and lora_B, on wholly masked blocks of the longest length.

    The targets are the training answers, which the frozen network nearly always predicts. A slot after
    the first wrong one of its block cannot be accepted and gets a tenth of the weight.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(arguments.seed + 2)
    parameters = []
    for layer in network.encoder.layers:
        attention, projection = layer.self_attn, layer.self_attn.o_proj
        lora_a = torch.randn(LORA_RANK, projection.in_features, generator=generator) / projection.in_features**0.5
        attention.attach(
            lora_a.to(device), torch.zeros(projection.out_features, LORA_RANK, device=device), LORA_ALPHA / LORA_RANK
        )
        parameters += [attention.draft.lora_A, attention.draft.lora_B]
    optimizers = [torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    loader = batches.Loader(examples, arguments.seed + 3, arguments.tokens_per_batch)

    def loss(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits, _ = network(batch.tokens, batch.positions, batch.mask, gate=batch.gate)
        drafts = logits[:, batch.clean :].float()
        wanted = batch.same_targets
        with torch.no_grad():
            right = (drafts.argmax(-1) == wanted) | (wanted == IGNORE)
            live = live_slots(right, batch.slots)
            weight = torch.where(live, 1.0, 0.1) * (wanted != IGNORE)
            rounds = ((batch.slots == 0) & (batch.positions[:, batch.clean :] > 0)).sum()
            accepted = 1 + (live & right & (batch.slots > 0) & (wanted != IGNORE)).sum() / rounds
        per_slot = cross_entropy(drafts, wanted)
        value = (per_slot * weight.flatten()).sum() / weight.sum()
        return value, {"draft": value, "accepted": accepted}

    def draw() -> list[Batch]:
        return [batches.make(rows, loader.rng, block_lengths=(longest,), full_mask=1.0) for rows in loader.draw()]

    optimise("drafter", optimizers, loss, draw, arguments.drafter_steps, device)


def live_slots(right: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """Mark the slots up to and including the first wrong one of each block. Both arguments are [B, N]."""
    wrong_before = torch.zeros_like(right[:, 0], dtype=torch.long)
    live = torch.zeros_like(right)
    for column in range(right.shape[1]):
        wrong_before = torch.where(slots[:, column] == 0, 0, wrong_before)
        live[:, column] = wrong_before == 0
        wrong_before = wrong_before + (~right[:, column]).long()
    return live


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """The loss of every target, flattened; 0 where the target is IGNORE."""
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="none",
    )


def optimise(title: str, optimizers, loss, draw, steps: int, device: torch.device) -> None:
    """Run ``steps`` updates; learning rates warm up, hold, and fall to zero over the last 60 %."""
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[status]}"))  # fmt: skip
    started = time.perf_counter()
    smooth: dict[str, float] = {}
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=steps, status="")
        for step in range(steps):
            factor = min((step + 1) / 50, 1.0, (steps - step) / (0.6 * steps))
            for optimizer, rates in zip(optimizers, peaks, strict=True):
                for group, peak in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = peak * factor
            for micro_batch in draw():
                batch = Batch(**{name: tensor.to(device) for name, tensor in vars(micro_batch).items()})
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    value, figures = loss(batch)
                (value / batches.Loader.BANDS).backward()
                for name, figure in figures.items():
                    # A running mean over about 25 steps: single steps are too noisy to read.
                    smooth[name] = smooth.get(name, figure.item()) * 0.99 + figure.item() * 0.01
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            status = "  ".join(f"{name} {figure:.3f}" for name, figure in smooth.items())
            progress.update(task, advance=1, status=status)
            if (step + 1) % 100 == 0 or step + 1 == steps:
                progress.console.print(f"{title} step {step + 1}: {status}  {time.perf_counter() - started:.0f} s")


def save_network(network: Network, recipe: Recipe, config: dict[str, object], folder: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16).contiguous().cpu() for name, tensor in network.state_dict().items()}
    released = {recipe.tensor_name(name): tensor for name, tensor in tensors.items()}
    save_file(released, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "transformers_version": "5.0.0",
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    # The drafter must be trained on the weights that are shipped, so the network takes the rounded weights here.
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def save_drafter(network: Network, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    tensors = {}
    for index, layer in enumerate(network.encoder.layers):
        prefix = f"base_model.model.encoder.layers.{index}.self_attn.o_proj"
        tensors[f"{prefix}.lora_A.weight"] = layer.self_attn.draft.lora_A.detach().float().contiguous().cpu()
        tensors[f"{prefix}.lora_B.weight"] = layer.self_attn.draft.lora_B.detach().float().contiguous().cpu()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": LORA_RANK, "lora_alpha": LORA_ALPHA, "target_modules": ["o_proj"],
                "bias": "none", "inference_mode": True, "lora_dropout": 0.0, "fan_in_fan_out": False}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
