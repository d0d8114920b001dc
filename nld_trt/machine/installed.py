# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed on this machine, found without importing it. Nothing here raises.

onnxruntime is the exception that is imported: only it knows its execution providers.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
from pathlib import Path

# Distributions whose version explains a result. pyproject.toml says which extra brings them.
PACKAGES = (
    "click",
    "cuda-bindings",
    "datasets",
    "fastapi",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "ml_dtypes",
    "numpy",
    "nvidia-cuda-nvrtc",
    "nvidia-ml-py",
    "nvidia-modelopt",
    "nvidia-pytriton",
    "onnx",
    "onnxruntime",
    "pyyaml",
    "requests",
    "rich",
    "tensorrt",
    "tensorrt-rtx",
    "tokenizers",
    "torch",
    "transformers",
    "tritonclient",
    "uvicorn",
)


def package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_versions() -> dict[str, str]:
    """The versions of PACKAGES, of those that are installed."""
    return {name: version for name in PACKAGES if (version := package_version(name))}


def release(version: str) -> tuple[int, ...]:
    """The numbers that order releases: ``2.13.0+cpu`` is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def ort_providers() -> tuple[str, ...]:
    """The execution providers of ONNX Runtime; none where it cannot be imported."""
    try:
        import onnxruntime
    except (ImportError, OSError):
        return ()
    return tuple(onnxruntime.get_available_providers())


def tritonserver() -> Path | None:
    """The Triton Inference Server of this machine: the one on PATH, else the one that nvidia-pytriton carries."""
    on_path = shutil.which("tritonserver")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("pytriton")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        server = Path(folder) / "tritonserver" / "bin" / "tritonserver"
        if server.is_file():
            return server
    return None
