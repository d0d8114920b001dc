# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The Ministral-3 export, loaded by the transformers library itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.errors import InputError
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.ministral3 import export_ministral3, ministral3_config
from nld_trt.model.names import stock_name

transformers = pytest.importorskip("transformers")

GOLDENS = Path(__file__).parents[1] / "goldens"
FOLDERS = ("tiny-a", "tiny-b")
CASES = [
    pytest.param(folder, case, id=case["id"])
    for folder in FOLDERS
    for case in json.loads((GOLDENS / folder / "cases.json").read_text(encoding="utf-8"))["cases"]
    if case["mode"] == "ar" and case["group"] == "core"
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    loaded = {}
    for folder in FOLDERS:
        target = tmp_path_factory.mktemp("export") / folder
        export_ministral3(Checkpoint.open(GOLDENS / folder), target)
        loaded[folder] = transformers.AutoModelForCausalLM.from_pretrained(target)
    return loaded


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_stock_class_loads_it(models: dict, folder: str) -> None:
    assert type(models[folder]).__name__ == "Ministral3ForCausalLM"


@pytest.mark.parametrize("folder", FOLDERS)
def test_rotary_magnitude_is_exactly_one(models: dict, folder: str) -> None:
    assert models[folder].model.rotary_emb.attention_scaling == 1.0


@pytest.mark.parametrize("folder", FOLDERS)
def test_rotary_frequencies_are_ours(models: dict, folder: str) -> None:
    config = Checkpoint.open(GOLDENS / folder).config
    theirs = models[folder].model.rotary_emb.inv_freq.numpy()
    np.testing.assert_allclose(theirs, rotary.inverse_frequencies(config.rope, config.head_dim), rtol=1e-6)


@pytest.mark.parametrize("folder", FOLDERS)
def test_head_is_not_the_embedding(models: dict, folder: str) -> None:
    model = models[folder]
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("folder", FOLDERS)
def test_token_ids_are_those_of_the_checkpoint(models: dict, folder: str) -> None:
    config = models[folder].config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 11, None)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["prefill0", "prefill1", "prefill2"])
@torch.no_grad()
def test_golden_prefill_logits(models: dict, folder: str, name: str) -> None:
    tensors = safetensors.torch.load_file(GOLDENS / folder / "forwards.safetensors")
    logits = models[folder](tensors[f"{name}.input_ids"]).logits
    torch.testing.assert_close(logits, tensors[f"{name}.logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("folder", "case"), CASES)
@torch.no_grad()
def test_golden_autoregressive_output(models: dict, folder: str, case: dict) -> None:
    tokens, output, cache = torch.tensor([case["prompt_ids"]]), [], None
    while len(output) < case["params"]["max_new_tokens"]:
        step = models[folder](tokens, past_key_values=cache, use_cache=True)
        output.append(int(step.logits[0, -1].argmax()))
        tokens, cache = torch.tensor([output[-1:]]), step.past_key_values
        if output[-1] == case["params"]["eos_token_id"]:
            break
    assert output == case["output_ids"]


@pytest.mark.parametrize("stated", [[11, 27], [27], 27, None], ids=str)
@torch.no_grad()
def test_transformers_stops_where_ar_does(release, tmp_path: Path, golden_session, stated: object) -> None:
    """The tokens that end an answer are those of the export, whichever of the two files names them."""
    prompt, session = [1, 73, 20], golden_session("tiny-a")
    endless = Request(tuple(prompt), "ar", max_new_tokens=40, eos_token_id=-1)
    ((_, result),) = generate(Batch(session), [endless])
    ours = result.output_ids
    found = {27: ours[12], 11: ours[30]}
    ids = [found[token] for token in stated] if isinstance(stated, list) else found.get(stated)
    release.edit_generation(eos_token_id=ids)
    if ids is None:
        (release.folder / "generation_config.json").unlink()
        release.edit_config(eos_token_id=[found[11], found[27]])
    checkpoint = Checkpoint.open(release.folder)
    export_ministral3(checkpoint, tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = model.generate(torch.tensor([prompt]), max_new_tokens=len(ours), do_sample=False)[
        0, len(prompt) :
    ].tolist()
    ends = checkpoint.config.eos_token_ids
    expected = ours[: next(place for place, token in enumerate(ours) if token in ends) + 1]
    assert tokens == expected
    ((_, result),) = generate(Batch(session), [replace(endless, eos_token_id=ends)])
    assert result.output_ids == expected
    assert len(expected) < len(ours)


def test_tensors_are_unchanged_under_their_new_names(release, tmp_path: Path) -> None:
    export_ministral3(Checkpoint.open(release.folder), tmp_path / "out")
    before, after = load_file(release.weights), load_file(tmp_path / "out" / "model.safetensors")
    assert {stock_name(name) for name in before} == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[stock_name(name)])


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("encoder.embed_tokens.weight", "model.embed_tokens.weight"),
        ("encoder.layers.7.mlp.up_proj.weight", "model.layers.7.mlp.up_proj.weight"),
        ("encoder.norm.weight", "model.norm.weight"),
        ("diffusion_head.weight", "lm_head.weight"),
    ],
)
def test_new_names(name: str, new: str) -> None:
    assert stock_name(name) == new


def test_magnitude_is_pinned_even_when_mscale_is_zero(release) -> None:
    release.edit_rope(mscale=0.0, mscale_all_dim=0.0)
    config = ministral3_config(Checkpoint.open(release.folder))
    assert config["rope_parameters"]["attention_factor"] == 1.0


@pytest.mark.parametrize("folder", FOLDERS)
def test_vllm_finds_magnitude_one_and_the_query_scale_where_it_looks(folder: str) -> None:
    """vLLM reads neither mscale nor the nested beta: by its rule the magnitude is one, and the scale that of here."""
    checkpoint = Checkpoint.open(GOLDENS / folder)
    config, rope = ministral3_config(checkpoint), checkpoint.config.rope
    parameters, scale = config["rope_parameters"], config["llama_4_scaling"]
    default = 1.0 if parameters["factor"] <= 1 else 0.1 * np.log(parameters["factor"]) + 1
    assert (default if parameters.get("apply_yarn_scaling", True) else 1.0) == 1.0
    positions = np.arange(4 * rope.original_max_position_embeddings)
    theirs = 1 + scale["beta"] * np.log(1 + np.floor(positions / scale["original_max_position_embeddings"]))
    np.testing.assert_allclose(theirs, rotary.query_scale(rope, positions), rtol=1e-6)


@pytest.mark.parametrize("folder", FOLDERS)
def test_transformers_finds_the_query_scale_where_it_looks(models: dict, folder: str) -> None:
    parameters = models[folder].config.rope_parameters
    rope = Checkpoint.open(GOLDENS / folder).config.rope
    assert parameters["llama_4_scaling_beta"] == rope.llama_4_scaling_beta
    assert parameters["original_max_position_embeddings"] == rope.original_max_position_embeddings


def test_keys_for_other_libraries_change_no_logit_of_transformers(models: dict, release, tmp_path: Path) -> None:
    target = tmp_path / "plain"
    export_ministral3(Checkpoint.open(release.folder), target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    del config["llama_4_scaling"], config["rope_parameters"]["apply_yarn_scaling"]
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokens = torch.arange(64)[None] % config["vocab_size"]
    with torch.no_grad():
        plain = transformers.AutoModelForCausalLM.from_pretrained(target)(tokens).logits
        torch.testing.assert_close(models["tiny-a"](tokens).logits, plain, atol=0, rtol=0)


def test_companions_are_copied_and_the_adapter_is_not(release, tmp_path: Path) -> None:
    summary = export_ministral3(Checkpoint.open(release.folder), tmp_path / "out")
    assert summary["adapter_left_out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_weights_that_are_not_finite_are_refused_and_nothing_is_left(release, tmp_path: Path) -> None:
    release.edit_tensors(lambda tensors: tensors["encoder.norm.weight"].fill(np.nan))
    with pytest.raises(InputError, match="64 NaN or infinite values"):
        export_ministral3(Checkpoint.open(release.folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_taken_output_folder_is_refused(release, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match="--force"):
        export_ministral3(Checkpoint.open(release.folder), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
