# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The README of a repository for TensorRT-LLM."""

from __future__ import annotations

from typing import Final

import nld_trt
from nld_trt import names
from nld_trt.serving.triton.container import MOUNT

# An image of Triton with TensorRT-LLM, and the place in it of the model's code.
IMAGE: Final = "nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3"
SOURCES: Final = "/app/all_models/llmapi/tensorrt_llm/1"
FILES: Final = ("model.py", "helpers.py")

UNVERIFIED: Final = (
    "Nothing of TensorRT-LLM was run to make or to test this repository. Its sources say that dense Mistral has no "
    "query scale, which is why contexts are limited, and that with YaRN it rotates neighbouring elements of a head, "
    "which decides how heads are stored. Compare its answers before anybody relies on them: nld-trt check-server"
)
# What check-server says if the layout is not the one that the server rotates.
_MISMATCHES: Final = {names.HALVES: names.NEIGHBOURS_ROTATED, names.PAIRS: names.PAIRS_NOT_ROTATED}

_TEMPLATE: Final = """\
# {model}: AR decoding with TensorRT-LLM

Written by nld-trt {version} with

```
{command}
```

**Not verified.** {unverified}

It decodes autoregressively only: there are no block modes and no draft adapter. Contexts have at most {length:,}
tokens, prompt and answer; TensorRT-LLM would get longer ones wrong.

## Complete it

The model's code is TensorRT-LLM's and not part of this repository. Take it from the image that will serve it:

```
{copies}
```

Images may have it at another place (`find / -path '*llmapi*' -name model.py` in the container); in TensorRT-LLM's
repository it is in `triton_backend/all_models/llmapi/tensorrt_llm/1`. `config.pbtxt` names the inputs and outputs for
text; the file beside that code has more.

## Compare it

TensorRT-LLM's own server reads the same checkpoint, and speaks OpenAI's API:

```
docker run --rm --gpus all --ipc host --publish 127.0.0.1:8100:8100 --volume "$PWD:{mount}" {image} \\
  trtllm-serve {mount}/{model}/1/checkpoint --host 0.0.0.0 --port 8100 --max_seq_len {length}
nld-trt check-server http://localhost:8100 --engine ENGINE_DIR --checkpoint CHECKPOINT_DIR
```

The engine is one that nld-trt built from the same release. If the answers differ, `check-server` says by which fault.
If that is "{mismatch}", write the repository again with `--rotary-layout {other}`.

## Start

```
docker run --rm --gpus all --ipc host --publish 127.0.0.1:8000:8000 --volume "$PWD:{mount}" {image} \\
  tritonserver --model-repository={mount}
```

## Ask

Texts are used as they are, so the client renders the chat template:

```
curl localhost:{port}/v2/models/{model}/generate -d '{{"text_input": "…", "sampling_param_max_tokens": 128}}'
```
"""


def render_readme(model: str, max_seq_len: int, rotary_layout: str, command: str) -> str:
    copies = "\n".join(
        f"docker run --rm --entrypoint cat {IMAGE} {SOURCES}/{file} > {model}/1/{file}" for file in FILES
    )
    return _TEMPLATE.format(
        model=model,
        version=nld_trt.__version__,
        command=command,
        unverified=UNVERIFIED,
        length=max_seq_len,
        copies=copies,
        mount=MOUNT,
        image=IMAGE,
        mismatch=_MISMATCHES[rotary_layout],
        other=next(layout for layout in names.ROTARY_LAYOUTS if layout != rotary_layout),
        port=names.HTTP_PORT,
    )
