"""The matrix products of a network, found by running it on the meta device, and what they take alone on this machine.

A forward pass that did nothing but its products, at the rates measured here and now, is the limit that the real one is
held against.

Dimensions: R rows, I channels in, O channels out; X any sets, N queries, M keys, K channels of a head.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from timesformer.bench.timing import Clock, timed
from timesformer.config import ModelSettings, Preprocessing
from timesformer.inference.fused import FusedTimeSformer
from timesformer.inference.int8 import Bytes, Int8Linear
from timesformer.inference.linear import Ending, PackedLinear, PlainLinear, has_onednn
from timesformer.model.timesformer import TimeSformer

QUERIES = 512  # of attention, at most, that are measured at once; more of them cost in proportion
FEW_MACS = 1e-4  # products with a smaller share of all multiply-accumulates are not measured
aten = torch.ops.aten


class Product(NamedTuple):
    """`count` products of (sets, rows, inner) with (sets, inner, columns), as a network does them.

    kind: "embedding" (of patches, which int8 leaves in floats), "linear" (weights that can be packed), "batched" (both
    factors new), or "attention", where (sets, N, K, M) stands for queries times keys and weights times values.
    """

    kind: str
    sets: int
    rows: int
    inner: int
    columns: int
    ending: Ending = "none"
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all `count`."""
        twice = 2 if self.kind == "attention" else 1
        return self.count * twice * self.sets * self.rows * self.inner * self.columns


class _Recorder(TorchDispatchMode):
    """Notes the shapes of all matrix products that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in (aten.mm, aten.addmm):
            x_RI, weight_IO = args[-2:]
            self.add("linear", 1, *x_RI.shape, weight_IO.shape[1])
        elif packet in (aten.bmm, aten.baddbmm):
            left, right = args[-2:]
            if right.stride(0) == 0:  # the same weights for all
                self.add("linear", 1, left.shape[0] * left.shape[1], *right.shape[1:])
            else:
                self.add("batched", *left.shape, right.shape[2])
        elif packet is aten.convolution:  # of patches that do not overlap
            frames, weight = args[:2]
            patches = frames.shape[0] * frames[0, 0].numel() // weight[0, 0].numel()
            self.add("embedding", 1, patches, weight[0].numel(), weight.shape[0])
        elif packet is aten.gelu:
            self.products[-1] = self.products[-1]._replace(ending="gelu")
        return func(*args, **(kwargs or {}))

    def add(self, kind: str, sets: int, rows: int, inner: int, columns: int) -> None:
        self.products.append(Product(kind, sets, rows, inner, columns))


class _Attentions(TorchFunctionMode):
    """Notes attentions as such, before torch takes them apart."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q_XNK, k_XMK = (x.flatten(0, -3) for x in args[:2])
        self.recorder.add("attention", *q_XNK.shape, k_XMK.shape[1])
        return torch.empty_like(args[0])


def inference_products(settings: ModelSettings, shape: Sequence[int]) -> list[Product]:
    """The products of the network rewritten for inference (`timesformer.inference.fused`) on clips (B, 3, T, H, W)."""
    network = FusedTimeSformer(_without_weights(settings), Preprocessing()).eval()
    found = _recorded(network, torch.empty(*shape, dtype=torch.uint8, device="meta"))
    return _merged([found[0]._replace(kind="embedding"), *found[1:]])


def training_products(settings: ModelSettings, shape: Sequence[int]) -> list[Product]:
    """The products of a forward and a backward pass of the model, nothing recomputed, on clips (B, 3, T, H, W).

    A linear layer has three: outputs, gradients of inputs and of weights (the embedding needs no gradient of pixels).
    Attention's two become six.
    """
    products = []
    for product in _recorded(_without_weights(settings), torch.empty(*shape, device="meta")):
        kind, sets, rows, inner, columns, *_ = product
        if kind == "attention":
            products.append(product._replace(count=3))
            continue
        products += [product._replace(ending="none"), Product(kind, sets, inner, rows, columns)]
        if kind != "embedding":
            products.append(Product(kind, sets, rows, columns, inner))
    return _merged(products)


def _without_weights(settings: ModelSettings) -> TimeSformer:
    with torch.device("meta"):
        return TimeSformer(**settings.model_dump()).eval().requires_grad_(False)


def _recorded(network: nn.Module, clips: Tensor) -> list[Product]:
    with torch.inference_mode(False), torch.no_grad(), _Recorder() as recorder, _Attentions(recorder):
        network(clips)
    return recorder.products


def _merged(products: list[Product]) -> list[Product]:
    """Equal products once, with their number; the largest share of the work first."""
    counts: Counter[Product] = Counter()
    for product in products:
        counts[product._replace(count=1)] += product.count
    return sorted((product._replace(count=count) for product, count in counts.items()), key=lambda p: -p.macs)


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
        kind, sets, rows, inner, columns, ending, count = product
        if kind in ("linear", "embedding"):
            return self._linear(product), count
        if kind == "batched":
            left, right = self._random(sets, rows, inner), self._random(sets, inner, columns)
            return lambda: torch.bmm(left, right), count
        if self.device.type == "cuda":  # flash kernels keep the weights out of memory: two products apart would not
            q, k, v = (self._random(1, sets, length, inner) for length in (rows, columns, columns))
            return lambda: F.scaled_dot_product_attention(q, k, v), count
        queries = min(rows, QUERIES)
        q, k, v = (self._random(sets, length, inner) for length in (queries, columns, columns))
        shares = self._random(sets, queries, columns)
        return lambda: (torch.bmm(q, k.transpose(1, 2)), torch.bmm(shares, v)), count * rows / queries

    def _linear(self, product: Product) -> Callable[[], object]:
        _, _, rows, inner, columns, ending, _ = product
        if self.precision == "int8" and product.kind == "linear":
            weight_OI, bias_O = torch.randn(columns, inner), torch.randn(columns)
            gives = Bytes(0.1, 10) if ending == "gelu" else None
            layer: nn.Module = Int8Linear(weight_OI, bias_O, ending, Bytes(0.02, 128), gives, self.dtype)
            x_RI = torch.randint(0, 256, (rows, inner), dtype=torch.uint8)
        else:
            packed = self.device.type == "cpu" and has_onednn()
            layer = (PackedLinear if packed else PlainLinear)(self._random(columns, inner), self._random(columns),
                                                              ending)  # fmt: skip
            x_RI = self._random(rows, inner)
        return lambda: layer(x_RI)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=self.dtype, device=self.device)
