# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The proof that a TensorRT build is what was asked for, from the network and from the compiled plan.

A compiler that meets something it cannot fuse may replace it, drop an input or widen a type, and the
result still runs, slower or wrong. So the network is compared with the request before a build of hours,
and the listing and the bytes of the compiled engine are compared after it.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.layer_proof import LayerKernel, LayerProof, QuantizedWeights
from nld_trt.engine.trt.compile import BuilderLog, binding_ranges
from nld_trt.engine.trt.listing import EngineListing, Kernel, Shape
from nld_trt.engine.trt.network import NetworkFacts
from nld_trt.engine.trt.traffic import cache_traffic
from nld_trt.errors import OperationError
from nld_trt.files import human_bytes
from nld_trt.graph import contract
from nld_trt.graph.contract import Binding, Limits, Phase
from nld_trt.graph.network.linear import EMITTERS, unpacking_node
from nld_trt.graph.step.plugin_form import PLUGIN_OPERATORS
from nld_trt.model.config import ModelConfig
from nld_trt.model.quantized.formats import LinearFormat

# Symbols of fused attention kernels: gemm_mha, gemv_mha, fmha.
_FUSED = re.compile(r"mha")

# The text in a plan by which TensorRT for RTX records the compute capabilities of its kernels.
_ACCELERATORS = re.compile(rb"accelerators=\{((?:sm\d+ )+)\}")

# A plan may be larger than its quantized weights by this factor, for weights that the compiler lays out twice, and by
# so many bytes per layer, for kernels in all profiles. Seen: 1.2 times the weights of 8B, and 3 to 5 MB a layer.
_LARGER, _KERNEL_BYTES = 1.5, 16 << 20

_NOTHING = QuantizedWeights()

# A kernel multiplies matrices if it is of this kind, or if its name has this mark of a generated product. Other kernels
# of a layer, such as one that unpacks its weights or applies its scale, have neither.
_GEMM, _PRODUCT = "gemm", re.compile(r"Fc")

# The axes whose size is given with every forward, and the size that shapes have for them.
_RUN_TIME_AXES = ("batch", "width", "window", "slots", "attended")
_ANY = -1

# Backends whose copies of keys and values were seen, so that others can be refused (``engine.trt.traffic``).
_KNOWN_COPIES = (names.TRT_RTX,)

DIRECTIONS: tuple[contract.Direction, ...] = ("input", "output")


def prove_network(
    facts: NetworkFacts, config: ModelConfig, plan: BuildPlan, quantized: QuantizedWeights = _NOTHING
) -> dict[str, Any]:
    """Compare a parsed network with the request.

    Raises:
        OperationError: there are differences; the error lists them all.
    """
    attentions, caches = contract.attention_count(config, plan.limits), 2 * config.cached_layers
    problems = []
    if len(facts.attentions) != attentions:
        problems.append(f"{len(facts.attentions)} fused attentions, not {attentions}: the others were decomposed")
    for attention in facts.attentions:
        if attention.decomposable:
            problems.append(f"{attention.node} may be decomposed by the compiler")
        if not attention.masked:
            problems.append(f"{attention.node} has no mask: it would read cache slots that hold nothing")
        if attention.dtype != plan.precision:
            problems.append(f"{attention.node} computes in {attention.dtype}, not {plan.precision}")
    if facts.cache_updates != caches:
        problems.append(f"{facts.cache_updates} of {caches} caches are updated in place")
    problems += [
        f"{count} matrix multiplication inputs are {dtype}, not {plan.precision}"
        for dtype, count in facts.matmul_dtypes.items()
        if dtype != plan.precision
    ]
    plugins = len(PLUGIN_OPERATORS) if plan.plugins else 0
    if facts.plugins != plugins:
        problems.append(f"{facts.plugins} plugins, not {plugins}: the decode operators have another form")
    problems += _storage_problems(facts, quantized.formats)
    sizes = dict.fromkeys(_RUN_TIME_AXES, _ANY)
    for direction, tensors in zip(DIRECTIONS, (facts.inputs, facts.outputs), strict=True):
        problems += _binding_problems(direction, tensors, config, plan, sizes)
    _refuse("the network is not what was asked for", problems)
    return {
        "attention_layers": len(facts.attentions),
        "cache_updates": facts.cache_updates,
        "matmul_inputs": dict(facts.matmul_dtypes),
        "bindings": len(facts.inputs) + len(facts.outputs),
        "decode_operators": "plugins" if plan.plugins else "functions",
    }


def prove_plan(
    path: Path,
    log: BuilderLog,
    listing: str | None,
    facts: NetworkFacts,
    config: ModelConfig,
    plan: BuildPlan,
    quantized: QuantizedWeights = _NOTHING,
) -> dict[str, Any]:
    """Compare a compiled plan with the request, by the engine's listing and the plan's own bytes.

    Raises:
        OperationError: there are differences, which the error lists, or there is no listing to compare.
    """
    engine = EngineListing.parse(listing or "")
    if not engine.kernels:
        raise OperationError(f"the compiler did not list what {path.name} consists of, so nothing is known about it")
    problems: list[str] = []
    sizes = {axis: _size_in_plan(plan.limits, axis) for axis in _RUN_TIME_AXES}
    for direction in DIRECTIONS:
        tensors = {tensor.name: (tensor.dtype, tensor.shape) for tensor in engine.tensors if tensor.mode == direction}
        problems += _binding_problems(direction, tensors, config, plan, sizes)
    problems += _profile_problems(engine, config, plan)
    problems += _unread_inputs(engine, config, plan)
    fused, missing = _fused_attention(engine, facts, plan.limits.phases)
    layers = LayerProof.compare(
        plan.backend, quantized.formats, _layer_kernels(engine, quantized.formats, len(plan.limits.phases))
    )
    problems += [*missing, *layers.problems, *_size_problems(path, engine, config, quantized)]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        symbols = {kernel.tactic or kernel.name for kernels in fused.values() for kernel in kernels}
        problems += [f"the plan does not contain {symbol}" for symbol in symbols if content.find(symbol.encode()) < 0]
        targets = _targets(content)
        traffic = {} if missing else cache_traffic(engine, fused, content, config, plan)
    if plan.backend in _KNOWN_COPIES:
        problems += [problem for each in traffic.values() for problem in each.problems]
    if targets and set(targets) != set(plan.compute_capabilities):
        problems.append(f"the plan is for {', '.join(targets)}, not {', '.join(plan.compute_capabilities)}")
    _refuse("the plan is not what was asked for", problems)
    return {
        "fused_attention": {profile: dict(Counter(map(_family, kernels))) for profile, kernels in fused.items()},
        "attention_traffic": {phase: each.to_dict() for phase, each in traffic.items()},
        "caches_updated_in_place": not any(name.startswith("past_") for k in engine.kernels for name in k.inputs),
        "kernels": {profile: _count(engine, index) for index, profile in enumerate(plan.limits.phases)},
        "profiles": {profile: _ranges(plan, profile) for profile in plan.limits.phases},
        "targets_in_plan": targets,
        "activation_bytes": max(log.activation_bytes, default=None),
        "plan_bytes": path.stat().st_size,
        "weight_bytes": quantized.nbytes,
        **layers.to_dict(),
    }


def _refuse(what: str, problems: Iterable[str]) -> None:
    if problems := list(problems):
        raise OperationError(
            what, details=problems, fix="This is a fault of nld-trt or of the compiler's version: please report it."
        )


def _binding_problems(
    direction: contract.Direction,
    found: Mapping[str, tuple[str, Shape]],
    config: ModelConfig,
    plan: BuildPlan,
    run_time_sizes: Mapping[str, int],
) -> Iterator[str]:
    sizes = {**contract.fixed_axes(config), "capacity": plan.limits.capacity, **run_time_sizes}
    expected = set()
    for binding in contract.bindings(direction, debug=plan.debug, config=config):
        shape = tuple(sizes[axis] for axis in binding.axes)
        dtype = plan.precision if binding.dtype == "activation" else binding.dtype
        for name in binding.names(config):
            expected.add(name)
            if name not in found:
                yield f"{direction} {name} is missing"
            elif found[name] != (dtype, shape):
                yield f"{direction} {name} is {_written(*found[name])}, not {_written(dtype, shape)}"
    yield from (f"{direction} {name} is not in the contract" for name in found if name not in expected)


def _size_in_plan(limits: Limits, axis: str) -> int:
    """The size that an axis has in the plan: fixed where it is the same in all profiles, such as a batch of one row."""
    ranges = {contract.axis_ranges(limits, profile)[axis] for profile in limits.phases}
    low = min(size[0] for size in ranges)
    high = max(size[2] for size in ranges)
    return low if low == high else _ANY


def _written(dtype: str, shape: Shape) -> str:
    return f"{dtype} {list(shape)}"


def _profile_problems(engine: EngineListing, config: ModelConfig, plan: BuildPlan) -> Iterator[str]:
    ranges = {tensor.name: tensor.ranges for tensor in engine.tensors}
    for binding, name in _inputs(config):
        found = ranges.get(name, ())
        for index, profile in enumerate(plan.limits.phases):
            wanted = binding_ranges(binding, config, plan.limits, profile)
            if index >= len(found):
                yield f"input {name} has no range for the {profile} profile"
            elif found[index] != wanted:
                yield f"input {name} has the range {list(found[index])} in the {profile} profile, not {list(wanted)}"
        if len(found) > len(plan.limits.phases):
            yield f"input {name} has {len(found)} ranges for {len(plan.limits.phases)} profiles"


def _unread_inputs(engine: EngineListing, config: ModelConfig, plan: BuildPlan) -> Iterator[str]:
    """Inputs that no kernel reads: the compiler lost what depends on them."""
    # An updated cache is read under the name of its output, which is the same memory.
    read = {name.replace("present_", "past_") for kernel in engine.kernels for name in kernel.inputs}
    present = {
        "adapter": plan.adapter,
        names.QUADRATIC: plan.limits.max_quadratic_length > 0,
        "functions": not plan.plugins,
        "draft_head": True,
    }
    for binding, name in _inputs(config):
        if name not in read and all(present[part] for part in binding.parts):
            yield f"input {name} is read by no kernel"


def _inputs(config: ModelConfig) -> Iterator[tuple[Binding, str]]:
    for binding in contract.bindings("input", config=config):
        for name in binding.names(config):
            yield binding, name


def _fused_attention(
    engine: EngineListing, facts: NetworkFacts, profiles: Sequence[Phase]
) -> tuple[dict[Phase, list[Kernel]], list[str]]:
    """The fused kernel of every attention in every profile, and the attentions that have none or several."""
    fused: dict[Phase, list[Kernel]] = {}
    problems = []
    for index, profile in enumerate(profiles):
        candidates = [k for k in engine.kernels if k.profile == index and _FUSED.search(k.tactic or k.name)]
        fused[profile] = []
        for attention in facts.attentions:
            kernels = [kernel for kernel in candidates if attention.node in kernel.nodes]
            if len(kernels) != 1:
                problems.append(f"{attention.node} has {len(kernels)} fused kernels in the {profile} profile, not 1")
            fused[profile] += kernels
    return fused, problems


def _storage_problems(facts: NetworkFacts, formats: Mapping[str, LinearFormat]) -> Iterator[str]:
    """Quantized layers whose weights the parser did not keep as they are stored."""
    for module, found in formats.items():
        wanted = _stored_type(found)
        stored = facts.stored.get(unpacking_node(module))
        if stored is None:
            yield f"{module} has no dequantization: its weights are not quantized"
        elif stored != wanted:
            yield f"{module} is stored in {stored}, not {wanted}"


def _stored_type(format: LinearFormat) -> str:
    return EMITTERS[format.algorithm.name]["tensorrt"].stored.name


def _layer_kernels(
    engine: EngineListing, formats: Mapping[str, LinearFormat], profile_count: int
) -> dict[str, LayerKernel]:
    """The kernels that multiply with each quantized weight, all profiles together.

    Such a kernel reads the stored type itself. Where one profile has none, another kernel unpacked the weights before,
    and the layer is not quantized.
    """
    multiplying: dict[str, list[Kernel]] = {}
    for kernel in engine.kernels:
        if kernel.kind == _GEMM or _PRODUCT.search(kernel.name):
            for node in kernel.nodes:
                multiplying.setdefault(node, []).append(kernel)
    found = {}
    for module, format in formats.items():
        wanted, kernels = _stored_type(format), multiplying.get(module, [])
        packed = [kernel for kernel in kernels if wanted in kernel.constants]
        profiles = {kernel.profile for kernel in packed}
        names = {f"{kernel.kind} {wanted}" for kernel in packed}
        names |= {f"{kernel.kind} unpacked" for kernel in kernels if kernel.profile not in profiles}
        if kernels:
            found[module] = LayerKernel(" and ".join(sorted(names)), profiles == set(range(profile_count)))
    return found


def _size_problems(
    path: Path, engine: EngineListing, config: ModelConfig, quantized: QuantizedWeights
) -> Iterator[str]:
    """The quantized weights that the plan holds unpacked."""
    held: dict[str, set[str]] = {}
    for kernel in engine.kernels:
        for node in kernel.nodes:
            held.setdefault(node, set()).update(kernel.constants)
    for module, format in quantized.formats.items():
        if _stored_type(format) not in held.get(module, set()) | held.get(unpacking_node(module), set()):
            yield f"no kernel of {module} reads {_stored_type(format)} weights: the plan holds them unpacked"
    size = path.stat().st_size
    most = int(quantized.nbytes * _LARGER) + config.num_hidden_layers * _KERNEL_BYTES
    if quantized.formats and size > most:
        yield (
            f"the plan has {human_bytes(size)} for {human_bytes(quantized.nbytes)} of weights, and should have "
            f"{human_bytes(most)} at most"
        )


def _family(kernel: Kernel) -> str:
    """A kernel's symbol without the hash that follows it."""
    return re.sub(r"_0x[0-9a-f]+.*", "", kernel.tactic or kernel.name)


def _count(engine: EngineListing, profile: int) -> int:
    return sum(kernel.profile == profile and bool(kernel.tactic) for kernel in engine.kernels)


def _ranges(plan: BuildPlan, profile: Phase) -> dict[str, list[int]]:
    return {axis: list(sizes) for axis, sizes in contract.axis_ranges(plan.limits, profile).items()}


def _targets(content: mmap.mmap) -> list[str]:
    """Compute capabilities that every part of the plan was compiled for; empty if the plan does not say."""
    parts = [frozenset(match[1].split()) for match in _ACCELERATORS.finditer(content)]
    common = frozenset.intersection(*parts) if parts else frozenset()
    return sorted((f"{name[2:-1].decode()}.{name[-1:].decode()}" for name in common), key=float)
