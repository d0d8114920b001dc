# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine will need and do on a GPU, before anything is built (docs/planning.md)."""
