# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A family that sees the whole canvas behind a real Triton server and the front: diffusion is what requests get."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import openai
import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.releases import Geometry
from nld_trt.model.synthetic import write_synthetic
from nld_trt.model.text.codec import Codec
from nld_trt.serving.openai.link import TritonLink
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.serving.conftest import Server
from tests.stock_models import edit_config

pytestmark = [pytest.mark.triton, pytest.mark.slow]

PROMPT = "Convert 37 km to m."
LIMITS = Limits(max_batch_size=4, max_seq_len=128, max_block_length=16, prompt_chunk=128, max_canvas_length=128)


def with_tokenizer(root: Path, folder: Path) -> Path:
    """A random model of this family with the tokenizer, the template and the special tokens of nld-tiny."""
    tiny = root / "examples" / "nld-tiny"
    stated = json.loads((tiny / "config.json").read_text(encoding="utf-8"))
    write_synthetic(Geometry(64, 96, 2, 5e5, 4, 4, 16, stated["vocab_size"], "llada"), folder)
    (folder / "generation_config.json").unlink()
    edit_config(folder, mask_token_id=stated["mask_token_id"], eos_token_id=stated["eos_token_id"])
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def engine(root, tmp_path_factory) -> EngineFolder:
    folder = tmp_path_factory.mktemp("llada")
    convert(with_tokenizer(root, folder / "release"), folder / "converted")
    checkpoint = Checkpoint.open_converted(folder / "converted")
    build_engine(checkpoint, [BuildPlan("ort", "fp32", LIMITS, adapter=False)], folder / "engine")
    return EngineFolder.open(folder / "engine")


@pytest.fixture(scope="module")
def server(engine, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("a Triton server runs on Linux")
    folder = tmp_path_factory.mktemp("server")
    repository = write_repository(engine, folder / "repository")
    with TritonServer(repository.path, ports=FREE_PORTS, log_file=folder / "server.log", timeout=300) as triton:
        yield Server(triton)


@pytest.fixture(scope="module")
def expected(engine):
    """The answer without a server."""
    codec = Codec.open(engine.path)
    batch = Batch(engine.open_session("ort"), codec)

    def decode(**options):
        request = Request(codec.encode_prompt(PROMPT), max_new_tokens=40, **options)
        return dict(generate(batch, [request]))[0]

    return decode


def test_requests_that_state_no_mode_are_decoded_by_diffusion(server, expected) -> None:
    chunks = server.ask(text_input=PROMPT, max_tokens=40)
    answer = expected(threshold=0.9)
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert (chunks[-1].mode, chunks[-1].nfe) == ("diffusion", answer.nfe)


def test_the_passes_of_a_block_may_be_stated(server, expected) -> None:
    chunks = server.ask(text_input=PROMPT, max_tokens=40, steps=4, threshold=-1.0)
    assert "".join(chunk.text for chunk in chunks) == expected(steps=4).text
    assert chunks[-1].nfe == expected(steps=4).nfe == 12


def test_modes_that_were_not_trained_are_refused(server) -> None:
    with pytest.raises(OperationError, match="mode is 'linear', which LLaDA was not trained for"):
        server.ask(text_input=PROMPT, max_tokens=4, mode="linear")


def test_a_canvas_longer_than_the_engine_is_refused(server) -> None:
    with pytest.raises(OperationError, match="after a prompt of 100 tokens the engine can generate 28"):
        server.ask(input_ids=[1] * 100, max_tokens=29)


def test_the_front_serves_it(server, expected) -> None:
    link = TritonLink(server.triton.grpc_url, server.triton.metrics_url)
    with FrontServer(link, ["nld"], Listener()) as front:
        client = openai.OpenAI(base_url=f"{front.listener.url}/v1", api_key="any", max_retries=0, timeout=60)
        answer = client.chat.completions.create(
            model="nld", messages=[{"role": "user", "content": PROMPT}], max_tokens=40,
            extra_body={"steps": 4, "threshold": -1.0},
        )  # fmt: skip
        client.close()
    assert answer.choices[0].message.content == expected(steps=4).text
    assert answer.metrics["mode"] == "diffusion"
