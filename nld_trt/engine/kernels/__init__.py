# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA form of the decode operators: what the kernels are, how they are compiled, launched and registered."""
