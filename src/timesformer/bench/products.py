"""The matrix products and convolutions of a network, found by running it on the meta device.

Dimensions: R rows, I channels in, O channels out; X any sets, N queries, M keys, K channels of a head.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from timesformer.baselines.architectures import build_model
from timesformer.config import ModelSettings, Preprocessing, TimeSformerSettings
from timesformer.engine.linear import Activation
from timesformer.engine.network import FusedTimeSformer
from timesformer.model.protocol import VideoModel
from timesformer.model.timesformer import TimeSformer

aten = torch.ops.aten
COLOURS = 3


class Convolution(NamedTuple):
    """A convolution in three dimensions, as torch takes it."""

    given: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int


class Product(NamedTuple):
    """`times` products of (sets, rows, inner) with (sets, inner, columns), as a network does them.

    kind: "embedding" (of patches, which int8 leaves in floats), "linear" (weights that can be packed), "batched" (both
    factors new), "attention", where (sets, N, K, M) stands for queries times keys and weights times values, or
    "convolution", whose sets are its groups, its rows the positions of its result.
    """

    kind: str
    sets: int
    rows: int
    inner: int
    columns: int
    activation: Activation = "none"
    times: int = 1
    convolution: Convolution | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all `times`."""
        twice = 2 if self.kind == "attention" else 1
        return self.times * twice * self.sets * self.rows * self.inner * self.columns


class _Recorder(TorchDispatchMode):
    """Notes the shapes of all matrix products that are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in (aten.mm, aten.addmm):
            x_RI, weight_IO = args[-2:]
            self.note("linear", 1, x_RI.shape[0], x_RI.shape[1], weight_IO.shape[1])
        elif packet in (aten.bmm, aten.baddbmm):
            left, right = args[-2:]
            if right.stride(0) == 0:  # the same weights for all
                self.note("linear", 1, left.shape[0] * left.shape[1], right.shape[1], right.shape[2])
            else:
                self.note("batched", left.shape[0], left.shape[1], left.shape[2], right.shape[2])
        elif packet is aten.convolution and args[1].ndim == 5:
            self.convolve(*args)
        elif packet is aten.convolution:  # of patches that do not overlap
            frames, weight = args[:2]
            patches = frames.shape[0] * frames[0, 0].numel() // weight[0, 0].numel()
            self.note("embedding", 1, patches, weight[0].numel(), weight.shape[0])
        elif packet is aten.gelu:
            self.products[-1] = self.products[-1]._replace(activation="gelu")
        return func(*args, **(kwargs or {}))

    def convolve(self, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, *others: Any) -> None:
        """Note a convolution in three dimensions."""
        groups = others[-1]
        sides = zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)
        positions = math.prod((side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in sides)
        convolution = Convolution(tuple(x.shape), tuple(weight.shape), tuple(stride), tuple(padding), groups)
        product = Product("convolution", groups, len(x) * positions, weight[0].numel(), len(weight) // groups)
        self.products.append(product._replace(convolution=convolution))

    def note(self, kind: str, sets: int, rows: int, inner: int, columns: int) -> None:
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
        self.recorder.note("attention", q_XNK.shape[0], q_XNK.shape[1], q_XNK.shape[2], k_XMK.shape[1])
        return torch.empty_like(args[0])


def inference_products(settings: ModelSettings, shape: Sequence[int]) -> list[Product]:
    """The products of what an engine runs on clips (B, 3, T, H, W): of TimeSformer rewritten for inference
    (`timesformer.engine.network`), of any other architecture as it is."""
    if not isinstance(settings, TimeSformerSettings):
        return _merged(_recorded(_without_weights(settings), torch.empty(*shape, device="meta")))
    model = _without_weights(settings)
    assert isinstance(model, TimeSformer)
    network = FusedTimeSformer(model, Preprocessing()).eval()
    found = _recorded(network, torch.empty(*shape, dtype=torch.uint8, device="meta"))
    return _merged([found[0]._replace(kind="embedding"), *found[1:]])


def training_products(settings: ModelSettings, shape: Sequence[int]) -> list[Product]:
    """The products of a forward and a backward pass of the model on clips (B, 3, T, H, W), all activations kept.

    A linear layer has three: outputs, gradients of inputs and of weights (the embedding needs no gradient of pixels).
    Attention's two become six, and a convolution counts three times, of pixels twice.
    """
    products = []
    for product in _recorded(_without_weights(settings), torch.empty(*shape, device="meta")):
        kind, sets, rows, inner, columns, *_ = product
        if kind in ("attention", "convolution"):
            of_pixels = product.convolution is not None and product.convolution.given[1] == COLOURS
            products.append(product._replace(times=2 if of_pixels else 3))
            continue
        products += [product._replace(activation="none"), Product(kind, sets, inner, rows, columns)]
        if kind != "embedding":
            products.append(Product(kind, sets, rows, columns, inner))
    return _merged(products)


def _without_weights(settings: ModelSettings) -> VideoModel:
    with torch.device("meta"):
        return build_model(settings).eval().requires_grad_(False)


def _recorded(network: nn.Module, clips: Tensor) -> list[Product]:
    recorder = _Recorder()
    with torch.inference_mode(False), torch.no_grad(), recorder, _Attentions(recorder):
        network(clips)
    return recorder.products


def _merged(products: list[Product]) -> list[Product]:
    """Equal products once, with their number; the most work first."""
    counts: Counter[Product] = Counter()
    for product in products:
        counts[product._replace(times=1)] += product.times
    return sorted((product._replace(times=times) for product, times in counts.items()), key=lambda p: -p.macs)
