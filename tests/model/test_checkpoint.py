# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Opening checkpoint folders: single file, shards, Hugging Face cache, and everything that is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert

Q_PROJ = "encoder.layers.0.self_attn.q_proj.weight"
NORM = "encoder.norm.weight"


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    return str(caught.value)


def assert_same_tensors(checkpoint: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    assert set(checkpoint.names) == set(expected)
    for name in checkpoint.names:
        np.testing.assert_array_equal(checkpoint.read(name), expected[name])


def test_single_file_is_read(release) -> None:
    assert_same_tensors(Checkpoint.open(release.folder), load_file(release.weights))


def test_shards_are_read_by_their_index(release) -> None:
    expected = load_file(release.weights)
    release.shard()
    assert_same_tensors(Checkpoint.open(release.folder), expected)


def test_names_are_in_canonical_order(release) -> None:
    names = Checkpoint.open(release.folder).names
    assert (names[0], names[1]) == ("encoder.embed_tokens.weight", "encoder.layers.0.input_layernorm.weight")
    assert names[-2:] == (NORM, "diffusion_head.weight")


def test_dtype_and_shape_come_from_the_header(release) -> None:
    release.edit_tensors(lambda tensors: tensors.update({NORM: tensors[NORM].astype(np.float16)}))
    checkpoint = Checkpoint.open(release.folder)
    assert (checkpoint.dtype_of(NORM), checkpoint.shape_of(NORM)) == ("F16", (64,))
    assert checkpoint.dtype_of(Q_PROJ) == "F32"


def test_companions_are_those_that_exist(release) -> None:
    names = [path.name for path in Checkpoint.open(release.folder).companions()]
    assert names == ["tokenizer.json", "chat_template.jinja", "generation_config.json"]


def test_rotary_buffers_are_ignored(release) -> None:
    buffer = {"encoder.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(8, np.float32)}
    release.edit_tensors(lambda tensors: tensors.update(buffer))
    assert len(Checkpoint.open(release.folder).names) == 21


def test_release_has_no_manifest(release) -> None:
    assert Checkpoint.open(release.folder).manifest is None


def test_hugging_face_cache_is_accepted(release, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--owner--name"
    snapshot = cache / "snapshots" / "0123abc"
    (cache / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in release.folder.rglob("*") if path.is_file())):
        blob = cache / "blobs" / str(number)
        path.rename(blob)
        link = snapshot / path.relative_to(release.folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path("../" * len(link.relative_to(cache).parent.parts)) / "blobs" / str(number))
    checkpoint = Checkpoint.open(snapshot)
    assert checkpoint.adapter is not None
    assert len(checkpoint.companions()) == 3


def test_folder_of_links_into_a_hugging_face_cache_is_accepted(release, tmp_path: Path) -> None:
    blobs, folder = tmp_path / "hub" / "models--owner--name" / "blobs", tmp_path / "mine"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in release.folder.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        link = folder / path.relative_to(release.folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(number))
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.adapter is not None
    assert len(checkpoint.companions()) == 3


# Refused: what is missing, extra, mis-shaped or of the wrong dtype


def test_missing_tensors_are_all_listed(release) -> None:
    release.edit_tensors(lambda tensors: [tensors.pop(name) for name in (Q_PROJ, NORM)])
    text = refusal(release.folder)
    assert f"missing: {Q_PROJ} [64, 64]" in text
    assert f"missing: {NORM} [64]" in text


def test_extra_tensors_are_all_listed(release) -> None:
    extra = {"encoder.layers.2.mlp.up_proj.weight": np.zeros(1), "encoder.norm.bias": np.zeros(1)}
    release.edit_tensors(lambda tensors: tensors.update(extra))
    text = refusal(release.folder)
    assert all(f"unexpected: {name}" in text for name in extra)


def test_misshaped_tensors_are_all_listed(release) -> None:
    wrong = {Q_PROJ: np.zeros((64, 32), np.float32), NORM: np.zeros(65, np.float32)}
    release.edit_tensors(lambda tensors: tensors.update(wrong))
    text = refusal(release.folder)
    assert f"{Q_PROJ} is [64, 32]; [64, 64] was expected" in text
    assert f"{NORM} is [65]; [64] was expected" in text


def test_faults_of_different_kinds_are_listed_together(release) -> None:
    def edit(tensors: dict) -> None:
        del tensors[Q_PROJ]
        tensors["encoder.norm.bias"] = np.zeros(1)
        tensors[NORM] = np.zeros(64, np.int32)

    release.edit_tensors(edit)
    text = refusal(release.folder)
    assert f"missing: {Q_PROJ}" in text
    assert "unexpected: encoder.norm.bias" in text
    assert f"{NORM} is I32; supported: BF16, F16, F32" in text


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        ("language_model.", "a Ministral-3 source checkpoint"),
        ("encoder.vision_tower.", "a model that also reads images"),
    ],
)
def test_names_of_another_model_are_explained(release, prefix: str, kind: str) -> None:
    def edit(tensors: dict) -> None:
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)

    release.edit_tensors(edit)
    assert f"Names that begin with {prefix!r} mean {kind}" in refusal(release.folder)


def test_adapter_that_was_not_merged_is_explained(release) -> None:
    factor = {"encoder.layers.0.mlp.up_proj.lora_A.weight": np.zeros((4, 64), np.float32)}
    release.edit_tensors(lambda tensors: tensors.update(factor))
    text = refusal(release.folder)
    assert f"unexpected: {next(iter(factor))}" in text
    assert "merge it" in text


def test_long_lists_of_faults_are_cut_and_keep_every_kind(release) -> None:
    def edit(tensors: dict) -> None:
        for name in list(tensors):
            tensors[f"other.{name}"] = tensors.pop(name)
        tensors[NORM] = np.zeros(65, np.int32)

    release.edit_tensors(edit)
    text = refusal(release.folder)
    assert len(text.splitlines()) <= 20
    assert "missing: encoder.embed_tokens.weight" in text
    assert "unexpected: other." in text
    assert text.count("more such lines") == 2
    assert f"{NORM} is [65]; [64] was expected" in text
    assert f"{NORM} is I32" in text


# Refused: heads that are said to be tied


def test_tied_flag_with_a_different_head_is_refused(release) -> None:
    release.edit_config(tie_word_embeddings=True)
    assert "diffusion_head.weight differs from encoder.embed_tokens.weight" in refusal(release.folder)


def test_tied_flag_with_an_equal_head_is_accepted(release) -> None:
    release.edit_config(tie_word_embeddings=True)
    release.edit_tensors(
        lambda tensors: tensors.update({"diffusion_head.weight": tensors["encoder.embed_tokens.weight"]})
    )
    assert Checkpoint.open(release.folder).config.tie_word_embeddings


def test_tied_flag_without_a_head_takes_the_embedding_and_says_so(release) -> None:
    release.edit_config(tie_word_embeddings=True)
    release.edit_tensors(lambda tensors: tensors.pop("diffusion_head.weight"))
    checkpoint = Checkpoint.open(release.folder)
    embedding = checkpoint.read("encoder.embed_tokens.weight")
    np.testing.assert_array_equal(checkpoint.read("diffusion_head.weight"), embedding)
    assert any("diffusion_head.weight is not stored" in line for line in checkpoint.notes)


def test_missing_head_that_is_not_said_to_be_tied_is_refused(release) -> None:
    release.edit_tensors(lambda tensors: tensors.pop("diffusion_head.weight"))
    assert "missing: diffusion_head.weight" in refusal(release.folder)


# Refused: folders that are something else


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent")


def test_file_instead_of_folder_is_refused(release) -> None:
    assert "is a file" in refusal(release.weights)


@pytest.mark.parametrize(
    ("marker", "hint"),
    [("engine.json", "engine folder"), ("adapter_config.json", "adapter folder"), ("snapshots", "snapshots/REVISION")],
)
def test_other_folder_is_recognised(tmp_path: Path, marker: str, hint: str) -> None:
    (tmp_path / marker).mkdir()
    assert hint in refusal(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_pickled_weights_are_refused(release, name: str) -> None:
    release.weights.unlink()
    (release.folder / name).write_bytes(pickle.dumps({}))
    text = refusal(release.folder)
    assert f"pickled weights only ({name})" in text
    assert "weights_only=True" in text


def test_pickles_beside_safetensors_are_ignored(release) -> None:
    (release.folder / "training_args.bin").write_bytes(pickle.dumps({}))
    Checkpoint.open(release.folder)


def test_folder_without_weights_is_refused(release) -> None:
    release.weights.unlink()
    assert "has no weights" in refusal(release.folder)


def test_quantization_by_another_method_is_refused(release) -> None:
    release.edit_config(quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantized with 'gptq'" in refusal(release.folder)


def test_quantized_config_over_unquantized_weights_is_refused(release) -> None:
    release.edit_config(quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"})
    text = refusal(release.folder)
    assert f"{Q_PROJ} is BF16; supported: F8_E4M3" in text or f"{Q_PROJ} is F32; supported: F8_E4M3" in text
    assert "weight_scale" in text


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_damaged_config_is_refused(release, text: str) -> None:
    (release.folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in refusal(release.folder)


def test_truncated_weights_are_refused(release) -> None:
    release.weights.write_bytes(release.weights.read_bytes()[:-100])
    assert "is damaged" in refusal(release.folder)


# Refused: an index that lies or leads away


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/outside.safetensors", "a/../../b.safetensors"])
def test_index_that_leaves_the_folder_is_refused(release, shard: str) -> None:
    index = release.shard()
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"][NORM] = shard
    index.write_text(json.dumps(content), encoding="utf-8")
    assert "is not a path inside" in refusal(release.folder)


def test_index_that_names_a_pickle_is_refused(release) -> None:
    index = release.shard()
    index.write_text(json.dumps({"weight_map": {NORM: "pytorch_model.bin"}}), encoding="utf-8")
    assert "not safetensors: pytorch_model.bin" in refusal(release.folder)


@pytest.mark.parametrize("weight_map", [None, [], {NORM: 3}])
def test_index_without_a_weight_map_is_refused(release, weight_map: object) -> None:
    release.shard().write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    assert "no weight_map" in refusal(release.folder)


def test_missing_shards_are_all_listed(release) -> None:
    release.shard()
    shards = sorted(release.folder.glob("model-*.safetensors"))[:2]
    for path in shards:
        path.unlink()
    text = refusal(release.folder)
    assert "lacks 2 of the 3 files" in text
    assert all(path.name in text for path in shards)


def test_tensor_in_another_shard_than_indexed_is_refused(release) -> None:
    index = release.shard()
    content = json.loads(index.read_text(encoding="utf-8"))
    there = content["weight_map"][NORM]
    other = next(shard for shard in content["weight_map"].values() if shard != there)
    content["weight_map"][NORM] = other
    index.write_text(json.dumps(content), encoding="utf-8")
    assert f"{NORM} is in {there}, and {index.name} says {other}" in refusal(release.folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "linear_spec_lora"])
def test_link_that_leaves_the_folder_is_refused(release, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (release.folder / name).rename(outside)
    (release.folder / name).symlink_to(outside)
    assert "is a link that leaves its folder" in refusal(release.folder)


def test_companion_link_that_leaves_the_folder_is_refused(release, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}", encoding="utf-8")
    (release.folder / "tokenizer.json").unlink()
    (release.folder / "tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leaves its folder"):
        Checkpoint.open(release.folder).companions()


# Converted folders


@pytest.fixture
def converted(release, tmp_path: Path) -> Path:
    convert(release.folder, tmp_path / "converted")
    return tmp_path / "converted"


def converted_refusal(folder: Path, *, verify: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open_converted(folder, verify=verify)
    return str(caught.value)


def test_release_is_sent_to_convert(release) -> None:
    assert f"nld-trt convert {release.folder} -o DIR" in converted_refusal(release.folder)


def test_converted_folder_opens_with_its_manifest(converted: Path) -> None:
    checkpoint = Checkpoint.open_converted(converted, verify=True)
    assert checkpoint.manifest is not None
    assert checkpoint.manifest["geometry"]["hidden_size"] == 64


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_other_schema_version_is_refused(converted: Path, version: object) -> None:
    path = converted / "checkpoint.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), "schema_version": version}), encoding="utf-8"
    )
    assert f"schema version {version!r}; nld-trt " in converted_refusal(converted)


def test_manifest_without_files_is_refused(converted: Path) -> None:
    (converted / "checkpoint.json").write_text(json.dumps({"schema_version": 1}), encoding="utf-8")
    assert "lists no files" in converted_refusal(converted)


def test_changed_sizes_and_missing_files_are_all_listed(converted: Path) -> None:
    (converted / "tokenizer.json").unlink()
    with (converted / "config.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    text = converted_refusal(converted)
    assert "tokenizer.json is missing" in text
    assert "config.json has " in text


def test_changed_content_is_found_when_verifying(converted: Path) -> None:
    path = converted / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    Checkpoint.open_converted(converted)
    assert "model.safetensors has another SHA-256" in converted_refusal(converted, verify=True)


def test_manifest_that_leads_away_is_refused(converted: Path) -> None:
    path = converted / "checkpoint.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../release/config.json"] = {"bytes": 1, "sha256": ""}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "is not a path inside" in converted_refusal(converted)
