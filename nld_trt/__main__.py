# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m nld_trt``: the same as the command ``nld-trt``."""

from nld_trt.cli import main

main()
