"""The function of an engine, from a classifier: the network, in the arithmetic and the runtime that were chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from timesformer.device import fast_bf16
from timesformer.engine.arithmetic import Arithmetic, floating, portable
from timesformer.engine.compiled import Compiled
from timesformer.engine.linear import has_onednn
from timesformer.engine.network import FusedTimeSformer, Network, PlainNetwork
from timesformer.errors import SettingError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.classifier import Classifier


class Run(Protocol):
    """What an engine calls: uint8 clips (B, 3, T, H, W) to float32 logits (B, K), or to features of a layer."""

    def __call__(self, clips: Tensor, layer: int | None = None, tokens: bool = False, /) -> Tensor: ...


def build(
    classifier: Classifier,
    engine: str,
    precision: str,
    device: torch.device,
    clips: Tensor | None,
    forget: Callable[[], None],
) -> Run:
    """`clips`: what int8 is calibrated on. `forget` is called when a part of the model is not needed any more."""
    model, preprocessing = classifier.model, classifier.preprocessing

    def network(how: Arithmetic) -> Network:
        if type(model) is TimeSformer:  # a subclass may compute something else
            return FusedTimeSformer(model, preprocessing, how, forget).to(device).eval()
        return PlainNetwork(model, preprocessing, how.enters).to(device).eval()

    if engine in ("openvino", "onnx"):
        from timesformer.engine.exported import Exported, onnx_graph, openvino_graph

        make = onnx_graph() if engine == "onnx" else openvino_graph(precision == "bf16")
        return Exported(network(Arithmetic()), make)
    if precision == "int8":
        from timesformer.engine.int8 import calibrate

        if type(model) is not TimeSformer:
            raise SettingError(f"precision int8 is not for architecture {model.settings.architecture}: fp32 or bf16")
        assert clips is not None
        wide = floating("bf16" if fast_bf16() else "fp32", device, packed=True)
        with torch.inference_mode():
            return network(calibrate(network, clips.split(1), wide))
    with torch.inference_mode(engine == "eager"), torch.no_grad():
        made = network(floating(precision, device, packed=engine == "eager" and has_onednn()))
    return made if engine == "eager" else Compiled(made, device)


def portable_network(classifier: Classifier, precision: str, clips: Tensor | None, *, any_shape: bool) -> Network:
    """The network by operations that other runtimes have too, in fp32, fp16, bf16, or int8 that is calibrated on
    `clips`. any_shape: as for `FusedTimeSformer`. Raises SettingError for a precision that the architecture lacks."""
    model, preprocessing = classifier.model, classifier.preprocessing
    if type(model) is not TimeSformer:
        if precision != "fp32":
            raise SettingError(f"precision {precision} is not for architecture {model.settings.architecture}: fp32")
        return PlainNetwork(model, preprocessing).eval()

    def network(how: Arithmetic) -> FusedTimeSformer:
        return FusedTimeSformer(model, preprocessing, how, any_shape=any_shape).eval()

    if precision != "int8":
        return network(portable(precision))
    from timesformer.engine.int8 import PortableInt8Linear, calibrate

    assert clips is not None
    return network(calibrate(network, clips.split(1), Arithmetic(), PortableInt8Linear))
