# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Facts of the model that other programs are known to miss, each as a network that misses it.

Such a network is built from the checkpoint in float32, for ONNX Runtime. If its opinion of a server's tokens is better
than the true network's, the server probably has the same fault.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import Session
from nld_trt.errors import InputError
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import RopeParameters
from nld_trt.model.head_order import as_halves, as_pairs, is_rotated
from nld_trt.model.safetensors_file import Array

# Values of rope_theta that releases of this family have, and what older models had.
_THETAS: Final = (1e4, 1e6, 1e9)
# Of a head with which faults are told apart.
_HEAD_DIM: Final = 128
# A function of a weight and the size of its heads.
Order = Callable[[Array, int], Array]


@dataclass(frozen=True)
class Hypothesis:
    """One fault that a server may have.

    Attributes:
        name: for tables.
        rope: rotary parameters that differ from the model's.
        order: how the network has to store the elements of a head, so that rotating its halves rotates what the server
            does; None as they are.
    """

    name: str
    rope: Mapping[str, Any] = field(default_factory=dict)
    order: Order | None = None

    def checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint of a network with this fault."""
        config = checkpoint.config
        changed = replace(checkpoint, config=replace(config, rope=replace(config.rope, **self.rope)))
        return changed if self.order is None else _Reordered(**vars(changed), order=self.order)


def hypotheses(rope: RopeParameters) -> list[Hypothesis]:
    """The faults that a server of a model with these parameters can have. None is without an effect."""
    # A cos/sin magnitude of more than 1 is what programs compute that do not read mscale_all_dim.
    no_scale = {"llama_4_scaling_beta": 0.0}
    magnitude = {"mscale": 1.0, "mscale_all_dim": 0.0}
    plain = {"factor": 1.0}
    listed = [
        Hypothesis("no query scale", no_scale),
        Hypothesis("YaRN's magnitude on cos and sin", magnitude),
        Hypothesis("YaRN's magnitude, no query scale", {**magnitude, **no_scale}),
        Hypothesis("plain rotary frequencies, no YaRN", plain),
        Hypothesis("plain rotary frequencies, no query scale", {**plain, **no_scale}),
        Hypothesis(names.NEIGHBOURS_ROTATED, order=as_halves),
        Hypothesis(names.PAIRS_NOT_ROTATED, order=as_pairs),
        *(Hypothesis(f"rope_theta {theta:g}", {"rope_theta": theta}) for theta in _THETAS),
    ]
    own = rotary.table_hash(rope, _HEAD_DIM)
    return [
        each
        for each in listed
        if each.order is not None or rotary.table_hash(replace(rope, **each.rope), _HEAD_DIM) != own
    ]


@contextmanager
def network(hypothesis: Hypothesis, checkpoint: Checkpoint, engine: EngineFolder) -> Iterator[Session]:
    """Build the network of a hypothesis in a temporary folder, and open it for texts of the engine's length."""
    limits = replace(engine.manifest.limits, max_batch_size=1, max_quadratic_length=0)
    plan = BuildPlan(names.ORT, names.FP32, limits, adapter=False)
    with tempfile.TemporaryDirectory(prefix="nld-trt-") as folder:
        target = Path(folder) / "engine"
        build_engine(hypothesis.checkpoint(checkpoint), [plan], target)
        yield EngineFolder.open(target).open_session(names.ORT, debug=True)


def check_same_model(checkpoint: Checkpoint, engine: EngineFolder) -> None:
    """Raises InputError if the engine was not built from this checkpoint, or from a quantized form of it."""
    ours, theirs = checkpoint.config, engine.manifest.config
    if ours != theirs:
        raise InputError(
            f"the checkpoint in {checkpoint.folder} is not that of the engine in {engine.path}: "
            "their configurations differ",
            fix="Pass the folder that the engine was built from, or leave --checkpoint out.",
        )
    if checkpoint.quantization is not None:
        raise InputError(
            f"the checkpoint in {checkpoint.folder} is quantized; faults are looked for in full precision",
            fix="Pass the converted checkpoint that it was quantized from.",
        )


@dataclass(frozen=True)
class _Reordered(Checkpoint):
    """A checkpoint whose rotated layers have the elements of each head in another order."""

    order: Order

    def read(self, name: str) -> Array:
        weight = super().read(name)
        return self.order(weight, self.config.head_dim) if is_rotated(name) else weight
