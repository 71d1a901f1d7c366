"""Windows of local attention, and the tiles that they are computed in."""

from __future__ import annotations

import pytest

from timesformer.model.local import window, window_tiles


@pytest.mark.parametrize("length", range(1, 41))
def test_tiles_cover_the_axis_with_the_windows_of_the_definition(length: int) -> None:
    size = max(1, length // 2)
    for place in range(length):
        start = min(max(place - size // 2, 0), length - size)
        assert window(place, length) == range(start, start + size)
        assert place in window(place, length)
    tiles = window_tiles(length)
    # In order: the tiles are joined again by concatenation.
    assert [place for tile in tiles for place in tile.places] == list(range(length))
    for tile in tiles:
        windows = [window(place, length) for place in tile.places]
        assert set(tile.keys) == {key for keys in windows for key in keys}
        assert len(tile.keys) <= size + max(0, size // 3 - 1)


def test_tiles_of_the_docstring() -> None:
    assert [(list(tile.places), tile.keys) for tile in window_tiles(14)] == [
        ([0, 1, 2, 3], range(7)),
        ([4, 5], range(1, 9)),
        ([6, 7], range(3, 11)),
        ([8, 9], range(5, 13)),
        ([10, 11, 12, 13], range(7, 14)),
    ]
