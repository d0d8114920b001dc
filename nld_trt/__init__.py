# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""nld-trt takes a Nemotron-Labs-Diffusion checkpoint to a TensorRT deployment with four decoding modes."""

__version__ = "0.1.0"
