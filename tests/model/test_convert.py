# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Converting: what is written, what is dropped, what is refused, and how much memory it takes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file

from nld_trt.errors import InputError, OperationError
from nld_trt.files import sha256_of
from nld_trt.model import convert as convert_module
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.text.codec import Codec
from tests.recorded_progress import Recorded

NORM = "encoder.norm.weight"
Q_PROJ = "encoder.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "converted"


def refusal(release, target: Path) -> str:
    """The message of a conversion that must fail and leave nothing behind."""
    before = sorted(target.parent.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        convert(release.folder, target)
    assert sorted(target.parent.parent.rglob("*")) == before
    return str(caught.value)


def test_tensors_are_unchanged(release, target: Path) -> None:
    convert(release.folder, target)
    before, after = load_file(release.weights), load_file(target / "model.safetensors")
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_dtypes_are_kept(release, target: Path) -> None:
    tensors = safetensors.torch.load_file(release.weights)
    mixed = {name: tensor.bfloat16() if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
    mixed[NORM] = mixed[NORM].half()
    safetensors.torch.save_file(mixed, release.weights)
    manifest = convert(release.folder, target)
    written = safetensors.torch.load_file(target / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in written.items()} == {n: t.dtype for n, t in mixed.items()}
    assert manifest["dtypes"] == {"BF16": 16, "F32": 4, "F16": 1}


def test_config_is_kept_byte_for_byte(release, target: Path) -> None:
    release.edit_config(invented_key=[1, 2])
    convert(release.folder, target)
    assert (target / "config.json").read_bytes() == (release.folder / "config.json").read_bytes()


def test_companions_are_copied_and_nothing_else(release, target: Path) -> None:
    (release.folder / "modeling_remote.py").write_text("", encoding="utf-8")
    convert(release.folder, target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {
        "chat_template.jinja",
        "checkpoint.json",
        "config.json",
        "generation_config.json",
        "linear_spec_lora/adapter_config.json",
        "linear_spec_lora/adapter_model.safetensors",
        "model.safetensors",
        "tokenizer.json",
    }


def test_templates_of_several_names_come_along(release, target: Path) -> None:
    extra = release.folder / "additional_chat_templates"
    extra.mkdir()
    (extra / "rag.jinja").write_text("{{ documents }}", encoding="utf-8")
    manifest = convert(release.folder, target)
    assert (target / "additional_chat_templates" / "rag.jinja").read_text(encoding="utf-8") == "{{ documents }}"
    assert "additional_chat_templates/rag.jinja" in manifest["files"]
    assert sorted(Codec.open(target).templates) == ["default", "rag"]


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "generation_config.json"])
def test_a_byte_order_mark_is_not_taken_along(release, target: Path, name: str) -> None:
    before = (release.folder / name).read_bytes()
    (release.folder / name).write_bytes(b"\xef\xbb\xbf" + before)
    convert(release.folder, target)
    assert (target / name).read_bytes() == before


def test_rotary_buffers_are_dropped(release, target: Path) -> None:
    buffer = {"encoder.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(8, np.float32)}
    release.edit_tensors(lambda tensors: tensors.update(buffer))
    convert(release.folder, target)
    assert len(load_file(target / "model.safetensors")) == 21


def test_adapter_becomes_float32_with_canonical_names(release, target: Path) -> None:
    def edit(tensors: dict) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("base_model.model.")] = tensors.pop(name).astype(np.float16)

    release.edit_adapter(edit)
    convert(release.folder, target)
    written = load_file(target / "linear_spec_lora" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {np.dtype(np.float32)}
    assert all(name.startswith("base_model.model.encoder.layers.") for name in written)


def test_checkpoint_without_adapter_converts(release, target: Path) -> None:
    shutil.rmtree(release.adapter)
    assert convert(release.folder, target)["adapter"] is None
    assert Checkpoint.open_converted(target).adapter is None


def test_converting_twice_gives_the_same_bytes(release, target: Path, tmp_path: Path) -> None:
    first = convert(release.folder, target)
    second = convert(target, tmp_path / "again")
    assert second["files"] == first["files"]


# The manifest


def test_manifest_hashes_and_sizes_are_those_of_the_files(release, target: Path) -> None:
    manifest = convert(release.folder, target)
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": (target / name).stat().st_size, "sha256": sha256_of(target / name)}
    assert len(manifest["files"]) == 7


def test_returned_manifest_is_the_written_one(release, target: Path) -> None:
    assert convert(release.folder, target) == json.loads((target / "checkpoint.json").read_text(encoding="utf-8"))


def test_manifest_names_the_rotary_table(release, target: Path) -> None:
    config = Checkpoint.open(release.folder).config
    manifest = convert(release.folder, target)
    assert manifest["rope"]["table_sha256"] == rotary.table_hash(config.rope, config.head_dim)


def test_manifest_describes_model_and_adapter(release, target: Path) -> None:
    manifest = convert(release.folder, target)
    assert manifest["parameters"] == sum(tensor.size for tensor in load_file(release.weights).values())
    assert manifest["adapter"] == {"rank": 4, "alpha": 16.0, "scale": 4.0, "parameters": 1024}
    assert manifest["token_ids"] == {"bos_token_id": 1, "eos_token_id": 11, "mask_token_id": 100}


def test_manifest_tells_no_path(release, target: Path, tmp_path: Path) -> None:
    convert(release.folder, target)
    assert str(tmp_path) not in (target / "checkpoint.json").read_text(encoding="utf-8")


def test_manifest_names_repository_and_revision_of_a_cache(release, target: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--a-model" / "snapshots" / "0123abc"
    snapshot.parent.mkdir(parents=True)
    release.folder.rename(snapshot)
    source = convert(snapshot, target)["source"]
    assert source == {"folder": "0123abc", "repository": "owner/a-model", "revision": "0123abc"}


def test_identity_does_not_depend_on_sharding_or_companions(release, target: Path, tmp_path: Path) -> None:
    first = convert(release.folder, target)
    release.shard()
    (release.folder / "tokenizer.json").unlink()
    second = convert(release.folder, tmp_path / "again")
    assert second["model_sha256"] == first["model_sha256"]


@pytest.mark.parametrize("part", ["weights", "rope", "adapter", "eos"])
def test_identity_depends_on_what_is_computed(release, target: Path, tmp_path: Path, part: str) -> None:
    first = convert(release.folder, target)
    edits = {
        "weights": lambda: release.edit_tensors(lambda tensors: tensors[NORM].__iadd__(1)),
        "rope": lambda: release.edit_rope(rope_theta=1e9),
        "adapter": lambda: release.edit_adapter_config(lora_alpha=8),
        "eos": lambda: release.edit_generation(eos_token_id=[11, 2]),
    }
    edits[part]()
    assert convert(release.folder, tmp_path / "again")["model_sha256"] != first["model_sha256"]


# Refused, and nothing is left behind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", "tokenizer.json cannot be read"),
        ("tokenizer.json", b"\xe9", "tokenizer.json is not UTF-8"),
        ("chat_template.jinja", b"{% if", "chat_template.jinja is not a template"),
        ("chat_template.jinja", b"\xe9", "chat_template.jinja is not UTF-8"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"9": {"content": "<new>"}}}', "'<new>' has the id 256"),
    ],
)
def test_text_files_that_cannot_be_used_are_refused_by_name(
    release, target: Path, name: str, content: bytes, message: str
) -> None:
    (release.folder / name).write_bytes(content)
    assert message in refusal(release, target)


@pytest.mark.parametrize("value", [5, [1], {"default": 2}])
def test_a_template_of_the_settings_that_is_no_text_is_refused(release, target: Path, value: object) -> None:
    (release.folder / "chat_template.jinja").unlink()
    (release.folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}), encoding="utf-8")
    assert "tokenizer_config.json" in refusal(release, target)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_all_listed(release, target: Path, dtype: type, value: float) -> None:
    tensors = {name: torch.from_numpy(tensor) for name, tensor in load_file(release.weights).items()}
    kind = {np.float32: torch.float32, np.float16: torch.float16}.get(dtype, torch.bfloat16)
    tensors = {name: tensor.to(kind) for name, tensor in tensors.items()}
    tensors[Q_PROJ][3, 5] = tensors[NORM][0] = tensors[NORM][1] = value
    safetensors.torch.save_file(tensors, release.weights)
    text = refusal(release, target)
    assert f"{Q_PROJ}: 1 NaN or infinite values" in text
    assert f"{NORM}: 2 NaN or infinite values" in text


def test_adapter_that_is_not_finite_is_listed_with_the_weights(release, target: Path) -> None:
    name = "base_model.model.encoder.layers.1.self_attn.o_proj.lora_B.weight"
    release.edit_adapter(lambda tensors: tensors[name].fill(np.nan))
    release.edit_tensors(lambda tensors: tensors[NORM].fill(np.inf))
    text = refusal(release, target)
    assert f"{name}: 256 NaN or infinite values" in text
    assert f"{NORM}: 64 NaN or infinite values" in text


def test_largest_finite_values_pass(release, target: Path) -> None:
    release.edit_tensors(lambda tensors: tensors[NORM].fill(np.finfo(np.float32).max))
    convert(release.folder, target)


@pytest.mark.parametrize(
    "damage",
    [
        lambda release: release.edit_config(mask_token_id=-1),
        lambda release: release.edit_config(mask_token_id=256),
        lambda release: release.edit_rope(rope_type="linear"),
        lambda release: release.edit_rope(mscale_all_dim=0.0),
        lambda release: release.edit_config(tie_word_embeddings=True),
        lambda release: release.edit_tensors(lambda tensors: tensors.pop(NORM)),
        lambda release: release.edit_adapter_config(target_modules=["q_proj"]),
        lambda release: (release.adapter / "adapter_config.json").unlink(),
        lambda release: release.weights.write_bytes(release.weights.read_bytes()[:-1]),
        lambda release: release.weights.rename(release.folder / "model.bin"),
    ],
    ids=[
        "mask -1",
        "mask 256",
        "rope",
        "magnitude",
        "tied",
        "tensor",
        "modules",
        "adapter file",
        "truncated",
        "pickle",
    ],
)
def test_unusable_checkpoint_leaves_nothing_behind(release, target: Path, damage) -> None:
    damage(release)
    refusal(release, target)


def test_companion_that_leads_away_leaves_nothing_behind(release, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}", encoding="utf-8")
    (release.folder / "tokenizer_config.json").symlink_to(tmp_path / "secret")
    assert "leaves its folder" in refusal(release, target)


def test_taken_output_folder_is_refused_and_kept(release, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine", encoding="utf-8")
    assert "--force" in refusal(release, target)
    assert (target / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_force_replaces_an_earlier_conversion(release, target: Path) -> None:
    convert(release.folder, target)
    release.edit_config(bos_token_id=2)
    convert(release.folder, target, force=True)
    assert Checkpoint.open_converted(target, verify=True).config.bos_token_id == 2
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_force_does_not_replace_a_folder_of_another_kind(release, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"no checkpoint\.json"):
        convert(release.folder, target, force=True)
    assert (target / "mine.txt").exists()


@pytest.mark.parametrize("target", ["release", "."])
def test_output_over_the_input_is_refused(release, tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError, match="is or contains the checkpoint"):
        convert(release.folder, tmp_path / target, force=True)
    assert release.weights.exists()


def test_disk_that_is_too_small_is_refused_before_work(release, target: Path, monkeypatch) -> None:
    monkeypatch.setattr(convert_module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(OperationError, match="are needed"):
        convert(release.folder, target)
    assert not target.parent.exists()


def test_interrupt_leaves_nothing_behind(release, target: Path) -> None:
    interrupted = Recorded(interrupted_by=lambda text: text.startswith("hashing"))
    with pytest.raises(KeyboardInterrupt):
        convert(release.folder, target, progress=interrupted)
    assert not target.parent.exists()


# Memory

_SCRIPT = """
import re, sys
from pathlib import Path
from nld_trt.model.convert import convert
from nld_trt.model.synthetic import Geometry, write_synthetic

GEOMETRY = Geometry(1024, 4096, 8, 1e6, vocab_size=65536)
folder = Path(sys.argv[2])
if sys.argv[1] == "write":
    write_synthetic(GEOMETRY, folder / "release")
else:
    convert(folder / "release", folder / "converted")
# Not ru_maxrss: that survives exec, so it would be the size of the test process, which has torch loaded.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    peaks = {}
    for step in ("write", "convert"):
        run = subprocess.run(
            [sys.executable, "-c", _SCRIPT, step, str(tmp_path)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            encoding="utf-8",
        )
        peaks[step] = int(run.stdout.split()[-1])
    assert (tmp_path / "converted" / "model.safetensors").stat().st_size > 600e6
    assert max(peaks.values()) < 400e6, peaks
