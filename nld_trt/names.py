# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Names that users write and defaults that several layers share. This module imports nothing of the package.

The command line shows these names in ``--help`` without loading the layers that give them their meaning; tests compare
each list with the registry behind it.
"""

from __future__ import annotations

from typing import Final, Literal

# Decoding modes (docs/decoding.md).
ModeName = Literal["ar", "diffusion", "linear", "quadratic"]
AR: Final = "ar"
DIFFUSION: Final = "diffusion"
LINEAR: Final = "linear"
QUADRATIC: Final = "quadratic"
MODES: Final[tuple[ModeName, ...]] = (AR, DIFFUSION, LINEAR, QUADRATIC)
# Modes that draft, with the adapter where there is one, and verify.
SPECULATIVE: Final[tuple[ModeName, ...]] = (LINEAR, QUADRATIC)

# Linear mode without the adapter, as commands that compare modes call it (nld_trt.measure.variant).
LINEAR_NO_LORA: Final = "linear-no-lora"

# Kinds of passes, for counts and messages (docs/model.md, Passes).
PassKind = Literal["prefill", "token", "denoise", "commit", "draft", "verify", "quadratic"]
PREFILL: Final = "prefill"
TOKEN: Final = "token"
DENOISE: Final = "denoise"
COMMIT: Final = "commit"
DRAFT: Final = "draft"
VERIFY: Final = "verify"

# How an engine makes a row's next pass: not at all, or by the rule of a mode (nld_trt.graph.contract).
Program = Literal["hold", "token", "diffusion", "linear", "quadratic"]
HOLD: Final = "hold"

# Rules that keep drafted tokens (docs/sampling.md).
AcceptanceName = Literal["match", "reject"]
MATCH: Final = "match"
REJECT: Final = "reject"
ACCEPTANCE_RULES: Final[tuple[AcceptanceName, ...]] = (MATCH, REJECT)

# Libraries that run an engine (nld_trt.engine.backend).
ORT: Final = "ort"
TRT_RTX: Final = "trt-rtx"
TRT: Final = "trt"
BACKENDS: Final = (ORT, TRT_RTX, TRT)

# What a machine may be able to do (nld_trt.engine.capabilities), in the order of the work.
CAPABILITIES: Final = (
    "convert",
    "quantize",
    *(f"build-{name}" for name in BACKENDS),
    "build-kernels",
    *(f"run-{name}" for name in BACKENDS),
    "serve",
    "client",
    "sweep-plots",
    "gpu-telemetry",
)

# Machines to compile for (nld_trt.engine.platforms).
GB200: Final = "gb200"
RTX_PRO_6000: Final = "rtx-pro-6000"
DGX_SPARK: Final = "dgx-spark"
H100: Final = "h100"
CPU: Final = "cpu"
PLATFORMS: Final = (GB200, RTX_PRO_6000, DGX_SPARK, H100, CPU)

# What an engine computes in (nld_trt.graph.precision).
FP32: Final = "fp32"
BF16: Final = "bf16"
FP16: Final = "fp16"
PRECISIONS: Final = (FP32, BF16, FP16)

# Precision of the K/V caches. auto: the engine's, with a note where the checkpoint was made for another. engine: the
# same without the note. checkpoint: what the checkpoint was made for, which a backend has to be able to run.
KV_CACHES: Final = ("auto", "engine", "checkpoint")

# Where requests that say nothing have their defaults from: the checkpoint's generation_config.json, or nowhere.
GENERATION_CONFIGS: Final = ("checkpoint", "none")

# Released sizes (nld_trt.model.synthetic).
MODEL_SIZES: Final = ("3b", "8b", "14b")

DEFAULT_MODE: Final[ModeName] = LINEAR
DEFAULT_MAX_NEW_TOKENS: Final = 512
# What the model card uses (docs/model.md, Defaults): confidence 0.9 in diffusion, one-shot drafts in linear.
DEFAULT_THRESHOLDS: Final[dict[ModeName, float | None]] = {AR: None, DIFFUSION: 0.9, LINEAR: 0.0, QUADRATIC: None}
# An EOS id that no token has.
NEVER: Final = -1

# Most tokens that a filter of sampling can leave.
MAX_TOP_K: Final = 256

DEFAULT_MAX_BATCH_SIZE: Final = 8
DEFAULT_MAX_SEQ_LEN: Final = 4096
DEFAULT_PROMPT_CHUNK: Final = 512
DEFAULT_MAX_WAITING: Final = 256
DEFAULT_KV_CACHE: Final = "auto"
DEFAULT_GENERATION_CONFIG: Final = "checkpoint"
