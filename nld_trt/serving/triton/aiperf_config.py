# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``aiperf.yaml`` of a written repository: a benchmark of its model, in AIPerf's own format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nld_trt import names

FILE_NAME: Final = "aiperf.yaml"
# Requests of each point for every row of the engine, so that the start and the end of a run weigh little.
_ROUNDS: Final = 4
_FEWEST_REQUESTS: Final = 16
# From one level of concurrency to the next.
_STEP: Final = 4

_TEMPLATE: Final = """\
# A benchmark of the model in this folder, in AIPerf's format. In this folder:
#
#   nld-trt serve . --openai-port {port}
#   aiperf profile --config {file}
#
# PROMPTS is a JSONL file with lines such as {{"text": "{prompt}"}}. Results are written beside this
# folder, because a folder in it would be taken for a model. aiperf config expand {file} lists the points.

schemaVersion: "2.0"

sweep:
  type: grid
  parameters:
    endpoint.extra.mode: [{modes}]
    concurrency: [{concurrency}]

benchmark:
  model: {model}

  endpoint:
    url: ${{URL:http://localhost:{port}}}
    type: chat
    streaming: true
    # A block of tokens arrives at once, so every piece has to say how many it has.
    useServerTokenCount: true
    perChunkUsage: true
    extra:
      mode: {default}
      max_completion_tokens: 128
      temperature: 0

  tokenizer:
    name: {model}/1/engine

  dataset:
    type: file
    path: ${{PROMPTS:prompts.jsonl}}
    format: single_turn
    sampling: sequential

  phases:
    - {{name: warmup, type: concurrency, requests: 2, concurrency: 1, excludeFromResults: true}}
    - {{name: profiling, type: concurrency, requests: {requests}, concurrency: 1}}

  gpuTelemetry: {{enabled: false}}
  serverMetrics: {{enabled: false}}

  artifacts:
    dir: ${{RESULTS:../aiperf-results}}
"""


def render_aiperf_config(
    model: str, engine: Mapping[str, Any], offered: Sequence[str], *, default: str, prompt: str
) -> str:
    """Return the text of the file.

    Args:
        engine: the part of a repository's manifest that describes the engine.
        offered: modes of the model's family.
        default: the mode of requests that name none.
        prompt: an example of one.
    """
    limits = engine["limits"]
    # A server whose default is another mode has not timed its engine for auto.
    missing = {names.QUADRATIC: not limits["max_quadratic_length"], names.AUTO: default != names.AUTO}
    modes = [mode for mode in names.SERVED_MODES if mode in offered and not missing.get(mode)]
    rows = limits["max_batch_size"]
    levels = [level for level in (_STEP**power for power in range(8)) if level < rows] + [rows]
    return _TEMPLATE.format(
        file=FILE_NAME,
        port=names.OPENAI_PORT,
        model=model,
        prompt=prompt,
        modes=", ".join(modes),
        concurrency=", ".join(map(str, levels)),
        default=default,
        requests=max(_ROUNDS * rows, _FEWEST_REQUESTS),
    )
