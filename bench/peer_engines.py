# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The libraries that bench/cpu_peers.py compares with: how each is given the weights, and how it decodes greedily.

Each opener takes the folder of a checkpoint as `convert --to ministral3` writes it, and makes of it what the library
reads, in FP32 or in the library's own default 4-bit format, head included. Rotary frequencies are the plain ones of the
base, because not every library has YaRN as the release defines it; their cost is the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

Tokens = list[int]

# What is timed with. Processor time is the measure where other work takes turns on the cores, for one thread.
clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Timed:
    """One decoding: its tokens, seconds until the first of them, and seconds from there to the last."""

    tokens: Tokens
    first: float
    rest: float


Run = Callable[[Tokens, int], Timed]


@dataclass(frozen=True)
class Peer:
    """A library: the package that ``pip`` installs, the module to import, and its opener.

    Attributes:
        open: from the checkpoint's folder, a scratch folder, the precision and the number of threads.
        has_fp32: it computes with FP32 weights.
    """

    package: str
    module: str
    open: Callable[[Path, Path, str, int], Run]
    has_fp32: bool = True


def timed(start: Callable[[Tokens], int], proceed: Callable[[int], int], prompt: Tokens, count: int) -> Timed:
    """Time ``count`` tokens: the first from the prompt, and each other from the one before."""
    began = clock()
    tokens = [start(prompt)]
    first = clock()
    while len(tokens) < count:
        tokens.append(proceed(tokens[-1]))
    return Timed(tokens, first - began, clock() - first)


def open_llama_cpp(source: Path, scratch: Path, precision: str, threads: int) -> Run:
    import llama_cpp as lib

    file = scratch / f"{precision}.gguf"
    write_gguf(source, file, precision)
    # The log callback must live as long as the library calls it.
    silent = lib.llama_log_callback(lambda *arguments: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = 1024, 512, 512
    settings.n_threads = settings.n_threads_batch = threads
    context = lib.llama_init_from_model(model, settings)
    vocab = json.loads((source / "config.json").read_text(encoding="utf-8"))["vocab_size"]

    def decode(tokens: Tokens) -> int:
        assert silent is not None
        buffer = (lib.llama_token * len(tokens))(*tokens)
        assert lib.llama_decode(context, lib.llama_batch_get_one(buffer, len(tokens))) == 0
        return int(np.argmax(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (vocab,))))

    def run(prompt: Tokens, count: int) -> Timed:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        return timed(decode, lambda token: decode([token]), prompt, count)

    return run


def write_gguf(source: Path, target: Path, precision: str) -> None:
    """Write the checkpoint as a llama model: F32, or Q4_0 in every matrix."""
    import gguf

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(4096)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    kind = gguf.GGMLQuantizationType.Q4_0
    for name, stored in load_file(source / "model.safetensors").items():
        tensor = stored.astype(np.float32)
        for part, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if f".{part}." in name:
                # The library rotates neighbours, the checkpoint halves.
                halves = tensor.reshape(count, 2, size // 2, -1)
                tensor = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
        new = names.get_name(name, try_suffixes=(".weight",))
        if precision == "4 bits" and tensor.ndim == 2:
            writer.add_tensor(new, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_genai(source: Path, scratch: Path, precision: str, threads: int) -> Run:
    import onnxruntime_genai as lib

    plain, target = as_mistral(source, scratch / "mistral"), scratch / f"genai {precision}"
    subprocess.run(
        [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", plain, "-o", target, "-e", "cpu",
         "-p", {"fp32": "fp32", "4 bits": "int4"}[precision], "-c", scratch / "cache",
         *(["--extra_options", "int4_accuracy_level=4"] if precision == "4 bits" else [])],
        check=True, capture_output=True,
    )  # fmt: skip
    file = target / "genai_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    # One that the random model does not give.
    settings["model"]["eos_token_id"] = 31999
    file.write_text(json.dumps(settings), encoding="utf-8")
    model = lib.Model(str(target))

    def run(prompt: Tokens, count: int) -> Timed:
        options = lib.GeneratorParams(model)
        options.set_search_options(do_sample=False, max_length=1024, past_present_share_buffer=True)
        generator = lib.Generator(model, options)

        def next_token() -> int:
            generator.generate_next_token()
            return int(generator.get_next_tokens()[0])

        def start(tokens: Tokens) -> int:
            generator.append_tokens(tokens)
            return next_token()

        return timed(start, lambda token: next_token(), prompt, count)

    return run


def as_mistral(source: Path, target: Path) -> Path:
    """The checkpoint as a Mistral model, the nearest that other libraries know."""
    if target.exists():
        return target
    target.mkdir()
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    rope = config.pop("rope_parameters")
    config.pop("llama_4_scaling", None)
    config |= {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "max_position_embeddings": 4096,
        "rope_theta": rope["rope_theta"],
    }  # fmt: skip
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(source / "model.safetensors", target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(__file__).parents[1] / "examples/nld-tiny" / name, target)
    return target


def open_openvino(source: Path, scratch: Path, precision: str, threads: int) -> Run:
    """OpenVINO runs the graph that onnxruntime-genai's builder writes: of its own converters, none takes a folder
    without more packages."""
    import openvino as lib

    graph = scratch / f"genai {precision}" / "model.onnx"
    if not graph.exists():
        open_genai(source, scratch, precision, threads)
    core = lib.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(graph), "CPU", options)
    request = compiled.create_infer_request()
    layers = json.loads((source / "config.json").read_text(encoding="utf-8"))
    shape = (1, layers["num_key_value_heads"], 0, layers["head_dim"])
    caches = [name for port in compiled.inputs for name in port.names if name.startswith("past_key_values")]

    def run(prompt: Tokens, count: int) -> Timed:
        state: Mapping[str, object] = {name: np.zeros(shape, np.float32) for name in caches}
        length = 0

        def decode(tokens: Tokens) -> int:
            nonlocal state, length
            length += len(tokens)
            known = {"input_ids": np.array([tokens], np.int64), "attention_mask": np.ones((1, length), np.int64)}
            request.infer({**known, **state}, share_inputs=True)
            # Copied, because the next forward writes to the same memory.
            state = {
                name: request.get_tensor(name.replace("past_key_values", "present")).data.copy() for name in caches
            }
            return int(np.argmax(request.get_tensor("logits").data[0, -1]))

        return timed(decode, lambda token: decode([token]), prompt, count)

    return run


def open_openvino_genai(source: Path, scratch: Path, precision: str, threads: int) -> Run:
    """Its pipeline reads GGUF files; it needs their tokenizer, and takes 4 bits and FP16, not FP32."""
    import openvino_genai as lib

    file = scratch / f"{precision}.gguf"
    if not file.exists():
        write_gguf(source, file, precision)
    pipe = lib.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=threads)

    def run(prompt: Tokens, count: int) -> Timed:
        arrived: list[float] = []

        def on_text(text: str) -> bool:
            arrived.append(clock())
            return False

        began = clock()
        found = pipe.generate(
            lib.TokenizedInputs(np.array([prompt]), np.ones((1, len(prompt)), np.int64)),
            max_new_tokens=count, ignore_eos=True, do_sample=False, streamer=on_text,
        )  # fmt: skip
        return Timed(list(found.tokens[0]), arrived[0] - began, arrived[-1] - arrived[0])

    return run


PEERS = {
    "llama.cpp": Peer("llama-cpp-python", "llama_cpp", open_llama_cpp),
    "onnxruntime-genai": Peer("onnxruntime-genai", "onnxruntime_genai", open_genai),
    "openvino": Peer("openvino", "openvino", open_openvino),
    "openvino-genai": Peer("openvino-genai", "openvino_genai", open_openvino_genai, has_fp32=False),
}
