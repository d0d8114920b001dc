# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs opened without an engine folder, and single forwards through them."""

from __future__ import annotations

from pathlib import Path

from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import EngineInfo, execute
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import write_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.graph.tape import Dialect
from nld_trt.model.checkpoint import Checkpoint

LIMITS = Limits(max_batch_size=2, max_seq_len=64, max_block_length=16, prompt_chunk=16)


def open_graph(checkpoint: Checkpoint, folder: Path, *, dialect: Dialect = "onnxruntime") -> OrtSession:
    """The network of ``checkpoint`` in FP32 with debug outputs and, if it has one, its adapter.

    4-bit kernels compute exactly, so that differences are the graph's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    adapter = checkpoint.adapter is not None
    model = write_graph(
        checkpoint, folder, precision=PRECISIONS["fp32"], limits=LIMITS, adapter=adapter, static_capacity=False,
        dialect=dialect, debug=True,
    )  # fmt: skip
    info = EngineInfo(checkpoint.config, LIMITS, "ort", "fp32", adapter, debug=True)
    return OrtSession(model, info, exact=True)


def run_pass(session, ids, *, cache_length=0, causal=True, **settings):
    """One debug forward of one row with all logits; returns a copy of the outputs.

    ``settings`` are those of ``PassSettings``.
    """
    session.reserve(1, session.info.limits.capacity)
    step = fill(session, [Pass(ids, cache_length, causal=causal, settings=PassSettings(**settings))])
    execute(session, step)
    return {name: array.copy() for name, array in step.outputs.items()}
