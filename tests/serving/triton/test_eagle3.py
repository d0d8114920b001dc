# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A real Triton server and the OpenAI front with an engine that has an Eagle3 head."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import openai
import pytest

from nld_trt.decode.engine import Engine
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.serving.openai.link import TritonLink
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.eagle3_reference import LAYERS, random_head, save_head
from tests.serving.conftest import Server
from tests.stock_models import make_stock

pytestmark = [pytest.mark.triton, pytest.mark.slow]

PROMPT = "Convert 37 km to m."
VOCAB = 400  # of nld-tiny, whose tokenizer the model has


@pytest.fixture(scope="module")
def engine(root, tmp_path_factory) -> EngineFolder:
    folder = tmp_path_factory.mktemp("eagle3")
    model = make_stock("qwen3", folder / "release", num_hidden_layers=LAYERS, vocab_size=VOCAB)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(root / "examples" / "nld-tiny" / name, folder / "release" / name)
    head = save_head(random_head(model), folder / "head")
    convert(folder / "release", folder / "converted", draft=head)
    plan = BuildPlan("ort", "fp32", Limits(4, 256, 6, 64), adapter=False)
    build_engine(Checkpoint.open_converted(folder / "converted"), [plan], folder / "engine")
    return EngineFolder.open(folder / "engine")


@pytest.fixture(scope="module")
def server(engine, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("a Triton server runs on Linux")
    folder = tmp_path_factory.mktemp("repository")
    repository = write_repository(engine, folder / "repository")
    with TritonServer(repository.path, ports=FREE_PORTS, log_file=folder / "server.log", timeout=300) as triton:
        yield Server(triton)


@pytest.mark.parametrize("asked", [{}, {"mode": "eagle3", "block_length": 3}, {"mode": "auto"}, {"mode": "ar"}])
def test_answers_are_those_of_the_engine(engine, server, asked) -> None:
    mode = "ar" if asked.get("mode") == "ar" else "eagle3"
    with Engine.open(engine) as opened:
        expected = opened.generate(PROMPT, max_new_tokens=20, **{**asked, "mode": mode})
    last = (chunks := server.ask(text_input=PROMPT, max_tokens=20, **asked))[-1]
    assert "".join(chunk.text for chunk in chunks) == expected.text
    assert (last.mode, last.nfe) == (mode, expected.nfe)
    if mode == "eagle3":
        assert last.acceptance_length == pytest.approx(expected.acceptance_length)
        assert sum(last.acceptance_histogram) == expected.nfe - 1


def test_the_front_takes_the_mode(server) -> None:
    link = TritonLink(server.triton.grpc_url, server.triton.metrics_url)
    with FrontServer(link, ["nld"], Listener()) as front:
        client = openai.OpenAI(base_url=f"{front.listener.url}/v1", api_key="any", max_retries=0, timeout=60)
        options = {"model": "nld", "prompt": PROMPT, "max_tokens": 12}
        answer = client.completions.create(**options, extra_body={"mode": "eagle3"}).model_dump()
        with pytest.raises(openai.BadRequestError, match=r"linear.*eagle3, ar"):
            client.completions.create(**options, extra_body={"mode": "linear"})
    assert answer["metrics"]["mode"] == "eagle3"


def test_a_repository_in_a_mode_that_the_engine_lacks_is_not_written(engine, tmp_path) -> None:
    settings = ServingSettings()
    settings = replace(settings, defaults=replace(settings.defaults, mode="linear"))
    with pytest.raises(InputError, match=r"linear.*eagle3, ar"):
        write_repository(engine, tmp_path / "repository", serving=settings)
    assert not (tmp_path / "repository").exists()
