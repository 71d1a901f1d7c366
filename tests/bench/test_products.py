"""The products of a network are all of its multiply-accumulates, and none beside them."""

from __future__ import annotations

from typing import get_args

import pytest

from timesformer.baselines.cost import count_cost
from timesformer.bench.products import Product, inference_products, training_products
from timesformer.config import Scheme, TimeSformerSettings

SHAPE = (1, 3, 4, 64, 64)


def settings(scheme: Scheme = "divided_space_time", depth: int = 3) -> TimeSformerSettings:
    return TimeSformerSettings(size="tiny", depth=depth, scheme=scheme, num_frames=4, image_size=64, num_classes=7)


def total(products: list[Product]) -> int:
    return sum(product.macs for product in products)


def test_divided_attention_has_the_products_that_a_person_counts() -> None:
    """17 slots in each of 4 frames; the last block has time attention alone, all else of it is for one token."""
    found = {product for product in inference_products(settings(), SHAPE) if product.rows > 3}
    assert found == {
        Product("embedding", 1, 4 * 16, 3 * 16 * 16, 192),
        Product("linear", 1, 68, 192, 3 * 192, times=5),
        Product("linear", 1, 68, 192, 192, times=5),
        Product("linear", 1, 68, 192, 768, "gelu", times=2),
        Product("linear", 1, 68, 768, 192, times=2),
        Product("attention", 4 * 3, 17, 64, 17, times=2),
        Product("attention", 17 * 3, 4, 64, 4, times=3),
    }


def test_joint_attention_is_one_over_the_whole_clip() -> None:
    attentions = [p for p in inference_products(settings("joint_space_time"), SHAPE) if p.kind == "attention"]
    assert attentions == [Product("attention", 3, 65, 64, 65, times=2)]


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_a_training_step_has_three_times_the_products_of_a_forward_pass(scheme: Scheme) -> None:
    """But for the gradient of pixels, which nobody asks for."""
    embedding = 4 * 16 * 768 * 192
    assert total(training_products(settings(scheme), SHAPE)) == 3 * count_cost(settings(scheme)).macs - embedding


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_the_rewritten_network_has_a_block_less(scheme: Scheme) -> None:
    full = [count_cost(settings(scheme, depth)).macs for depth in (2, 3)]
    block = full[1] - full[0]
    found = total(inference_products(settings(scheme), SHAPE))
    assert full[0] - block < found < full[1]
    assert total(inference_products(settings(scheme, 4), SHAPE)) - found <= block


def test_a_batch_has_as_many_products_of_every_kind_as_its_clips() -> None:
    one, three = (total(inference_products(settings(), (batch, *SHAPE[1:]))) for batch in (1, 3))
    assert three == pytest.approx(3 * one, rel=1e-3)
