# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Eagle3 heads: what is read and converted, and what is refused with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nld_trt.cli import run
from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from tests.eagle3_reference import DRAFT_VOCAB, LAYERS, random_head, save_head
from tests.stock_models import SIZES, edit_config, edit_tensors, make_stock


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target") / "release"
    return make_stock("qwen3", folder, num_hidden_layers=LAYERS), folder


@pytest.fixture
def head(target, tmp_path: Path) -> Path:
    return save_head(random_head(target[0]), tmp_path / "head")


def test_a_head_is_converted_with_its_target(target, head: Path, tmp_path: Path) -> None:
    manifest = convert(target[1], tmp_path / "out", draft=head)
    assert manifest["draft_head"]["layers"] == (2, 3, 4)
    checkpoint = Checkpoint.open_converted(tmp_path / "out", verify=True)
    assert checkpoint.draft_head is not None
    assert checkpoint.config.draft is not None
    assert checkpoint.draft_head.target_ids().tolist() == [4 * token for token in range(DRAFT_VOCAB)]
    stored = load_file(head / "model.safetensors")
    for name in checkpoint.draft_head.names:
        np.testing.assert_array_equal(checkpoint.draft_head.read(name), stored[name].numpy())
    assert ModelConfig.from_dict(json.loads(json.dumps(checkpoint.config.to_dict()))) == checkpoint.config
    assert checkpoint.config.cached_layers == LAYERS + 1


def test_a_converted_head_changes_what_a_checkpoint_is(target, head: Path, tmp_path: Path) -> None:
    """Two heads are two models, and no head is a third."""
    hashes = {convert(target[1], tmp_path / "one", draft=head)["model_sha256"]}
    edit_tensors(head, lambda tensors: tensors["norm.weight"].add_(1))
    hashes.add(convert(target[1], tmp_path / "two", draft=head)["model_sha256"])
    hashes.add(convert(target[1], tmp_path / "none")["model_sha256"])
    assert len(hashes) == 3


def test_names_of_other_tools_and_a_shared_embedding_are_read(target, head: Path, tmp_path: Path) -> None:
    model, release = target

    def rename(tensors) -> None:
        for name in [*tensors]:
            tensors[name.replace("midlayer.", "model.layers.0.")] = tensors.pop(name)
        tensors["embed_tokens.weight"] = model.get_input_embeddings().weight.detach().clone()

    edit_tensors(head, rename)
    manifest = convert(release, tmp_path / "out", draft=head)
    assert any("renamed, such as model.layers.0." in note for note in manifest["notes"])
    assert any("embed_tokens left out" in note for note in manifest["notes"])


def test_layers_that_the_head_states_are_read(target, head: Path, tmp_path: Path) -> None:
    edit_config(head, eagle_config={"eagle_aux_hidden_state_layer_ids": [1, 3, 6]})
    convert(target[1], tmp_path / "out", draft=head)
    assert Checkpoint.open_converted(tmp_path / "out").config.draft.layers == (1, 3, 6)


def test_a_vocabulary_that_is_the_targets_needs_no_table(target, head: Path, tmp_path: Path) -> None:
    def widen(tensors) -> None:
        del tensors["d2t"], tensors["t2d"]
        tensors["lm_head.weight"] = torch.randn(SIZES["vocab_size"], SIZES["hidden_size"])

    edit_tensors(head, widen)
    edit_config(head, draft_vocab_size=SIZES["vocab_size"])
    convert(target[1], tmp_path / "out", draft=head)
    found = Checkpoint.open_converted(tmp_path / "out").draft_head
    assert found.target_ids().tolist() == [*range(SIZES["vocab_size"])]


CONFIGS = {
    "hidden size": ({"hidden_size": 128}, "hidden_size is 128, and 64 in the target"),
    "vocabulary": ({"vocab_size": 512}, "vocab_size is 512, and 384 in the target"),
    "draft vocabulary": ({"draft_vocab_size": 400}, "draft_vocab_size is 400, more than the 384"),
    "key heads": ({"num_key_value_heads": 4}, "num_key_value_heads is 4, and 2 in the target"),
    "layers": ({"num_hidden_layers": 2}, "num_hidden_layers is 2; an Eagle3 head has 1"),
    "experts": ({"num_local_experts": 8}, "mixture of experts"),
    "rotary": ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling is"),
    "read layers": ({"eagle_aux_hidden_state_layer_ids": [2, 9, 30]}, "2, 9, 30.*from 0 to 6"),
    "bias": ({"attention_bias": True}, "attention_bias is True"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_head_for_another_target_is_refused(target, head: Path, tmp_path: Path, name: str) -> None:
    changes, message = CONFIGS[name]
    edit_config(head, **changes)
    with pytest.raises(InputError, match=f"(?s)not for this target.*{message}"):
        convert(target[1], tmp_path / "out", draft=head)
    assert not (tmp_path / "out").exists()


def _shift(tensors) -> None:
    tensors["d2t"] = tensors["d2t"] + 1000


def _repeat(tensors) -> None:
    tensors["d2t"][1] = -1


def _narrow(tensors) -> None:
    tensors["fc.weight"] = tensors["fc.weight"][:, :128].contiguous()


def _spoil(tensors) -> None:
    tensors["fc.weight"][3, 4] = float("nan")


def _embed(tensors) -> None:
    tensors["embed_tokens.weight"] = torch.randn(SIZES["vocab_size"], SIZES["hidden_size"])


TENSORS = {
    "no d2t": (lambda tensors: tensors.pop("d2t"), r"missing: d2t \[96\]"),
    "d2t beyond the vocabulary": (_shift, "d2t leads to token 1380; the target has 384"),
    "d2t to one token twice": (_repeat, "d2t leads to one token twice"),
    "t2d of other tokens": (lambda tensors: tensors["t2d"].fill_(True), "t2d and d2t are not of the same"),
    "no norm": (lambda tensors: tensors.pop("midlayer.hidden_norm.weight"), "missing: midlayer.hidden_norm.weight"),
    "fc over two layers": (_narrow, r"fc.weight is \[64, 128\]; \[64, 192\]"),
    "a second layer": (lambda tensors: tensors.update({"extra.weight": torch.ones(2)}), "unexpected: extra.weight"),
    "NaN": (_spoil, "eagle3: fc.weight: 1 NaN"),
    "another embedding": (_embed, "has an embedding of its own"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_head_with_other_tensors_is_refused(target, head: Path, tmp_path: Path, name: str) -> None:
    edit, message = TENSORS[name]
    edit_tensors(head, edit)
    with pytest.raises(InputError, match=f"(?s){message}"):
        convert(target[1], tmp_path / "out", draft=head)
    assert not (tmp_path / "out").exists()


def test_a_head_for_a_family_that_takes_none_is_refused(head: Path, tmp_path: Path) -> None:
    make_stock("mistral", tmp_path / "release", num_hidden_layers=LAYERS)
    with pytest.raises(InputError, match=r"Mistral; heads are supported for Qwen3"):
        convert(tmp_path / "release", tmp_path / "out", draft=head)


def test_a_target_with_too_few_layers_is_refused(head: Path, tmp_path: Path) -> None:
    make_stock("qwen3", tmp_path / "release", num_hidden_layers=4)
    with pytest.raises(InputError, match=r"layers 2, 2, 1; they must be three layers of the target's 4"):
        convert(tmp_path / "release", tmp_path / "out", draft=head)


def test_pickled_weights_are_refused_with_what_converts_them(target, head: Path, tmp_path: Path) -> None:
    (head / "model.safetensors").rename(head / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"(?s)pickled weights only.*save_file"):
        convert(target[1], tmp_path / "out", draft=head)


def test_the_command_exits_with_2_and_leaves_nothing(target, head: Path, tmp_path: Path, capsys) -> None:
    save_file({"fc.weight": torch.ones(2, 2)}, head / "model.safetensors")
    arguments = ["convert", str(target[1]), "-o", str(tmp_path / "out"), "--draft", str(head)]
    assert run(arguments) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_tells_of_the_head(target, head: Path, tmp_path: Path, capsys) -> None:
    arguments = ["convert", str(target[1]), "-o", str(tmp_path / "out"), "--draft", str(head), "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["draft_head"]["vocab_size"] == DRAFT_VOCAB


@pytest.mark.slow
def test_a_quantized_checkpoint_has_the_head_as_it_was(target, head: Path, tmp_path: Path) -> None:
    pytest.importorskip("modelopt", reason="ModelOpt is not installed")
    convert(target[1], tmp_path / "out", draft=head)
    assert run(["quantize", str(tmp_path / "out"), "-o", str(tmp_path / "int4"), "--qformat", "int4_rtn"]) == 0
    before, after = (Checkpoint.open_converted(tmp_path / name).draft_head for name in ("out", "int4"))
    for name in before.names:
        np.testing.assert_array_equal(after.read(name), before.read(name))
