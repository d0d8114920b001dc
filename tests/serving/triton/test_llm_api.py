# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The repository for TensorRT-LLM: what is in it, and the contexts that it refuses. Its server cannot be run here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from nld_trt.cli import run
from nld_trt.errors import InputError
from nld_trt.model.head_order import as_halves
from nld_trt.model.ministral3 import export_ministral3
from nld_trt.model.safetensors_file import SafetensorsFile
from nld_trt.serving.triton.llm_api import write_llm_api_repository
from nld_trt.serving.triton.llm_api_readme import FILES
from nld_trt.serving.triton.model_config import parse_config
from nld_trt.serving.triton.repository import describe_repository, model_names


@pytest.fixture(scope="module")
def export(golden, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "ministral"
    export_ministral3(golden("nld-tiny"), folder)
    return folder


@pytest.fixture
def repository(export, tmp_path) -> Path:
    write_llm_api_repository(export, tmp_path / "r", command="nld-trt repo\nministral")
    return tmp_path / "r"


def test_config_leaves_to_the_container_s_model_what_that_sets(repository) -> None:
    text = (repository / "nld" / "config.pbtxt").read_text(encoding="utf-8")
    assert text.startswith("# Made by: nld-trt repo\n# ministral\n")
    assert "max_batch_size" not in text
    assert "decoupled" not in text
    config = parse_config(text, "config.pbtxt")
    assert (config.name, config.backend) == ("nld", "python")
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["text_input"]
    assert {"streaming", "sampling_param_max_tokens"} <= {tensor.name for tensor in config.input}
    assert {"text_output", "finish_reason"} <= {tensor.name for tensor in config.output}


def test_settings_name_the_checkpoint_in_the_container_and_its_longest_context(repository) -> None:
    settings = yaml.safe_load((repository / "nld" / "1" / "model.yaml").read_text(encoding="utf-8"))
    assert settings == {
        "model": "/models/nld/1/checkpoint", "backend": "pytorch", "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1, "max_seq_len": 1024, "triton_config": {"max_batch_size": 0, "decoupled": True},
    }  # fmt: skip


def test_checkpoint_is_a_dense_mistral_of_that_length(repository, export) -> None:
    folder = repository / "nld" / "1" / "checkpoint"
    assert (folder / "tokenizer.json").samefile(export / "tokenizer.json")
    assert {path.name for path in folder.iterdir()} == {path.name for path in export.iterdir()}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["architectures"], config["model_type"]) == (["MistralForCausalLM"], "mistral")
    assert (config["max_position_embeddings"], config["rope_theta"]) == (1024, 10000.0)
    # Both, because the quotient of the two is the magnitude of cos and sin, which is 1.
    assert (config["rope_scaling"]["mscale"], config["rope_scaling"]["mscale_all_dim"]) == (1.0, 1.0)
    assert "llama_4_scaling_beta" not in config["rope_scaling"]


@pytest.mark.slow
def test_dense_mistral_of_transformers_is_the_same_network_below_the_query_scale(
    export, engine, codec_ids, tmp_path
) -> None:
    """The configuration that TensorRT-LLM reads, read by another program that has the same class and rotates halves."""
    repository = tmp_path / "r"
    write_llm_api_repository(export, repository, rotary_layout="halves")
    weights = repository / "nld" / "1" / "checkpoint" / "model.safetensors"
    assert weights.samefile(export / "model.safetensors")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tests.near_ties import next_logits

    model = transformers.AutoModelForCausalLM.from_pretrained(
        repository / "nld" / "1" / "checkpoint", dtype=torch.float32
    )
    with torch.no_grad():
        found = model(torch.tensor([codec_ids])).logits[0, -1].numpy()
    expected = next_logits(engine("nld-tiny").open_session("ort", debug=True), codec_ids)
    assert abs(found - expected).max() < 1e-3


@pytest.fixture
def codec_ids(engine) -> list[int]:
    from nld_trt.model.text.codec import Codec

    codec = Codec.open(engine("nld-tiny").path)
    assert codec is not None
    return list(codec.encode("The lamp is green and the chair is red, " * 8))


def test_pairs_are_the_halves_of_a_program_that_rotates_neighbours(export, tmp_path) -> None:
    write_llm_api_repository(export, tmp_path / "r")
    before, after = (
        SafetensorsFile.open(folder / "model.safetensors")
        for folder in (export, tmp_path / "r" / "nld" / "1" / "checkpoint")
    )
    assert list(before.tensors) == list(after.tensors)
    for name in before.tensors:
        old, new = before.read(name), after.read(name)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            assert (new[:32][0::2] == old[:16]).all()
            assert (new[:32][1::2] == old[16:32]).all()
            assert (as_halves(new, 32) == old).all()
        else:
            assert (new == old).all()


def test_readme_says_what_to_take_and_what_was_not_verified(repository) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert "**Not verified.** Nothing of TensorRT-LLM was run" in text
    for file in FILES:
        assert f"/{file} > nld/1/{file}" in text
        assert not (repository / "nld" / "1" / file).exists()
    assert "nld-trt check-server http://localhost:8100 --engine" in text
    assert (
        'rotation of halves, with heads stored as pairs", write the repository again with `--rotary-layout halves`'
        in text
    )
    assert "at most 1,024\ntokens" in text


def test_longer_contexts_are_refused_with_the_reason(export, tmp_path) -> None:
    with pytest.raises(InputError, match=r"positions from 1024 on wrong: .* has no query scale") as caught:
        write_llm_api_repository(export, tmp_path / "r", max_seq_len=1025)
    assert "--max-seq-len 1024" in str(caught.value)
    assert not (tmp_path / "r").exists()
    assert write_llm_api_repository(export, tmp_path / "r", max_seq_len=1024)["max_seq_len"] == 1024


def test_released_sizes_are_served_up_to_16384_and_by_default_to_less(export, tmp_path) -> None:
    released = tmp_path / "released"
    shutil.copytree(export, released)
    config = json.loads((released / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = 262144
    config["rope_parameters"]["original_max_position_embeddings"] = 16384
    (released / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert write_llm_api_repository(released, tmp_path / "a")["max_seq_len"] == 4096
    assert write_llm_api_repository(released, tmp_path / "b", max_seq_len=16384)["max_seq_len"] == 16384
    with pytest.raises(InputError, match="positions from 16384 on wrong"):
        write_llm_api_repository(released, tmp_path / "c", max_seq_len=16385)


def test_it_is_not_for_our_own_server(repository) -> None:
    for use in (model_names, describe_repository):
        with pytest.raises(InputError, match="for TensorRT-LLM's container") as caught:
            use(repository)
        assert str(repository / "README.md") in str(caught.value)


def test_command_writes_it_and_refuses_what_has_no_meaning(export, served_engine, tmp_path, capsys) -> None:
    target = str(tmp_path / "r")
    arguments = ["repo", str(export), "-o", target, "--serve-with", "tensorrt-llm"]
    assert run([*arguments, "--mode", "linear"]) == 2
    assert "--mode has no meaning with --serve-with tensorrt-llm" in capsys.readouterr().err
    assert run(["repo", str(served_engine.path), "-o", target, "--max-seq-len", "64"]) == 2
    assert run(["repo", str(served_engine.path), "-o", target, "--serve-with", "tensorrt-llm"]) == 2
    assert "convert CHECKPOINT -o DIR --to ministral3" in capsys.readouterr().err
    assert run([*arguments, "--json", "--max-seq-len", "512"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["max_seq_len"] == 512
    assert "warning: Nothing of TensorRT-LLM was run" in err
    assert run([*arguments, "--force"]) == 0
