# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Names that users write, and defaults that several layers share. This module imports no other module of the package.

The command line shows these names in ``--help`` without loading the layers that implement them. Tests compare each list
with its registry.
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
# Modes that draft and verify. They draft with the adapter where there is one.
SPECULATIVE: Final[tuple[ModeName, ...]] = (LINEAR, QUADRATIC)

# Rules that decide which drafted tokens are accepted (docs/sampling.md).
AcceptanceName = Literal["match", "reject"]
MATCH: Final = "match"
REJECT: Final = "reject"
ACCEPTANCE_RULES: Final[tuple[AcceptanceName, ...]] = (MATCH, REJECT)

# Libraries that run an engine (nld_trt.engine.backend).
ORT: Final = "ort"
TRT_RTX: Final = "trt-rtx"
TRT: Final = "trt"
BACKENDS: Final = (ORT, TRT_RTX, TRT)

# Machines to compile for (nld_trt.engine.platforms).
GB200: Final = "gb200"
RTX_PRO_6000: Final = "rtx-pro-6000"
DGX_SPARK: Final = "dgx-spark"
H100: Final = "h100"
CPU: Final = "cpu"
PLATFORMS: Final = (GB200, RTX_PRO_6000, DGX_SPARK, H100, CPU)

# Precisions in which an engine computes (nld_trt.graph.precision).
FP32: Final = "fp32"
BF16: Final = "bf16"
FP16: Final = "fp16"
PRECISIONS: Final = (FP32, BF16, FP16)

# Precision of the KV cache. auto: the engine's, with a note where the checkpoint was made for another one. engine: the
# engine's, without that note. checkpoint: the one that the checkpoint was made for, if the backend supports it.
KV_CACHES: Final = ("auto", "engine", "checkpoint")

# Sources of request defaults: the checkpoint's generation_config.json, or none.
GENERATION_CONFIGS: Final = ("checkpoint", "none")

# Released sizes (nld_trt.model.synthetic).
MODEL_SIZES: Final = ("3b", "8b", "14b")

DEFAULT_MODE: Final[ModeName] = LINEAR
DEFAULT_MAX_NEW_TOKENS: Final = 512
# The model card's thresholds (docs/model.md, Defaults): confidence 0.9 in diffusion, one-pass drafts in linear.
DEFAULT_THRESHOLDS: Final[dict[ModeName, float | None]] = {AR: None, DIFFUSION: 0.9, LINEAR: 0.0, QUADRATIC: None}
# An EOS id that no token has: decoding does not stop at an EOS token.
NEVER: Final = -1

DEFAULT_MAX_BATCH_SIZE: Final = 8
DEFAULT_MAX_SEQ_LEN: Final = 4096
DEFAULT_PROMPT_CHUNK: Final = 512
DEFAULT_MAX_WAITING: Final = 256
DEFAULT_KV_CACHE: Final = "auto"
DEFAULT_GENERATION_CONFIG: Final = "checkpoint"
