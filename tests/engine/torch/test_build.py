# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a build for the ``torch`` backend writes, and for which machine."""

from __future__ import annotations

import pytest

from nld_trt.engine import plan as plans
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.build_config import BuildConfig
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.plan import make_plans
from nld_trt.engine.torch.backend import TorchBackend
from nld_trt.engine.torch.writer import WeightWriter
from nld_trt.errors import InputError, OperationError
from nld_trt.graph.contract import Limits
from nld_trt.machine.gpu import Gpu
from nld_trt.model.inventory import linear_modules
from nld_trt.model.safetensors_file import SafetensorsFile
from tests.recorded_progress import Recorded

PLAN = BuildPlan("torch", "fp32", Limits(2, 64, 8, 16), adapter=True)
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 << 30)


def planned(checkpoint, *platforms: str, backends=("torch",), **asked) -> list[tuple[str, str, tuple[str, ...]]]:
    """Backend, precision and targets of each plan."""
    made = make_plans(checkpoint, BuildConfig(backends=backends, platforms=platforms, **asked))
    return [(each.backend, each.precision, each.compute_capabilities) for each in made]


def test_engine_is_one_file_of_weights_and_says_what_is_in_it(golden, tmp_path):
    checkpoint, told = golden("tiny-b"), Recorded()
    build_engine(checkpoint, [PLAN], tmp_path / "engine", progress=told)
    folder = EngineFolder.open(tmp_path / "engine")
    artefact = folder.manifest.backends["torch"]
    assert dict(artefact.files) == {"weights": "torch/weights.safetensors"}
    assert "torch/weights.safetensors" in folder.manifest.files
    assert (artefact.precision, artefact.compute_capabilities) == ("fp32", ())
    tensors = SafetensorsFile.open(folder.path / artefact.files["weights"]).tensors
    assert artefact.proof["linear_layers"] == {"float": len(linear_modules(checkpoint.config))}
    assert artefact.proof["weight_bytes"] == sum(info.nbytes for info in tensors.values())
    assert artefact.proof["weight_bytes"] == 4 * artefact.proof["elements"]
    assert told.stages == ["torch: writing weights", "torch: checking the weights", "hashing files"]


def test_layer_that_is_not_in_its_form_is_not_published(golden, tmp_path, monkeypatch):
    write = WeightWriter.write
    monkeypatch.setattr(WeightWriter, "write", lambda self, *arguments: write(self, *arguments)[1:])
    with pytest.raises(OperationError, match=r"(?s)not what was asked for.*q_proj is stored as nothing, not as float"):
        build_engine(golden("tiny-a"), [PLAN], tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("platform", ["h100", "h200"])
def test_hopper_gpus_get_a_torch_engine_in_bf16_without_being_asked(golden, platform):
    assert planned(golden("tiny-a"), platform, backends=()) == [("torch", "bf16", ("9.0",))]


@pytest.mark.parametrize(
    ("platforms", "asked", "expected"),
    [
        (("cpu",), {}, [("torch", "fp32", ())]),
        (("h100",), {}, [("torch", "bf16", ("9.0",))]),
        (("h100", "h200", "gb200"), {}, [("torch", "bf16", ("9.0", "10.0"))]),
        (("h100",), {"precision": "fp32"}, [("torch", "fp32", ("9.0",))]),
        (("h100", "cpu"), {"backends": ("torch", "ort")}, [("torch", "bf16", ("9.0",)), ("ort", "fp32", ())]),
        (("cpu",), {"backends": ("torch", "ort"), "precision": "fp16"}, [("torch", "fp32", ()), ("ort", "fp16", ())]),
    ],
)
def test_precision_and_targets_follow_the_platforms(golden, platforms, asked, expected):
    assert planned(golden("tiny-a"), *platforms, **asked) == expected


@pytest.mark.parametrize(("gpus", "precision"), [([], "fp32"), ([H100], "bf16")])
def test_without_a_platform_the_precision_is_for_this_machine(golden, monkeypatch, gpus, precision):
    monkeypatch.setattr(plans, "present_gpus", lambda: gpus)
    assert planned(golden("tiny-a")) == [("torch", precision, ())]


@pytest.mark.parametrize(
    ("platforms", "asked", "message"),
    [
        (("cpu",), {"precision": "bf16"}, "--precision bf16 .* on the CPU, where torch engines compute in fp32 only"),
        (("cpu", "h100", "gb200"), {}, r"not on both of h100, gb200 and cpu\n.*--backend ort for the CPU"),
        (("cpu",), {"plugins": True}, "--plugins .* decode operators are plugins in trt engines only"),
    ],
)
def test_what_no_torch_engine_can_be_is_refused(golden, platforms, asked, message):
    with pytest.raises(InputError, match=message):
        planned(golden("tiny-a"), *platforms, **asked)


def test_target_without_kernels_is_refused_with_those_that_have_them(golden):
    plan = BuildPlan("torch", "bf16", PLAN.limits, adapter=True, compute_capabilities=("7.5", "9.0"))
    with pytest.raises(InputError, match=r"capability 7.5; it has kernels for 9.0 \(H200 SXM, H100 SXM\), 10.0"):
        TorchBackend().check(plan)


def test_half_precision_engine_holds_half_the_bytes(golden, tmp_path):
    sizes = {}
    for precision in ("fp32", "bf16"):
        plan = BuildPlan("torch", precision, PLAN.limits, adapter=True, compute_capabilities=("9.0",))
        manifest = build_engine(golden("tiny-a"), [plan], tmp_path / precision)
        sizes[precision] = manifest.backends["torch"].proof["weight_bytes"]
    assert sizes["fp32"] == 2 * sizes["bf16"]
