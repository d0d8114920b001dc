# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Names that users write, and defaults that several layers share. This module imports no other module of the package.

The command line shows these names in ``--help`` without loading the layers that implement them. Tests compare each list
with its registry.
"""

from __future__ import annotations

from typing import Final, Literal

# Decoding modes (docs/decoding.md).
ModeName = Literal["ar", "diffusion", "linear", "quadratic", "eagle3", "auto"]
AR: Final = "ar"
DIFFUSION: Final = "diffusion"
LINEAR: Final = "linear"
QUADRATIC: Final = "quadratic"
# The mode of networks that an Eagle3 head drafts for (nld_trt.model.draft_head).
EAGLE3: Final = "eagle3"
# Those of Nemotron-Labs-Diffusion, and all of them.
NLD_MODES: Final[tuple[ModeName, ...]] = (AR, DIFFUSION, LINEAR, QUADRATIC)
MODES: Final[tuple[ModeName, ...]] = (*NLD_MODES, EAGLE3)
# The mode that chooses among ar, linear and diffusion by the load, round by round (docs/auto.md).
AUTO: Final = "auto"
SERVED_MODES: Final[tuple[ModeName, ...]] = (*MODES, AUTO)
DEFAULT_SERVED_MODE: Final = AUTO
# Modes that draft and verify. They draft with the adapter where there is one.
NLD_SPECULATIVE: Final[tuple[ModeName, ...]] = (LINEAR, QUADRATIC)
SPECULATIVE: Final[tuple[ModeName, ...]] = (*NLD_SPECULATIVE, EAGLE3)

# Kinds of passes, for counts and messages (docs/model.md, Passes).
PassKind = Literal["prefill", "token", "denoise", "commit", "draft", "verify", "quadratic"]
PREFILL: Final = "prefill"
TOKEN: Final = "token"
DENOISE: Final = "denoise"
COMMIT: Final = "commit"
DRAFT: Final = "draft"
VERIFY: Final = "verify"

# How an engine makes a row's next pass: not at all, or by the rule of a mode (nld_trt.graph.contract).
Program = Literal["hold", "token", "diffusion", "linear", "quadratic", "blocks"]
HOLD: Final = "hold"
# Diffusion whose blocks begin without a bonus token.
BLOCKS: Final = "blocks"

# Rules that decide which drafted tokens are accepted (docs/sampling.md).
AcceptanceName = Literal["match", "reject"]
MATCH: Final = "match"
REJECT: Final = "reject"
ACCEPTANCE_RULES: Final[tuple[AcceptanceName, ...]] = (MATCH, REJECT)

# Libraries that run an engine (nld_trt.engine.backend).
ORT: Final = "ort"
TRT_RTX: Final = "trt-rtx"
TRT: Final = "trt"
TORCH: Final = "torch"
BACKENDS: Final = (ORT, TRT_RTX, TRT, TORCH)

# What a machine may be able to do (nld_trt.engine.capabilities), in the order of the work.
CAPABILITIES: Final = (
    "convert",
    "hub",
    "quantize",
    *(f"build-{name}" for name in BACKENDS),
    "build-kernels",
    *(f"run-{name}" for name in BACKENDS),
    "serve",
    "openai-front",
    "client",
    "sweep-plots",
    "gpu-telemetry",
)

# Machines to compile for (nld_trt.engine.platforms).
GB200: Final = "gb200"
B200: Final = "b200"
RTX_PRO_6000: Final = "rtx-pro-6000"
DGX_SPARK: Final = "dgx-spark"
H200: Final = "h200"
H100: Final = "h100"
CPU: Final = "cpu"
PLATFORMS: Final = (GB200, B200, RTX_PRO_6000, DGX_SPARK, H200, H100, CPU)
# GPUs that plan knows (nld_trt.planning.platform).
GB300: Final = "gb300"
RTX_PRO_6000_SERVER: Final = "rtx-pro-6000-server"
RTX_5090: Final = "rtx-5090"
L40S: Final = "l40s"
JETSON_THOR: Final = "jetson-thor"
PLANNED_PLATFORMS: Final = (
    GB200, B200, GB300, RTX_PRO_6000, RTX_PRO_6000_SERVER, RTX_5090, DGX_SPARK, H200, H100, L40S, JETSON_THOR,
)  # fmt: skip

# Precisions in which an engine computes (nld_trt.graph.precision).
FP32: Final = "fp32"
BF16: Final = "bf16"
FP16: Final = "fp16"
PRECISIONS: Final = (FP32, BF16, FP16)
# Precisions of weights that plan knows, beside these: those of quantized checkpoints.
FP8: Final = "fp8"
INT4: Final = "int4"
NVFP4: Final = "nvfp4"
W4A16_NVFP4: Final = "w4a16_nvfp4"
PLANNED_PRECISIONS: Final = (BF16, FP16, FP8, INT4, NVFP4, W4A16_NVFP4)

# Precision of the KV cache. auto: the engine's, with a note where the checkpoint was made for another one. engine: the
# engine's, without that note. checkpoint: the one that the checkpoint was made for, if the backend supports it.
KV_CACHES: Final = ("auto", "engine", "checkpoint")

# Precision of the head. auto: 4 bits on the CPU where the checkpoint's layers are, else the checkpoint's.
HEADS: Final = ("auto", "checkpoint")

# Sources of request defaults: the checkpoint's generation_config.json, or none.
GENERATION_CONFIGS: Final = ("checkpoint", "none")

# Released sizes (nld_trt.model.releases): of Nemotron-Labs-Diffusion, and of the families that it is compared with.
NLD_SIZES: Final = ("3b", "8b", "14b")
MODEL_SIZES: Final = (*NLD_SIZES, "qwen3-4b", "qwen3-8b", "ministral-8b", "sdar-8b", "llada-8b", "dream-7b")


DEFAULT_MODE: Final[ModeName] = LINEAR
DEFAULT_MAX_NEW_TOKENS: Final = 512
# The model card's thresholds (docs/model.md, Defaults): confidence 0.9 in diffusion, one-pass drafts in linear.
DEFAULT_THRESHOLDS: Final[dict[ModeName, float | None]] = {
    AR: None,
    DIFFUSION: 0.9,
    LINEAR: 0.0,
    QUADRATIC: None,
    EAGLE3: None,
    AUTO: 0.9,  # of the blocks that it decodes by diffusion
}
# Tokens of an eagle3 pass: the bonus token and the drafts after it.
DEFAULT_EAGLE3_BLOCK: Final = 6
# An EOS id that no token has: decoding does not stop at an EOS token.
NEVER: Final = -1

# Most tokens that a filter of sampling can leave.
MAX_TOP_K: Final = 256

DEFAULT_MAX_BATCH_SIZE: Final = 8
DEFAULT_MAX_SEQ_LEN: Final = 4096
DEFAULT_PROMPT_CHUNK: Final = 512
DEFAULT_MAX_WAITING: Final = 256
DEFAULT_KV_CACHE: Final = "auto"
DEFAULT_HEAD: Final = "auto"
DEFAULT_GENERATION_CONFIG: Final = "checkpoint"

# Weight of the AR prediction in the verification of quadratic mode; at 1 the text is that of ar.
DEFAULT_ENSEMBLE: Final = 1.0

# What evaluations and sweeps measure: a mode, with the draft adapter or without it (nld_trt.measure.variant).
LINEAR_NO_LORA: Final = "linear-no-lora"
VARIANTS: Final = (AR, DIFFUSION, LINEAR, LINEAR_NO_LORA, QUADRATIC, EAGLE3)
# Those of a sweep, whose load mode auto follows.
SWEPT_VARIANTS: Final = (*VARIANTS, AUTO)
# Requests of a sweep, for each repeat of a point.
DEFAULT_SWEEP_REQUESTS: Final = 16

# Quantization recipes that are shipped (quantize/), and flags that are short for some of them.
QFORMATS: Final = ("int4_awq", "int4_rtn", "fp8", "fp8_pc_pt", "w4a16_nvfp4", "nvfp4")
SHORT_QFORMATS: Final = {"int4": "int4_awq", "fp8": "fp8", "nvfp4": "nvfp4"}
# Calibration data that is shipped (quantize/calibration/), and how much of it is used.
CALIBRATION_SETS: Final = ("general", "nld-tiny")
DEFAULT_CALIBRATION_SET: Final = "general"
DEFAULT_CALIBRATION_SIZE: Final = 128
DEFAULT_CALIBRATION_SEQ_LEN: Final = 512
# Shares of calibration tokens in causal text, masked blocks and drafts with the adapter.
DEFAULT_CALIBRATION_MIX: Final = (0.5, 0.25, 0.25)

# Programs that can serve a repository: Triton with our model, or TensorRT-LLM's own container, for AR alone.
TRITON: Final = "triton"
TENSORRT_LLM: Final = "tensorrt-llm"
SERVERS: Final = (TRITON, TENSORRT_LLM)
# Which elements of a head such a program rotates together: those of its two halves, or neighbours.
HALVES: Final = "halves"
PAIRS: Final = "pairs"
ROTARY_LAYOUTS: Final = (HALVES, PAIRS)
# What check-server calls a server that has halves and rotates neighbours, and one that has pairs and rotates halves.
NEIGHBOURS_ROTATED: Final = "rotation of neighbouring elements"
PAIRS_NOT_ROTATED: Final = "rotation of halves, with heads stored as pairs"

# A server and its clients. Ports are those of Triton; times are in seconds.
DEFAULT_MODEL_NAME: Final = "nld"
DEFAULT_HOST: Final = "127.0.0.1"
HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
# NVIDIA's OpenAI front listens on the same.
OPENAI_PORT: Final = 9000
DEFAULT_START_TIMEOUT: Final = 600.0
# Seconds that open requests have to end when a server is stopped.
DEFAULT_SHUTDOWN_TIMEOUT: Final = 10.0
# Seconds without an answer from a model after which its server is started again.
DEFAULT_PATIENCE: Final = 10.0
DEFAULT_CLIENT_TIMEOUT: Final = 300.0
# The comparison of another server with an engine: prompts of each range, tokens of each answer, and the nats between
# two tokens that are as good as equally likely.
DEFAULT_CHECK_SAMPLES: Final = 8
DEFAULT_CHECK_TOKENS: Final = 32
DEFAULT_TIE: Final = 0.25
# Of a request to the OpenAI front: the text of any prompt that fits, while tokenizing it holds up nobody for long.
DEFAULT_MAX_BODY_BYTES: Final = 1024 * 1024

# What a simulated server may be given: costs of published forwards (nld_trt.measure.simulate.published), published
# acceptance (nld_trt.decode.auto.shapes), and closed loops (nld_trt.measure.simulate.trace).
INCLUDED_TABLES: Final = ("published-b200", "published-b200-served", "measured-h200")
WORKLOADS: Final = (
    "speed-bench", "coding", "math", "reasoning", "multilingual", "qa", "rag", "writing", "nine-tasks",
)  # fmt: skip
TRACES: Final = ("1-128-1", "doubling")
# The average over SPEED-Bench: what a server expects before it has decoded anything, too.
DEFAULT_WORKLOAD: Final = "speed-bench"
DEFAULT_SIMULATED_USERS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DEFAULT_SIMULATED_ROWS: Final = 256
DEFAULT_SIMULATED_TOKENS: Final = 256
DEFAULT_SIMULATED_SECONDS: Final = 10.0

# What plan is asked for where nothing is said: users, cached tokens of each, and prompt and answer together.
DEFAULT_PLANNED_USERS: Final = (1, 8, 64)
DEFAULT_PLANNED_CONTEXT: Final = 512
DEFAULT_PLANNED_BLOCK: Final = 32
DEFAULT_PLANNED_MODES: Final[tuple[ModeName, ...]] = (AR, LINEAR, DIFFUSION, EAGLE3, AUTO)
