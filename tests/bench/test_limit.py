"""Seconds, fractions and rates follow from the times that are taken; memory is that of the work."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import pytest
import torch

from timesformer.bench import limit
from timesformer.bench.limit import Limits, Speed, measure_speed
from timesformer.bench.products import Product
from timesformer.bench.timing import Spread, forget_peak, timed
from timesformer.device import peak_memory

CPU = torch.device("cpu")
PRODUCTS = [
    Product("linear", 1, 8, 4, 6, times=3),
    Product("embedding", 1, 8, 4, 6),
    Product("batched", 2, 3, 4, 5, times=2),
    Product("attention", 2, 1024, 4, 16, times=5),
]


@pytest.fixture
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is timed runs, and takes half a second."""

    def fake(run: Callable[[], object], device: torch.device, clock: Any = None) -> float:
        run()
        return 0.5

    monkeypatch.setattr(limit, "timed", fake)


@pytest.mark.usefixtures("half_a_second")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_products_count_as_often_as_they_run(precision: str) -> None:
    """1024 queries are measured as 512, and count twice."""
    found = Limits(PRODUCTS, precision, CPU).measure()
    assert found.seconds == 0.5 * (3 + 1 + 2 + 5 * 2)
    assert found.peak == 5 * 2 * 2 * 1024 * 4 * 16 / (0.5 * 10)


@pytest.mark.usefixtures("half_a_second")
def test_speed() -> None:
    runs: list[int] = []
    speed = measure_speed(lambda: runs.append(1), PRODUCTS[:1], (4, 3, 8, 224, 224), "fp32", CPU, rounds=3)
    assert len(runs) == 4  # one to warm up
    assert speed.seconds == Spread(0.5, 0.5, 0.5)
    assert speed.limit == Spread(1.5, 1.5, 1.5)
    assert (speed.fraction, speed.clips_per_second, speed.macs) == (3.0, 8.0, 3 * 8 * 4 * 6)
    assert speed.macs_per_second == speed.macs / 0.5
    assert speed.fraction_of_peak == pytest.approx(3.0)
    assert Speed.from_dict(speed.as_dict()) == speed


def test_the_products_are_those_they_stand_for() -> None:
    """Shapes of what runs, by kind."""
    made = {part[0].kind: part[1]() for part in Limits(PRODUCTS, "fp32", CPU).parts}
    assert made["linear"].shape == (8, 6)
    assert made["batched"].shape == (2, 3, 5)
    assert [product.shape for product in made["attention"]] == [(2, 512, 16), (2, 512, 4)]


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 9.0]) == Spread(2.5, 1.0, 9.0)


def test_the_clock_is_read_before_and_after() -> None:
    ticks = iter([10.0, 12.5])
    assert timed(lambda: None, CPU, lambda: next(ticks)) == 2.5


def test_the_peak_of_memory_is_seen_and_forgotten() -> None:
    if not forget_peak(CPU):
        pytest.skip("this system does not let a process forget its peak")
    before = peak_memory(CPU)
    with mmap.mmap(-1, 200_000_000) as block:  # a tensor's memory would stay: training here tells malloc to keep it
        for _ in range(200):
            block.write(bytes(1_000_000))
    assert 190e6 < peak_memory(CPU) - before < 260e6
    forget_peak(CPU)
    assert peak_memory(CPU) - before < 60e6
