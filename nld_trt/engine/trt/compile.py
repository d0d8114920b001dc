# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling the ONNX graph to a TensorRT plan, with either library."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt.flavour import Flavour
from nld_trt.engine.trt.listing import LISTING_HEADERS, Shape, ShapeRange
from nld_trt.engine.trt.mapped import MappedWeights
from nld_trt.errors import OperationError
from nld_trt.files import opened_path
from nld_trt.graph import contract
from nld_trt.graph.contract import Binding, Limits, Phase
from nld_trt.graph.export import WEIGHTS_FILE, load_graph
from nld_trt.graph.weights import external_tensors
from nld_trt.interrupts import interruptible
from nld_trt.machine.allocator import return_large_blocks
from nld_trt.model.config import ModelConfig

# The number of warnings that are kept to report a failure.
_LAST_WARNINGS = 5

_ACTIVATION_MEMORY = re.compile(r"Total Activation Memory: (\d+) bytes")


@dataclass
class BuilderLog:
    """The messages of a TensorRT library that are read afterwards.

    Attributes:
        listing: the builder's listing of the compiled engine.
        activation_bytes: device memory for intermediate values, per optimisation profile.
    """

    errors: list[str] = field(default_factory=list)
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WARNINGS))
    listing: str | None = None
    activation_bytes: list[int] = field(default_factory=list)

    def add(self, severity: str, message: str) -> None:
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(message.strip())
        elif severity == "WARNING":
            self.warnings.append(message.strip())
        elif message.startswith(LISTING_HEADERS):
            self.listing = message
        elif match := _ACTIVATION_MEMORY.search(message):
            self.activation_bytes.append(int(match[1]))

    def report(self) -> list[str]:
        """The errors; where there are none, the last warnings."""
        return self.errors or list(self.warnings)

    def take(self) -> list[str]:
        """The messages of :meth:`report`, which are then cleared, so that the next call returns newer ones."""
        told = list(self.report())
        self.errors.clear()
        self.warnings.clear()
        return told

    def logger(self, trt: Any) -> Any:
        """An ``ILogger`` that adds to this log. Keep it alive as long as what was made with it."""

        # The base class exists only once the library is loaded.
        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self, log: BuilderLog) -> None:
                trt.ILogger.__init__(self)
                self._log = log

            def log(self, severity: Any, message: str) -> None:
                self._log.add(severity.name, message)

        return Logger(self)


@dataclass(frozen=True)
class ParsedNetwork:
    """A parsed network, and the objects that must live as long: network and parser point into the weights."""

    trt: Any
    log: BuilderLog
    logger: Any
    builder: Any
    network: Any
    parser: Any
    weights: MappedWeights | None


def parse_network(trt: Any, model: Path) -> ParsedNetwork:
    """Parse an ONNX file.

    The weights stay mapped until the build is done: the files must neither move nor change before that.

    Raises:
        OperationError: the parser refused the graph; the error has all of its messages.
    """
    log = BuilderLog()
    logger = log.logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    stored = model.with_name(WEIGHTS_FILE)
    weights = MappedWeights(stored) if stored.is_file() else None
    if not interruptible(lambda: _parse(parser, model, weights)):
        errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise OperationError(f"{trt.__name__} {trt.__version__} cannot read the graph", details=errors or log.report())
    return ParsedNetwork(trt, log, logger, builder, network, parser, weights)


def _parse(parser: Any, model: Path, weights: MappedWeights | None) -> bool:
    """Read the graph with ``weights`` in the place of its external data. Returns whether the parser accepted it."""
    if not parser.load_model_proto(model.read_bytes(), opened_path(model)):
        return False
    if weights is not None:
        for tensor in external_tensors(load_graph(model)):
            if not parser.load_initializer(tensor.name, weights.address(tensor.offset), tensor.length):
                return False
    return bool(parser.parse_model_proto())


def _parser_error(error: Any) -> str:
    node = error.node_name()
    place = f"{node} ({error.node_operator()}): " if node else ""
    return f"{place}{error.desc()}"


def binding_ranges(binding: Binding, config: ModelConfig, limits: Limits, profile: Phase) -> ShapeRange:
    """(minimum, best, maximum) shape of a binding in one optimisation profile."""
    ranges = {name: (size,) * 3 for name, size in contract.fixed_axes(config).items()}
    ranges.update(contract.axis_ranges(limits, profile))

    def shape(which: int) -> Shape:
        return tuple(ranges[axis][which] for axis in binding.axes)

    return shape(0), shape(1), shape(2)


def compile_plan(parsed: ParsedNetwork, flavour: Flavour, plan: BuildPlan, config: ModelConfig, path: Path) -> None:
    """Compile a network with an optimisation profile for each phase of decoding and write the plan to ``path``.

    A signal ends the compilation at once: see :func:`nld_trt.interrupts.interruptible`.

    Raises:
        OperationError: the compiler failed; the error has its messages.
    """
    trt = parsed.trt
    settings = parsed.builder.create_builder_config()
    # The proof reads the names of kernels and nodes from the plan; they cost a few bytes per kernel.
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # No matrix product here is in FP32, and none that the compiler makes so may be rounded to TF32.
    settings.clear_flag(trt.BuilderFlag.TF32)
    # Sessions capture forwards into CUDA graphs, so no kernel may allocate memory while it runs.
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        settings.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    # A plan without targets is a portable one.
    if flavour.targets and plan.compute_capabilities:
        _set_targets(trt, settings, [flavour.targets[name] for name in plan.compute_capabilities])
    for profile in plan.limits.phases:
        _add_profile(parsed, settings, config, plan.limits, profile)
    return_large_blocks()
    stopped = threading.Event()
    settings.progress_monitor = monitor = _progress_monitor(trt, stopped)
    with path.open("wb") as file, parsed.weights.given_back() if parsed.weights else nullcontext():
        writer = _plan_writer(trt, file)
        done = interruptible(
            lambda: parsed.builder.build_serialized_network_to_stream(parsed.network, settings, writer), stopped.set
        )
    del monitor
    if writer.error is not None:
        raise writer.error
    if not done or path.stat().st_size == 0:
        targets = ", ".join(plan.compute_capabilities)
        raise OperationError(
            f"{flavour.title} {trt.__version__} could not compile the network for {targets}",
            details=parsed.log.report(),
        )


def _set_targets(trt: Any, settings: Any, members: Sequence[str]) -> None:
    # The number is set first: without it the library ignores the targets silently.
    settings.num_compute_capabilities = len(members)
    for index, member in enumerate(members):
        wanted = getattr(trt.ComputeCapability, member)
        if not settings.set_compute_capability(wanted, index) or settings.get_compute_capability(index) != wanted:
            raise OperationError(f"{trt.__name__} {trt.__version__} does not take {member} as a target")


def _add_profile(parsed: ParsedNetwork, settings: Any, config: ModelConfig, limits: Limits, profile: Phase) -> None:
    shapes = parsed.builder.create_optimization_profile()
    for binding in contract.bindings("input", config=config):
        ranges = binding_ranges(binding, config, limits, profile)
        for name in binding.names(config):
            shapes.set_shape(name, *ranges)
    if settings.add_optimization_profile(shapes) != limits.phases.index(profile):
        raise OperationError(
            f"the compiler refused the shapes of the {profile} profile: {limits.to_dict()}", details=parsed.log.report()
        )


def _progress_monitor(trt: Any, stopped: threading.Event) -> Any:
    """Ends a compilation after the step in which ``stopped`` was set. Keep it alive as long as the compilation."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return not stopped.is_set()

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()


def _plan_writer(trt: Any, file: BinaryIO) -> Any:
    """Streams a plan to a file: a plan of several GB never has to be in memory twice."""

    class Writer(trt.IStreamWriter):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)
            self.error: OSError | None = None

        def write(self, data: bytes) -> int:
            # Exceptions cannot pass through the library: 0 bytes written stop it, and compile_plan raises the error.
            try:
                return file.write(data)
            except OSError as error:
                self.error = error
                return 0

    return Writer()


def inspect_plan(trt: Any, path: Path) -> str:
    """The listing of a plan from the engine inspector. The plan's GPU must be in this machine.

    Raises:
        OperationError: the plan cannot be loaded.
    """
    log = BuilderLog()
    runtime = trt.Runtime(log.logger(trt))
    plan = path.read_bytes()
    engine = interruptible(lambda: runtime.deserialize_cuda_engine(plan))
    if engine is None:
        raise OperationError(f"the compiled plan {path.name} cannot be loaded again", details=log.report())
    listing: str = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.ONELINE)
    return listing
