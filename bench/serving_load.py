# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What requests cost each other on a real Triton server, and what the server costs beside the engine alone.

    nld-trt convert examples/nld-tiny -o checkpoint
    nld-trt build checkpoint -o engine --backend ort --max-batch-size 16 --max-seq-len 4096 --quadratic-length 8
    python bench/serving_load.py engine
    python bench/serving_load.py engine --parts served --threads 1
    python bench/serving_load.py engine --parts neighbours --repeats 9 -o bench/results/serving_load.json

Every measurement is repeated and the repeats of what is compared are interleaved, in reverse order every other time;
medians are printed. Clients are threads of another process, each with one gRPC stream on which it sends its next
request when an answer has ended. Their answers have different lengths, so that they do not end together. Rates count
tokens that arrived within a window that begins once every client has a token. The engine alone is the decode loop of
this package in this process, text included, with as many requests of the same lengths.

On a machine of few cores the clients and the server take them from the engine, which a GPU would not lose. With
--threads 1 the engine has one thread, alone and in the server, and the other cores are left to everybody else.

Parts:
    served      AR tokens/s of 1, 4, 8 and 16 clients through the server, and of the engine alone
    neighbours  tokens/s of four AR clients beside nobody, four AR ones, one linear one and four linear ones
    auto        tokens/s of 1, 4 and 16 clients in ar, in linear at every block length, and in auto, on the prompts of
                examples/nld-tiny/eval.jsonl, each answered to its end
    prompts     time between tokens of seven AR clients while another client sends prompts of 2,000 tokens, and its
                time to the first token, alone and beside them
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nld_trt.decode.auto.candidate import BLOCK_LENGTHS
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.folder import EngineFolder
from nld_trt.machine.threads import THREADS_VARIABLE
from nld_trt.model.text.codec import Codec
from nld_trt.names import DEFAULT_CLIENT_TIMEOUT, DEFAULT_MODEL_NAME, NEVER
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton.client import channel_options, input_tensor
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer

# Tokens of the answers, long enough for the window to hold few beginnings.
ANSWERS = range(150, 251)
PROMPT = 2000
AR, LINEAR, AUTO = "ar", "linear", "auto"
ROOT = Path(__file__).parents[1]


@dataclass
class Client:
    """One client: sends requests one after the other and notes when its tokens arrived.

    Attributes:
        arrived: seconds of the monotonic clock and tokens, one entry a response.
        first: seconds to the first token of each request.
    """

    url: str
    inputs: Sequence[dict[str, Any]]
    arrived: list[tuple[float, int]] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        import tritonclient.grpc as grpc

        responses: queue.SimpleQueue[tuple[float, Any, Any]] = queue.SimpleQueue()
        connection = grpc.InferenceServerClient(self.url, channel_args=channel_options(self.url))
        connection.start_stream(lambda result, error: responses.put((time.monotonic(), result, error)))
        try:
            for inputs in itertools.cycle(self.inputs):
                tensors = [input_tensor(grpc, name, value) for name, value in {"stream": True, **inputs}.items()]
                sent, began, final = time.monotonic(), False, False
                connection.async_stream_infer(DEFAULT_MODEL_NAME, tensors, enable_empty_final_response=True)
                while not final:
                    if stop.is_set():
                        return
                    now, result, error = responses.get(timeout=DEFAULT_CLIENT_TIMEOUT)
                    if error is not None:
                        raise error
                    tokens = result.as_numpy("num_output_tokens")
                    if tokens is not None and tokens[0]:
                        if not began:
                            self.first.append(now - sent)
                        began = True
                        self.arrived.append((now, int(tokens[0])))
                    final = result.get_response().parameters["triton_final_response"].bool_param
        finally:
            connection.stop_stream(cancel_requests=True)
            connection.close()


def clients(url: str, inputs: Sequence[Sequence[dict[str, Any]]], seconds: float, results: Any) -> None:
    """Run clients for a time, in a process of their own, and hand back what each has noted.

    Args:
        inputs: of each client, its requests, which it sends in turn.
    """
    made = [Client(url, each) for each in inputs]
    stop = threading.Event()
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in made]
    for thread in threads:
        thread.start()
    while not all(each.arrived for each in made):
        time.sleep(0.01)
    begun = time.monotonic()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    results.put([(begun, begun + seconds, each.arrived, each.first) for each in made])


def observe(
    url: str, inputs: Sequence[Sequence[dict[str, Any]]], seconds: float
) -> list[tuple[float, float, Any, Any]]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=clients, args=(url, inputs, seconds, results))
    process.start()
    found: list[tuple[float, float, Any, Any]] = results.get()
    process.join()
    return found


def rate(noted: Sequence[tuple[float, float, Any, Any]]) -> float:
    """Tokens/s of some clients together, within their window."""
    return sum(
        sum(tokens for now, tokens in arrived if begun <= now <= ended) / (ended - begun)
        for begun, ended, arrived, _ in noted
    )


def request(mode: str, number: int, prompt: int = 20, tokens: int | None = None) -> dict[str, Any]:
    """Inputs of a request. Prompts of different numbers share no beginning, and answers have different lengths."""
    tokens = ANSWERS[37 * number % len(ANSWERS)] if tokens is None else tokens
    ids = [10 + (7 * place + 11 * number) % 80 for place in range(prompt)]
    ids[0] = 10 + number % 80
    return {"mode": mode, "input_ids": ids, "max_tokens": tokens, "ignore_eos": True}


def alone(engine: EngineFolder, count: int, seconds: float) -> float:
    """AR tokens/s of the engine without a server."""
    batch = Batch(engine.open_session("ort"), Codec.open(engine.path))
    requests = [
        Request(tuple(inputs["input_ids"]), AR, max_new_tokens=inputs["max_tokens"], eos_token_id=NEVER)
        for inputs in (request(AR, number) for number in range(count))
    ]

    def submit(number: int) -> None:
        batch.submit(requests[number % count])

    for number in range(count):
        submit(number)
    for _ in range(2 * count + 20):
        batch.step()
    begun, tokens = time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        for emission in batch.step():
            tokens += len(emission.tokens)
            if emission.finish_reason is not None:
                submit(emission.row.number + 1)
    return tokens / (time.monotonic() - begun)


def served(engine: EngineFolder, url: str, seconds: float) -> dict[str, Callable[[], dict[str, float]]]:
    def through(count: int) -> dict[str, float]:
        return {"tokens/s": rate(observe(url, [[request(AR, number)] for number in range(count)], seconds))}

    cases: dict[str, Callable[[], dict[str, float]]] = {}
    for count in (1, 4, 8, 16):
        if count <= engine.manifest.limits.max_batch_size:
            cases[f"{count} clients, engine alone"] = lambda count=count: {  # type: ignore[misc]
                "tokens/s": alone(engine, count, seconds)
            }
            cases[f"{count} clients, served"] = lambda count=count: through(count)  # type: ignore[misc]
    return cases


def neighbours(engine: EngineFolder, url: str, seconds: float) -> dict[str, Callable[[], dict[str, float]]]:
    def beside(modes: Sequence[str]) -> dict[str, float]:
        inputs = [[request(mode, number)] for number, mode in enumerate([AR] * 4 + list(modes))]
        noted = observe(url, inputs, seconds)
        return {"AR tokens/s of four": rate(noted[:4]), "tokens/s of the others": rate(noted[4:])}

    cases = {"nobody": [], "4 AR": [AR] * 4, "1 linear": [LINEAR], "4 linear": [LINEAR] * 4}
    return {f"beside {name}": lambda modes=modes: beside(modes) for name, modes in cases.items()}  # type: ignore[misc]


def prompts(engine: EngineFolder, url: str, seconds: float) -> dict[str, Callable[[], dict[str, float]]]:
    numbers = iter(range(10**6))

    def beside(count: int, *, long: bool) -> dict[str, float]:
        inputs = [[request(AR, number)] for number in range(count)]
        # One token is asked for: what this client does is send prompts.
        inputs += [[request(AR, 100 + next(numbers), PROMPT, 1)]] if long else []
        noted = observe(url, inputs, seconds)
        figures: dict[str, float] = {}
        if count:
            gaps = sorted(gap for each in noted[:count] for gap in between(*each[:3]))
            figures |= {
                "ITL p50 ms": 1000 * statistics.median(gaps),
                "ITL p99 ms": 1000 * gaps[int(0.99 * len(gaps))],
                "tokens/s": rate(noted[:count]),
            }
        if long:
            figures["TTFT p50 s"] = statistics.median(noted[-1][3])
        return figures

    return {
        "7 AR": lambda: beside(7, long=False),
        "7 AR and prompts": lambda: beside(7, long=True),
        "prompts": lambda: beside(0, long=True),
    }


def auto(engine: EngineFolder, url: str, seconds: float) -> dict[str, Callable[[], dict[str, float]]]:
    lines = (ROOT / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    lengths = [length for length in BLOCK_LENGTHS if length <= engine.manifest.limits.max_block_length]
    ways: dict[str, dict[str, Any]] = {"ar": {"mode": AR}}
    ways |= {f"linear {length}": {"mode": LINEAR, "block_length": length} for length in lengths}
    ways["auto"] = {"mode": AUTO}

    def through(way: str, count: int) -> dict[str, float]:
        # Every client begins at another prompt.
        mine = [
            texts[number * len(texts) // count :] + texts[: number * len(texts) // count] for number in range(count)
        ]
        noted = observe(url, [[{"text_input": text, **ways[way]} for text in each] for each in mine], seconds)
        return {"tokens/s": rate(noted)}

    counts = [count for count in (1, 4, 16) if count <= engine.manifest.limits.max_batch_size]
    return {
        f"{count} clients, {way}": lambda way=way, count=count: through(way, count)  # type: ignore[misc]
        for count in counts
        for way in ways
    }


def between(begun: float, ended: float, arrived: Sequence[tuple[float, int]]) -> list[float]:
    """Seconds between tokens: those that arrived together share the time since the response before."""
    gaps: list[float] = []
    for (before, _), (now, tokens) in itertools.pairwise(arrived):
        if begun <= now <= ended and tokens:
            gaps += [(now - before) / tokens] * tokens
    return gaps


PARTS = {"served": served, "neighbours": neighbours, "auto": auto, "prompts": prompts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the engine, alone and in the server; default: every core")
    parser.add_argument("-o", "--output", type=Path, help="results as JSON")
    options = parser.parse_args()
    if options.threads is not None:
        # For the engine in this process, and for the server, which inherits it.
        os.environ[THREADS_VARIABLE] = str(options.threads)
    engine = EngineFolder.open(options.engine)
    facts = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"nld-trt": engine.manifest.tool_version},
        "threads": options.threads,
        "seconds": options.seconds,
        "repeats": options.repeats,
    }
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Prompts that are sent again would be answered from the cache.
        repository = write_repository(engine, folder / "r", serving=ServingSettings(prefix_caching=False)).path
        server = stack.enter_context(TritonServer(repository, ports=FREE_PORTS))
        for part in options.parts:
            cases = PARTS[part](engine, server.grpc_url, options.seconds)
            found = results.setdefault(part, {name: {} for name in cases})
            for repeat in range(options.repeats):
                for name in list(cases) if repeat % 2 == 0 else reversed(list(cases)):
                    for figure, value in cases[name]().items():
                        found[name].setdefault(figure, []).append(value)
            for name, figures in found.items():
                shown = ", ".join(f"{figure} {statistics.median(values):.4g}" for figure, values in figures.items())
                print(f"{part}: {name}: {shown}", flush=True)
    if options.output:
        options.output.write_text(json.dumps({**facts, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
