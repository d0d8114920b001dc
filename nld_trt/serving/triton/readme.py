# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The README of a written repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.serving.settings import FILE_NAME, ServingSettings
from nld_trt.serving.triton import aiperf_config
from nld_trt.serving.triton.container import container_commands
from nld_trt.serving.triton.tensors import markdown_table

# The addresses of a server with default ports, for clients on the same machine.
HTTP_URL = f"http://localhost:{names.HTTP_PORT}"
GRPC_URL = f"localhost:{names.GRPC_PORT}"
EXAMPLE_PROMPT = "Sort these numbers: 42 17 88 35"

_TEMPLATE = """\
# Triton model repository: {model}

Written by nld-trt {version} with

```
{command}
```

The engine was built from `{engine}`: backends {backends}; {rows} requests at once, each of {tokens} tokens with the
prompt.
`{model}/manifest.json` has versions and hashes. Defaults of requests are in `{model}/1/{settings}`.

## Start

```
nld-trt serve .                          # the tritonserver of this machine
nld-trt serve . --openai-port 9000       # the same, with a front for OpenAI's clients: http://localhost:9000/v1
```

```
tritonserver --model-repository=. --model-control-mode=explicit --load-model=*
```

The second command needs nld_trt in the Python that the server's backend uses. In a container, from a checkout of
nld-trt:

```
{docker}
```

## Ask

```
{curl}
```

```
{client}
```

The model is decoupled: a request has as many responses as there are pieces of text. Plain `/infer` over HTTP refuses
such models; use `generate_stream`, gRPC streaming, or `/generate` without `stream`. The status of `generate_stream` is
decided by the first response, so a client also has to look for `error` in those that follow.

## Measure

[AIPerf](https://pypi.org/project/aiperf/) measures the served model as its clients see it, also on a machine without
network, by `{config}`. The prompts are lines of `prompts.jsonl`, such as `{{"text": "{prompt}"}}`:

```
nld-trt serve . --openai-port {port}
aiperf profile --config {config}
```

`nld-trt sweep` makes such runs as well, and a table and plots of them:

```
nld-trt sweep http://localhost:{port} --prompts prompts.jsonl -o ../results --concurrency 1,4
```

## Inputs

All are optional, except that a request has one of `text_input`, `messages` and `input_ids`.

{inputs}

## Outputs

{outputs}
"""


def render_readme(model: str, serving: ServingSettings, manifest: Mapping[str, Any]) -> str:
    engine = manifest["engine"]
    built = [engine, *manifest["alternatives"].values()]
    backends = list(dict.fromkeys(name for each in built for name in each["backends"]))
    return _TEMPLATE.format(
        model=model,
        version=manifest["tool_version"],
        command=manifest["command"],
        engine=engine["name"],
        backends=", ".join(backends),
        rows=engine["limits"]["max_batch_size"],
        tokens=engine["limits"]["max_seq_len"],
        settings=FILE_NAME,
        docker="\n".join(container_commands(Path("/path/to/this/folder"), backends=backends)),
        curl=curl_line(model, mode=serving.defaults.mode),
        client=client_line(model),
        prompt=EXAMPLE_PROMPT,
        config=aiperf_config.FILE_NAME,
        port=names.OPENAI_PORT,
        inputs=markdown_table("input"),
        outputs=markdown_table("output"),
    )


def curl_line(model: str, url: str = HTTP_URL, *, mode: str = names.LINEAR) -> str:
    body = f'{{"text_input": "{EXAMPLE_PROMPT}", "stream": true, "mode": "{mode}", "max_tokens": 128}}'
    return f"curl -N {url}/v2/models/{model}/generate_stream -d '{body}'"


def client_line(model: str, url: str = GRPC_URL) -> str:
    flag = "" if model == names.DEFAULT_MODEL_NAME else f" --model {model}"
    return f'nld-trt client {url} "{EXAMPLE_PROMPT}"{flag}'
