"""The speed of other architectures than TimeSformer: what is held against their work are all of their convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines_small import SMALL, small_model, small_settings
from commands import Command, assert_one_line
from timesformer.baselines.cost import count_cost
from timesformer.bench.cost import measure_point
from timesformer.bench.limit import Limits
from timesformer.bench.model import measure_model
from timesformer.bench.products import Convolution, inference_products, training_products
from timesformer.bench.train import Step
from timesformer.weights.classifier import Classifier


@pytest.mark.parametrize("architecture", SMALL)
def test_products_are_all_multiply_accumulates(architecture: str) -> None:
    settings = small_settings(architecture)
    shape = (1, 3, settings.num_frames, settings.image_size, settings.image_size)
    products = inference_products(settings, shape)
    counted = count_cost(settings).macs
    assert sum(product.macs for product in products) == counted
    pixels = [p for p in products if p.kind == "embedding" or (p.convolution and p.convolution.given[1] == 3)]
    assert len(pixels) == (2 if architecture == "slowfast" else 1)
    taught = sum(product.macs for product in training_products(settings, shape))
    assert taught == 3 * counted - sum(product.macs for product in pixels)


def test_convolutions_are_timed_as_they_are() -> None:
    settings = small_settings("x3d_s", image_size=64)
    products = inference_products(settings, (2, 3, 5, 64, 64))
    depthwise = [product for product in products if product.convolution and product.convolution.weight[2:] == (3, 3, 3)]
    assert depthwise[0].convolution == Convolution((2, 18, 5, 32, 32), (18, 1, 3, 3, 3), (1, 2, 2), (1, 1, 1), 18)
    assert (depthwise[0].sets, depthwise[0].rows, depthwise[0].inner, depthwise[0].columns) == (18, 2560, 27, 1)
    limit = Limits(products, "fp32", torch.device("cpu")).measure()
    assert limit.seconds > 0


def test_weights_and_random_ones_of_any_architecture(command: Command) -> None:
    found = measure_model(
        Classifier(small_model("i3d"), labels=tuple("abcde")), precision="fp32", rounds=1, device="cpu"
    )
    assert (found.scheme, found.engine, found.speed.clips) == ("i3d", "eager", (1, 3, 4, 32, 32))
    assert found.speed.macs == count_cost(small_settings("i3d")).macs
    options: Any = (
        "--frames",
        4,
        "--image-size",
        32,
        "--rounds",
        1,
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--json",
    )
    assert '"scheme": "x3d_s"' in command("bench", "model", "--architecture", "x3d_s", *options).out
    refused = command("bench", "model", "--architecture", "x3d_s", "--scheme", "axial", *options)
    assert_one_line(refused, "bench model: 'scheme' is a setting of architecture timesformer")
    refused = command("bench", "train", "--architecture", "resnet")
    assert_one_line(refused, "architecture is 'resnet', should be timesformer or i3d or")


def test_a_step_and_a_point_of_the_sweep() -> None:
    settings = small_settings("tsm")
    step = Step(settings, 2, "fp32", "cpu")
    first = float(step())
    assert float([step() for _ in range(12)][-1]) < first
    for train in (False, True):
        found = measure_point(
            settings=settings.model_dump(mode="json"),
            batch=1,
            rounds=1,
            train=train,
            checkpoint_activations="none",
            engine="eager",
            precision="fp32",
            device="cpu",
            seconds=60.0,
            memory_limit=None,
        )
        assert found["seconds"] > 0
