# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Train nld-tiny from random weights: a small model that decodes in every mode, in the layout of the releases.

Stage 1 trains the network on next-token loss plus alpha times the masked-block loss (the model's
paper found alpha = 0.3 best for both objectives). Stage 2 freezes it and trains only a low-rank
branch on every o_proj, which raises the acceptance length of fully masked drafts.

    python examples/nld-tiny/train.py --output examples/nld-tiny/checkpoint
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import batches
import tasks
import tokenizer as nld_tokenizer
import torch
import torch.nn.functional as F
from batches import IGNORE, Batch, Example
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from nld_trt.model.config import ModelConfig
from nld_trt.model.network import Network

GEOMETRY = {
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
LORA_RANK, LORA_ALPHA = 16, 64
ALPHA = 0.3
BLOCK_LENGTHS = (8, 16, 32)


def release_config() -> dict[str, object]:
    """The ``config.json`` of the checkpoint, with the releases' keys."""
    return {
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": "nemotron_labs_diffusion",
        "vocab_size": nld_tokenizer.VOCAB_SIZE,
        **GEOMETRY,
        "hidden_act": "silu",
        "max_position_embeddings": 16384,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": nld_tokenizer.BOS_ID,
        "eos_token_id": nld_tokenizer.EOS_ID,
        "mask_token_id": nld_tokenizer.MASK_ID,
        "block_size": 32,
        "dlm_paradigm": "bidirectional",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 1024,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
        "transformers_version": "5.0.0",
    }


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

    network = initial_network(arguments.initial).to(device)
    count = sum(parameter.numel() for parameter in network.parameters())
    mean_answer = sum(len(example.answer) for example in examples) / len(examples)
    print(f"{count / 1e6:.2f} M parameters, {len(examples)} examples, {mean_answer:.1f} answer tokens on average")

    train_network(network, examples, arguments, device)
    save_network(network, release_config(), arguments.output)
    train_drafter(network, examples, arguments, device)
    save_drafter(network, arguments.output / "linear_spec_lora")
    print(f"checkpoint: {arguments.output}")


def initial_network(folder: Path | None) -> Network:
    """Make a network with random weights, or with those of a checkpoint whose training is continued."""
    network = Network(ModelConfig.from_hf(release_config()))
    if folder is not None:
        tensors = load_file(folder / "model.safetensors")
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return network
    residual = (2 * GEOMETRY["num_hidden_layers"]) ** 0.5
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            depth = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
            torch.nn.init.normal_(parameter, std=0.05 / depth)
    return network


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    network: Network, examples: list[Example], arguments: argparse.Namespace, device: torch.device
) -> None:
    """Run stage 1: next-token loss + ALPHA x masked-block loss, with Muon on matrices and AdamW on the rest."""
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in network.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    optimizers = [
        torch.optim.Muon(matrices, lr=0.01 * arguments.lr_scale, momentum=0.95, weight_decay=0.01, ns_steps=4),
        torch.optim.AdamW(others, lr=2e-3 * arguments.lr_scale, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    loader = batches.Loader(examples, arguments.seed + 1, arguments.tokens_per_batch)

    def loss(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits, _ = network(batch.tokens, batch.positions, batch.mask)
        causal = cross_entropy(logits[:, : batch.clean], batch.next_targets)
        causal = causal.sum() / (batch.next_targets != IGNORE).sum()
        per_slot = cross_entropy(logits[:, batch.clean :], batch.same_targets, arguments.smoothing)
        weights = (batch.same_targets != IGNORE).float().flatten()
        if arguments.level_weights:
            weights = weights / batch.levels.clamp(min=0.1).flatten()
        masked = (per_slot * weights).sum() / weights.sum()
        return causal + ALPHA * masked, {"causal": causal, "masked": masked}

    def draw() -> list[Batch]:
        return [
            batches.make(rows, loader.rng, block_lengths=BLOCK_LENGTHS, full_mask=arguments.full_mask)
            for rows in loader.draw()
        ]

    optimise("network", optimizers, loss, draw, arguments.steps, device)


def train_drafter(
    network: Network, examples: list[Example], arguments: argparse.Namespace, device: torch.device
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
        longest = (max(BLOCK_LENGTHS),)
        return [batches.make(rows, loader.rng, block_lengths=longest, full_mask=1.0) for rows in loader.draw()]

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
            if (step + 1) % 100 == 0:
                progress.console.print(f"{title} step {step + 1}: {status}  {time.perf_counter() - started:.0f} s")


def save_network(network: Network, config: dict[str, object], folder: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16).contiguous().cpu() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
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
