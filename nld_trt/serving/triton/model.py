# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The model that Triton's Python backend runs in a stub process of the server.

``triton_python_backend_utils`` exists only in that process, so it is imported when the model is initialised.
Everything that works without it is in the scheduler, the intake, the replies and the metrics.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.stored import TablePlace
from nld_trt.decode.batch import Batch
from nld_trt.engine.choice import open_fitting
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError, NldError
from nld_trt.files import inside, path_of_library, read_json
from nld_trt.measure.cost_table import load_or_measure
from nld_trt.model.text.codec import Codec
from nld_trt.serving.deadlines import read_timeout
from nld_trt.serving.errors import Cancelled, Unavailable
from nld_trt.serving.metrics import Family, Metrics, Series
from nld_trt.serving.outbox import Outbox
from nld_trt.serving.scheduler import Scheduler
from nld_trt.serving.settings import FILE_NAME, ServingSettings
from nld_trt.serving.triton.intake import check_parameters, read_inputs
from nld_trt.serving.triton.notice import NoticeReader
from nld_trt.serving.triton.probe import PARAMETER, WELL, check_health
from nld_trt.serving.triton.replies import Outputs, Reply
from nld_trt.serving.triton.served_model import check_decoupled, check_settings
from nld_trt.serving.triton.tensors import OUTPUTS
from nld_trt.serving.triton.warm_up import warm_up

log = logging.getLogger(__name__)

# Triton's code for each kind of error; the first match is used.
_CODES: tuple[tuple[type[NldError], str], ...] = (
    (InputError, "INVALID_ARG"),
    (Unavailable, "UNAVAILABLE"),
    (Cancelled, "CANCELLED"),
    (NldError, "INTERNAL"),
)
_SPOKEN_CODES = ("UNAVAILABLE", "CANCELLED", "INTERNAL")
# Triton waits for open requests before it finalises a model, so a short time is enough here.
_CLOSE_SECONDS = 5.0
# For timing forwards when a model is loaded for the first time. Serving corrects what is measured so briefly.
_COSTS_SECONDS = 2.0
# Text that is ready waits no longer than this for more that goes with it.
_RESPONSE_SECONDS = 0.01


class TritonPythonModel:
    """The class that the backend calls: ``initialize`` once, ``execute`` per request, ``finalize`` when unloaded."""

    def initialize(self, args: Mapping[str, str]) -> None:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname).1s %(name)s: %(message)s")
        self._pb = importlib.import_module("triton_python_backend_utils")
        folder = path_of_library(args["model_repository"])
        try:
            policy = json.loads(args["model_config"]).get("model_transaction_policy", {})
            check_decoupled(policy.get("decoupled", False), folder)
            self._open(folder / args["model_version"], args["model_name"])
        except NldError as error:
            raise self._pb.TritonModelException(str(error)) from error

    def execute(self, requests: Sequence[Any]) -> None:
        """Queue every request and return at once. Answers are sent with each request's response sender."""
        for request in requests:
            channel = TritonChannel(self._pb, request.get_response_sender())
            try:
                self._take(request, channel)
            except NldError as error:
                self._refuse(channel, error)
            except Exception as error:
                log.exception("a request could not be read")
                self._refuse(channel, NldError(f"internal error: {type(error).__name__}: {error}"))

    def finalize(self) -> None:
        self._notice.close()
        self._end_requests(_CLOSE_SECONDS)
        self._metrics.close()

    def _end_requests(self, seconds: float) -> None:
        """Take no more requests, and return when each has had its last response, after some ``seconds`` at most."""
        self._scheduler.close(grace=seconds)
        self._outbox.close()

    def _take(self, request: Any, channel: TritonChannel) -> None:
        """Queue a request, or answer the probe.

        Raises:
            NldError: it is refused.
        """
        parameters = json.loads(request.parameters() or "{}")
        if parameters.get(PARAMETER):
            check_health(self._scheduler)
            channel.send(WELL, final=True)
            return
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        intake = read_inputs(tensors, self._settings, self._session.info, self._codec)
        check_parameters(parameters, self._settings)
        timeout = read_timeout(request.timeout() or parameters.get("timeout", 0))
        self._scheduler.submit(intake.request, Reply(intake, channel, self._outbox), timeout=timeout)

    def _refuse(self, channel: TritonChannel, error: NldError) -> None:
        self._metrics.refused(error)
        channel.fail(error)

    def _open(self, folder: Path, model: str) -> None:
        started = time.monotonic()
        self._settings = ServingSettings.from_dict(read_json(folder / FILE_NAME))
        paths = [inside(folder, name) for name in self._settings.engines]
        engine = open_fitting(paths, self._settings.backend).with_defaults(self._settings.generation_config)
        check_settings(self._settings, engine.manifest)
        self._session = engine.open_session(self._settings.backend)
        self._codec = Codec.open(engine.path, max_tokens=self._session.info.limits.max_seq_len)
        opened = time.monotonic()
        warm_up(self._session)
        batch = Batch(
            self._session, self._codec, prefix_caching=self._settings.prefix_caching,
            max_num_batched_tokens=self._settings.max_num_batched_tokens, costs=self._costs(engine),
        )  # fmt: skip
        self._outbox = Outbox(_RESPONSE_SECONDS)
        info = self._session.info
        cache_tokens = info.limits.max_batch_size * info.limits.max_seq_len
        self._metrics = Metrics(TritonMetrics(self._pb, model), cache_tokens=cache_tokens)
        self._scheduler = Scheduler(batch, max_waiting=self._settings.max_waiting, observer=self._metrics)
        self._notice = NoticeReader(self._end_requests)
        log.info(
            "%s: %s %s, batch %d, %d tokens, opened in %.1f s, warmed up in %.1f s", model, info.backend,
            info.precision, info.limits.max_batch_size, info.limits.max_seq_len, opened - started,
            time.monotonic() - opened,
        )  # fmt: skip
        for line in info.generation.notes:
            log.info("%s: %s", model, line)

    def _costs(self, engine: EngineFolder) -> CostTable | None:
        """What forwards cost, for mode auto; measured now only if requests are in that mode by default."""
        modes = self._session.info.config.family.modes
        if self._settings.defaults.mode == names.AUTO and names.AUTO in modes:
            return load_or_measure(engine, self._session, budget=_COSTS_SECONDS)
        return TablePlace.of(engine, self._session.info.backend, gpu=self._session.device == "gpu").load()


class TritonChannel:
    """The response sender of a request."""

    def __init__(self, pb: Any, sender: Any) -> None:
        self._pb = pb
        self._sender = sender
        self._ended = False
        # Responses are sent on one thread, and whether the client has gone is asked on another.
        self._asking = threading.Lock()

    def send(self, outputs: Outputs, *, final: bool) -> None:
        tensors = [self._tensor(name, value) for name, value in outputs.items()]
        flags = self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
        if final:
            self._end()
        self._sender.send(self._pb.InferenceResponse(output_tensors=tensors), flags=flags)

    def fail(self, error: NldError) -> None:
        code = next(name for kind, name in _CODES if isinstance(error, kind))
        # Every error of a model has status 400 over HTTP, and none over a gRPC stream. Messages of errors that are not
        # the request's fault therefore begin with the code.
        text = f"{code}: {error}" if code in _SPOKEN_CODES else str(error)
        found = self._pb.TritonError(text, getattr(self._pb.TritonError, code))
        self._end()
        self._sender.send(self._pb.InferenceResponse(error=found), flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self) -> bool:
        # Triton 2.51 crashes with a segmentation fault when asked about a request that has had its last response.
        with self._asking:
            return not self._ended and bool(self._sender.is_cancelled())

    def _end(self) -> None:
        with self._asking:
            self._ended = True

    def _tensor(self, name: str, value: Any) -> Any:
        tensor = OUTPUTS[name]
        values = value if tensor.many else [value]
        if tensor.dtype == "STRING":
            values = [text.encode() for text in values]
        return self._pb.Tensor(name, np.array(values, dtype=tensor.numpy_type))


class TritonMetrics:
    """Creates series among the server's metrics."""

    def __init__(self, pb: Any, model: str) -> None:
        self._pb = pb
        self._model = model
        self._families: dict[str, Any] = {}

    def __call__(self, family: Family, labels: Mapping[str, str]) -> Series:
        if family.name not in self._families:
            kind = getattr(self._pb.MetricFamily, family.kind.upper())
            self._families[family.name] = self._pb.MetricFamily(name=family.name, description=family.help, kind=kind)
        buckets = {"buckets": list(family.buckets)} if family.buckets else {}
        series: Series = self._families[family.name].Metric(labels={"model": self._model, **labels}, **buckets)
        return series
