# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reports of sweeps: a page, Markdown, CSV and pictures, of one run or of two side by side."""
