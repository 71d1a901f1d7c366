"""Streams come in order, whole, and no further ahead than they should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from timesformer.inference.read_ahead import read_streams


def streams(count: int, length: int, made: list[tuple[int, int]]) -> list[Callable[[], Iterator[int]]]:
    def stream(number: int) -> Iterator[int]:
        for item in range(length):
            made.append((number, item))
            yield 10 * number + item

    return [lambda number=number: stream(number) for number in range(count)]  # type: ignore[misc]


@pytest.mark.parametrize("threads", [0, 1, 3, 9])
def test_in_order(threads: int) -> None:
    found = [list(stream) for stream in read_streams(streams(5, 7, []), threads, 2)]
    assert found == [[10 * number + item for item in range(7)] for number in range(5)]


def test_no_further_ahead_than_asked() -> None:
    made: list[tuple[int, int]] = []
    reading = read_streams(streams(5, 7, made), 2, 2)
    next(reading)
    until = time.monotonic() + 60
    while len(made) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)  # for more, which must not come
    # Two are in the queue, one waits for its place.
    assert sorted(made) == [(number, item) for number in range(2) for item in range(3)]
    reading.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
    assert len(made) <= 8


def test_what_a_stream_raises_comes_after_its_items() -> None:
    def bad() -> Iterator[int]:
        yield 1
        raise ValueError("truncated")

    reading = read_streams([bad, *streams(1, 2, [])], 2)
    first = next(reading)
    assert next(first) == 1
    with pytest.raises(ValueError, match="truncated"):
        next(first)
    assert list(next(reading)) == [0, 1]
