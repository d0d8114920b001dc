# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Average the network weights of several runs: checkpoints of one training path agree better than each alone.

python examples/nld-tiny/average.py run2 run3 run4 run5 --output averaged
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="checkpoints of train.py with the same tokenizer")
    parser.add_argument("--output", type=Path, required=True, help="folder of the averaged network, without an adapter")
    arguments = parser.parse_args()
    runs = [load_file(run / "model.safetensors") for run in arguments.runs]
    mean = {
        name: torch.stack([run[name].float() for run in runs]).mean(0).to(torch.bfloat16).contiguous()
        for name in runs[0]
    }
    shutil.copytree(arguments.runs[-1], arguments.output, ignore=shutil.ignore_patterns("linear_spec_lora"))
    save_file(mean, arguments.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
