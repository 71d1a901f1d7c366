"""What a network's matrix products take alone on this machine, measured in turn with what is held against that limit.

Dimensions: R rows, I channels in, O channels out; X any sets, N queries, M keys, K channels of a head.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.bench.products import Product
from timesformer.bench.timing import Clock, Spread, forget_peak, timed
from timesformer.device import peak_memory
from timesformer.engine.int8 import Bytes, Int8Linear
from timesformer.engine.linear import PackedLinear, PlainLinear, has_onednn

QUERIES = 512  # of attention, at most, that are measured at once; more of them cost in proportion
FEW_MACS = 1e-4  # products with a smaller fraction of all multiply-accumulates are not measured


class Limit(NamedTuple):
    """What a network's products take alone: `seconds` of all, and `peak`, the best rate of one, in MACs a second."""

    seconds: float
    peak: float


class Limits:
    """Products with random numbers, ready to be timed again and again.

    precision: "fp32", "bf16" or "int8" (linear layers alone; the rest then is bf16). On a CPU linear layers run as
    oneDNN's, packed once, where torch has them.
    """

    def __init__(self, products: list[Product], precision: str, device: torch.device) -> None:
        total = sum(product.macs for product in products)
        self.device, self.precision = device, precision
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.macs = total
        self.parts = [(product, *self._make(product)) for product in products if product.macs >= FEW_MACS * total]
        if device.type == "cuda":  # the card's peak: a square that fills it
            self.square = torch.randn(8192, 8192, dtype=self.dtype, device=device)

    def measure(self, clock: Clock = time.perf_counter) -> Limit:
        """Time each product, once its caches are warm; by processor time where `clock` is time.process_time."""
        seconds = peak = 0.0
        with torch.inference_mode():
            for product, run, times in self.parts:
                run()
                taken = timed(run, self.device, clock) * times
                seconds += taken
                peak = max(peak, product.macs / taken)
            if self.device.type == "cuda":
                torch.mm(self.square, self.square)
                taken = min(timed(lambda: torch.mm(self.square, self.square), self.device) for _ in range(5))
                peak = max(peak, 8192**3 / taken)
        return Limit(seconds, peak)

    def _make(self, product: Product) -> tuple[Callable[[], object], float]:
        """The product to run, and how often it counts."""
        kind, sets, rows, inner, columns, _, times, convolution = product
        if convolution is not None:
            given, weight = self._random(*convolution.given), self._random(*convolution.weight)
            stride, padding, groups = convolution.stride, convolution.padding, convolution.groups
            return lambda: F.conv3d(given, weight, None, stride, padding, 1, groups), times
        if kind in ("linear", "embedding"):
            return self._linear(product), times
        if kind == "batched":
            left, right = self._random(sets, rows, inner), self._random(sets, inner, columns)
            return lambda: torch.bmm(left, right), times
        if self.device.type == "cuda":  # flash kernels keep the weights out of memory: two products apart would not
            q, k, v = (self._random(1, sets, length, inner) for length in (rows, columns, columns))
            return lambda: F.scaled_dot_product_attention(q, k, v), times
        queries = min(rows, QUERIES)
        q, k, v = (self._random(sets, length, inner) for length in (queries, columns, columns))
        weights = self._random(sets, queries, columns)
        return lambda: (torch.bmm(q, k.transpose(1, 2)), torch.bmm(weights, v)), times * rows / queries

    def _linear(self, product: Product) -> Callable[[], object]:
        _, _, rows, inner, columns, activation, *_ = product
        if self.precision == "int8" and product.kind == "linear":
            weight_OI, bias_O = torch.randn(columns, inner), torch.randn(columns)
            gives = Bytes(0.1, 10) if activation == "gelu" else None
            layer: nn.Module = Int8Linear(weight_OI, bias_O, activation, Bytes(0.02, 128), gives, self.dtype)
            x_RI = torch.randint(0, 256, (rows, inner), dtype=torch.uint8)
        else:
            packed = self.device.type == "cpu" and has_onednn()
            layer = (PackedLinear if packed else PlainLinear)(
                self._random(columns, inner), self._random(columns), activation
            )
            x_RI = self._random(rows, inner)
        return lambda: layer(x_RI)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=self.dtype, device=self.device)


class Speed(NamedTuple):
    """Speed of one piece of work on a batch of clips, against its limit.

    clips        shape (B, 3, T, H, W) of a batch
    rounds       measurements, each of the work and then of its products
    seconds      of a batch: median, smallest and largest
    clips_per_second
    macs         multiply-accumulates that a batch needs
    macs_per_second
    limit        seconds that those products take alone
    fraction     median over rounds of limit / seconds: 1 would be work that is nothing but its products
    peak         MACs a second of the best of those products; on CUDA, of the best product at all
    fraction_of_peak  macs_per_second / peak
    memory       bytes at the peak: of the process, or of the GPU's memory
    memory_alone  whether `memory` is that of the work alone (where not, it is the process's since it started)
    """

    clips: tuple[int, ...]
    rounds: int
    seconds: Spread
    clips_per_second: float
    macs: int
    macs_per_second: float
    limit: Spread
    fraction: float
    peak: float
    fraction_of_peak: float
    memory: int
    memory_alone: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self._asdict(), "seconds": self.seconds._asdict(), "limit": self.limit._asdict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Speed:
        """The opposite of `as_dict`."""
        spreads = {name: Spread(**values[name]) for name in ("seconds", "limit")}
        return cls(**{**values, **spreads, "clips": tuple(values["clips"])})


def measure_speed(
    run: Callable[[], object],
    products: list[Product],
    clips: tuple[int, ...],
    precision: str,
    device: torch.device,
    rounds: int,
    on_round: Callable[[], object] = lambda: None,
) -> Speed:
    """Run once to warm up and for the peak of memory; then run and its products in turn, `rounds` times."""
    memory_alone = forget_peak(device)
    run()
    memory = peak_memory(device)
    limits = Limits(products, precision, device)
    times, alone = [], []
    for _ in range(rounds):
        times.append(timed(run, device))
        alone.append(limits.measure())
        on_round()
    seconds = Spread.of(times)
    fraction = Spread.of([limit.seconds / own for limit, own in zip(alone, times, strict=True)]).median
    rate, peak = limits.macs / seconds.median, Spread.of([limit.peak for limit in alone]).median
    return Speed(
        clips,
        rounds,
        seconds,
        clips[0] / seconds.median,
        limits.macs,
        rate,
        Spread.of([limit.seconds for limit in alone]),
        fraction,
        peak,
        rate / peak,
        memory,
        memory_alone,
    )
