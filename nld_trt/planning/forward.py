# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The time of one forward of a network on a GPU, by the law of its matrix products and what else a layer does.

    products: fixed + (memory^p + arithmetic^p)^(1/p)    for each; the head once
    attention: bytes of cached keys and values of all rows, so many times
    tokens: bytes of activations of all new tokens, so many times
    layers: a floor of kernels, more with blocks, and more with blocks of several rows

The law of products belongs to the GPU (``platform.py``), and the rest to :class:`Overheads`, which ``fit.py`` fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.planning.platform import GpuPlatform, Law, read_yaml
from nld_trt.planning.products import ModelShape, Product
from nld_trt.planning.provenance import FITTED, Provenance, weakest

# unknown: a measured forward of which no law can say it.
Bound = Literal["bandwidth", "arithmetic", "launches", "unknown"]

_FITTED: Final = Path(__file__).parent / "fitted.yaml"
_MICROSECOND: Final = 1e-6
# Precision of the weights to that of the law, where it has none of its own.
_LAWS: Final[Mapping[str, str]] = {names.FP16: names.BF16, names.INT4: names.BF16}


@dataclass(frozen=True)
class Overheads:
    """What a forward takes beside its products. Fitted to published and own measurements, all platforms together.

    Attributes:
        layer: microseconds of the small kernels of a layer.
        block: more, in microseconds a layer, where a forward has more than one token per row: masked attention.
        rows: more again, with many rows of blocks; 1 - 1/rows of it with few.
        cache_reads: times that keys and values of all cached tokens are read, at the law's bandwidth.
        token_passes: times that a token's activations are moved, likewise.
        int4, fp8: additional part of the products' time in forwards of blocks. Single products of FP8 take as long for
            32 tokens as for one, so that this may as well be the draft's adapter, or fewer accepted tokens.
        server_round, server_row: milliseconds of the pre-release server beside each forward, and for each row.
    """

    layer: float = 0.0
    block: float = 0.0
    rows: float = 0.0
    cache_reads: float = 0.0
    token_passes: float = 0.0
    int4: float = 0.0
    fp8: float = 0.0
    server_round: float = 0.0
    server_row: float = 0.0

    @classmethod
    def shipped(cls) -> Overheads:
        """Those in ``fitted.yaml``."""
        return cls(**read_yaml(_FITTED)["overheads"])

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


OVERHEADS: Final = tuple(each.name for each in fields(Overheads))


@dataclass(frozen=True)
class Parts:
    """Seconds of a forward's products by what takes them, and the seconds that one unit of each overhead is.

    Attributes:
        products: the time of all products; less than the three parts together, which overlap.
        fixed, memory, arithmetic: what the products of a forward would take for launches, bytes and FLOPs alone.
        units: seconds for each field of :class:`Overheads`.
    """

    products: float
    fixed: float
    memory: float
    arithmetic: float
    units: Mapping[str, float]


@dataclass(frozen=True)
class ForwardTime:
    """The time of one forward of ``rows`` rows with ``width`` new tokens each.

    Attributes:
        bound: what the largest part of the time is spent on.
    """

    width: int
    rows: int
    seconds: float
    bound: Bound
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "rows": self.rows,
            "milliseconds": self.seconds * 1e3,
            "bound": self.bound,
            "provenance": self.provenance,
        }


def has_laws(platform: GpuPlatform, shape: ModelShape) -> bool:
    """Whether products of all the model's precisions have a law on this GPU."""
    return all(_LAWS.get(each, each) in platform.laws for each in (names.BF16, *shape.precisions, shape.head.precision))


def law_of(platform: GpuPlatform, precision: str) -> Law:
    """The law of products with weights of ``precision``.

    Raises:
        InputError: nobody has measured any on this GPU.
    """
    found = platform.laws.get(_LAWS.get(precision, precision))
    if found is None:
        reason = platform.missing.get(precision, "no measured products of this precision are known")
        raise InputError(
            f"plan has no {precision} law for {platform.title}: {reason}",
            details=[f"it has laws for: {', '.join((*platform.laws, names.INT4))}"],
            fix="Measure an engine there, and pass its times: nld-trt bench loop ENGINE_DIR --table -o bench.json; "
            "nld-trt plan ... --calibrate bench.json",
        )
    return found


def parts_of(platform: GpuPlatform, shape: ModelShape, rows: int, width: int, context: int) -> Parts:
    """What a forward of ``rows`` rows with ``width`` new tokens each, after ``context`` cached ones, is made of.

    Raises:
        InputError: there is no law for one of the model's precisions.
    """
    tokens = rows * width
    total = fixed = memory = arithmetic = 0.0
    quantized = {names.INT4: 0.0, names.FP8: 0.0}
    for product, count in (*shape.products, (shape.head, 1)):
        times = _product(platform, product, tokens)
        total += count * times[0]
        fixed, memory, arithmetic = (
            sofar + count * more for sofar, more in zip((fixed, memory, arithmetic), times[1:], strict=True)
        )
        if product.precision in quantized:
            quantized[product.precision] += count * times[0]
    bandwidth = law_of(platform, names.BF16).bandwidth
    layers, blocks = shape.layers * _MICROSECOND, float(width > 1)
    units = {
        "layer": layers,
        "block": layers * blocks,
        "rows": layers * blocks * (1 - 1 / rows),
        "cache_reads": rows * (context + width) * shape.kv_bytes / bandwidth,
        "token_passes": tokens * shape.activation_bytes / bandwidth,
        "int4": blocks * quantized[names.INT4],
        "fp8": blocks * quantized[names.FP8],
        "server_round": 0.0,
        "server_row": 0.0,
    }
    return Parts(total, fixed, memory, arithmetic, units)


def product_seconds(platform: GpuPlatform, product: Product, tokens: int) -> float:
    """The time of one product with ``tokens`` new tokens."""
    return _product(platform, product, tokens)[0]


def _product(platform: GpuPlatform, product: Product, tokens: int) -> tuple[float, float, float, float]:
    """Seconds of a product; and of its launch, its bytes and its FLOPs alone."""
    law, power = law_of(platform, product.precision), platform.sharpness
    memory, arithmetic = product.bytes / law.bandwidth, product.flops(tokens) / law.arithmetic
    larger = max(memory, arithmetic)
    # Divided by the larger one first: powers of microseconds are tiny.
    smooth = larger * ((memory / larger) ** power + (arithmetic / larger) ** power) ** (1 / power)
    return law.seconds + smooth, law.seconds, memory, arithmetic


_LAUNCHES: Final = ("layer", "block", "rows")
_BANDWIDTH: Final = ("cache_reads", "token_passes", "int4", "fp8")


def predict(
    platform: GpuPlatform, shape: ModelShape, overheads: Overheads, *, rows: int, width: int, context: int
) -> ForwardTime:
    """The time of a forward by the laws.

    Raises:
        InputError: there is no law for one of the model's precisions.
    """
    parts = parts_of(platform, shape, rows, width, context)
    spent = {name: getattr(overheads, name) * seconds for name, seconds in parts.units.items()}
    by_bound: dict[Bound, float] = {
        "bandwidth": parts.memory + sum(spent[name] for name in _BANDWIDTH),
        "arithmetic": parts.arithmetic,
        "launches": parts.fixed + sum(spent[name] for name in _LAUNCHES),
    }
    return ForwardTime(
        width,
        rows,
        parts.products + sum(spent.values()),
        max(by_bound, key=lambda bound: by_bound[bound]),
        weakest((FITTED, *(law_of(platform, precision).provenance for precision in shape.precisions))),
    )
