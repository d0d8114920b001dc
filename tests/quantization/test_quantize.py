# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quantizing a whole checkpoint: what comes out, and what is left behind when it does not."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nld_trt.errors import InputError, OperationError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import linear_modules
from nld_trt.model.quantized.audit import audit
from nld_trt.quantization.calibration import TEXT_ONLY
from nld_trt.quantization.workplace import Workplace
from tests.quantized_checkpoint import effective
from tests.recorded_progress import Recorded

from .conftest import planned, run

CALIBRATED = ("int4_awq", "fp8")
FORMATS = ("fp8", "fp8_pc_pt", "int4_awq", "int4_rtn", "w4a16_nvfp4")
BITS = {"fp8": 8, "fp8_pc_pt": 8, "int4_awq": 4, "int4_rtn": 4, "w4a16_nvfp4": 4}


def digests(folder: Path) -> dict[str, str]:
    """Of every file but the manifest, which says when and with how much memory it was made."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "checkpoint.json"
    }


def leftovers(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir() if path != target]


@pytest.mark.parametrize("name", FORMATS)
def test_result_opens_and_passes_its_audit(quantized, name: str) -> None:
    checkpoint = Checkpoint.open_converted(quantized(name), verify=True)
    found = audit(checkpoint, head=False)
    assert not found.problems
    quantized = [linear for linear in found.linears if linear.algorithm]
    assert len(quantized) == len(found.linears) - 1
    assert all(BITS[name] <= linear.bits_per_weight <= BITS[name] + 1.1 for linear in quantized)


@pytest.mark.parametrize("name", FORMATS)
def test_every_weight_stays_near_the_one_it_stands_for(quantized, tiny, name: str) -> None:
    checkpoint = Checkpoint.open_converted(quantized(name))
    for module in checkpoint.formats:
        weight = tiny.read(f"{module}.weight").astype(np.float32)
        if module.endswith(("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")):
            norm = "input_layernorm" if "self_attn" in module else "post_attention_layernorm"
            name_of_norm = f"{module.split('.self_attn')[0].split('.mlp')[0]}.{norm}.weight"
            before, after = (one.read(name_of_norm).astype(np.float32) for one in (tiny, checkpoint))
            weight = weight * before / after
        error = effective(checkpoint.read_quantized(module)) - weight
        assert np.sqrt(np.square(error).mean() / np.square(weight).mean()) < 0.2


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_quantized_is_copied_bit_by_bit(quantized, tiny, name: str) -> None:
    checkpoint = Checkpoint.open_converted(quantized(name))
    kept = [tensor for tensor in tiny.names if tensor.removesuffix(".weight") not in checkpoint.formats]
    changed = [tensor for tensor in kept if tiny.read(tensor).tobytes() != checkpoint.read(tensor).tobytes()]
    folded = [tensor for tensor in kept if "layernorm" in tensor] if name == "int4_awq" else []
    assert set(changed) <= set(folded)
    for layer in range(tiny.config.num_hidden_layers):
        assert all(
            np.array_equal(a, b) for a, b in zip(tiny.read_adapter(layer), checkpoint.read_adapter(layer), strict=True)
        )


def test_head_is_quantized_on_request(quantized) -> None:
    found = audit(Checkpoint.open_converted(quantized("int4_awq", head=True)), head=True)
    assert found.head_quantized
    assert not found.problems


def test_both_quantization_files_are_written(quantized) -> None:
    folder = quantized("fp8")
    stated = json.loads((folder / "hf_quant_config.json").read_text(encoding="utf-8"))["quantization"]
    block = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    assert stated["quant_algo"] == block["quant_algo"] == "FP8"
    assert block["quant_method"] == "modelopt"
    assert "diffusion_head" in stated["exclude_modules"]
    assert "diffusion_head" in block["ignore"]


@pytest.mark.parametrize("name", CALIBRATED)
def test_same_input_gives_the_same_bytes(tiny, few_documents, quantized, tmp_path: Path, name: str) -> None:
    run(tiny, planned(tiny, name), tmp_path / "again", few_documents())
    assert digests(tmp_path / "again") == digests(quantized(name))


def test_layers_with_other_group_sizes_are_listed_one_by_one(quantized) -> None:
    stated = json.loads((quantized("int4_awq") / "hf_quant_config.json").read_text(encoding="utf-8"))["quantization"]
    assert stated["quant_algo"] == "MIXED_PRECISION"
    assert stated["quantized_layers"]["encoder.layers.0.mlp.down_proj"]["group_size"] == 128
    assert stated["quantized_layers"]["encoder.layers.0.mlp.gate_proj"]["group_size"] == 64


def test_calibration_mix_reaches_the_scales(tiny, few_documents, quantized, tmp_path: Path) -> None:
    run(tiny, planned(tiny, "fp8"), tmp_path / "text", few_documents(TEXT_ONLY))
    mixed, text = (Checkpoint.open_converted(folder) for folder in (quantized("fp8"), tmp_path / "text"))
    scales = [name for name in mixed.names if name.endswith("input_scale")]
    # Text is part of the mix, so nothing that it shows is beyond the mixed range.
    assert all(mixed.read(name) >= text.read(name) for name in scales)
    assert any(mixed.read(name) > text.read(name) for name in scales)


class InterruptedBehindOnePart(Recorded):
    """Raises when the second part of the work reports."""

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        if sum(done for done, _ in self.done) > 1 - 1e-9:
            raise KeyboardInterrupt
        super().advance(amount, earlier=earlier)


@pytest.mark.parametrize("name", [*CALIBRATED, "int4_rtn"])
def test_interrupted_run_goes_on_at_the_last_finished_layer(
    tiny, few_documents, quantized, tmp_path: Path, name: str
) -> None:
    target, plan = tmp_path / "out" / "resumed", planned(tiny, name)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, plan, target, few_documents(), progress=InterruptedBehindOnePart())
    assert not target.exists()
    told = Recorded()
    manifest = run(tiny, plan, target, few_documents(), progress=told)
    assert "resuming at layer 1 of 2" in told.notes
    assert manifest["quantization"]["run"]["resumed_at_layer"] == 1
    assert told.totals[0] == (3, "layers")
    assert [amount for amount, earlier in told.done if earlier] == [1]
    assert sum(amount for amount, earlier in told.done if not earlier) == pytest.approx(2)
    assert digests(target) == digests(quantized(name))
    assert not leftovers(target)


def test_run_with_other_settings_starts_anew(tiny, few_documents, tmp_path: Path) -> None:
    target = tmp_path / "out" / "changed"
    with pytest.raises(KeyboardInterrupt):
        run(tiny, planned(tiny, "fp8"), target, few_documents(), progress=InterruptedBehindOnePart())
    manifest = run(tiny, planned(tiny, "fp8"), target, few_documents(seed=1))
    assert manifest["quantization"]["run"]["resumed_at_layer"] is None
    assert not leftovers(target)


def test_full_disk_leaves_nothing_and_spares_the_source(tiny, few_documents, tmp_path: Path, monkeypatch) -> None:
    target, before = tmp_path / "out" / "full", digests(tiny.folder)
    store = Workplace.store

    def full(self, part, tensors):
        if part == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        store(self, part, tensors)

    monkeypatch.setattr(Workplace, "store", full)
    with pytest.raises(OperationError, match="is full; nothing was written"):
        run(tiny, planned(tiny, "int4_rtn"), target, few_documents())
    assert not list(target.parent.iterdir())
    assert digests(tiny.folder) == before


def test_disk_that_is_too_small_is_refused_before_work(tiny, few_documents, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(OperationError, match="are needed in"):
        run(tiny, planned(tiny, "int4_rtn"), tmp_path / "small", few_documents())
    assert not list(tmp_path.iterdir())


def test_failed_audit_publishes_nothing(tiny, few_documents, tmp_path: Path, monkeypatch) -> None:
    import nld_trt.quantization.layerwise as layerwise

    packed = layerwise.pack

    def broken(linear, format):
        tensors = packed(linear, format)
        return tensors | {"weight_scale": tensors["weight_scale"] * np.float32(np.nan)}

    monkeypatch.setattr(layerwise, "pack", broken)
    with pytest.raises(OperationError, match="failed its audit") as caught:
        run(tiny, planned(tiny, "int4_rtn"), tmp_path / "bad", few_documents())
    assert "scales are NaN or infinite" in caught.value.details[0]
    assert not list(tmp_path.iterdir())


def test_quantized_checkpoint_is_not_quantized_again(quantized, few_documents, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open_converted(quantized("int4_rtn"))
    with pytest.raises(InputError, match="already quantized"):
        run(checkpoint, planned(checkpoint, "fp8"), tmp_path / "twice", few_documents())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_nvfp4_activations_without_a_gpu_are_refused(tiny, few_documents, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs an NVIDIA GPU") as caught:
        run(tiny, planned(tiny, "nvfp4"), tmp_path / "fp4", few_documents())
    assert "w4a16_nvfp4" in str(caught.value.fix)


def test_manifest_says_how_it_was_made(quantized, tiny) -> None:
    facts = json.loads((quantized("int4_awq") / "checkpoint.json").read_text(encoding="utf-8"))["quantization"]
    assert facts["recipe"] == "int4_awq"
    assert facts["quantized_from"] == tiny.manifest["model_sha256"]
    assert facts["calibration"]["dataset"] == "random"
    assert facts["calibration"]["documents"] == 5
    assert facts["run"]["peak_resident_bytes"] > 1e8
    assert facts["tools"]["nvidia-modelopt"]
    assert sum(entry["layers"] for entry in facts["formats"]) == len(linear_modules(tiny.config)) - 1
