"""Maps of views, placed in the video's own pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from classifiers import some_clips
from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.config.explain import Query
from timesformer.errors import SettingError
from timesformer.explain.placement import Views, find_cell, moved_views, place_views, video_map, view_cells
from timesformer.video.source import open_video
from videos import write


def views_of(clip: Tensor, shape: ClipShape, **values: object) -> Views:
    preprocessing = Preprocessing.model_validate({"sampling": Sampling(rate=1), **values})
    with open_video(clip) as video:
        return place_views(video, shape, preprocessing)


def bright_cells(views: Views, rows: int, columns: int) -> Tensor:
    """What each cell of each view shows, (V, T, R, Q): a map that is right by construction."""
    grey = views.clips_VCTSS.float().mean(1)
    return torch.nn.functional.adaptive_avg_pool2d(grey, (rows, columns))


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (64, 64)])
@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("short_side", [None, 40])
def test_what_is_bright_in_the_views_is_bright_in_the_video(
    size: tuple[int, int], crops: int, short_side: int | None
) -> None:
    """A bright square, wherever it lies in what the crops cover, is the brightest of the map."""
    height, width = size
    clip = torch.zeros(3, 2, height, width, dtype=torch.uint8)
    top, left = height // 2 + 4, width // 2 - 12
    clip[:, 0, top : top + 8, left : left + 8] = 255
    clip[:, 1, top - 12 : top - 4, left + 8 : left + 16] = 255
    views = views_of(clip, ClipShape(2, 32), test_crops=crops, short_side=short_side)
    found, covered = video_map(views, bright_cells(views, 16, 16))
    assert found.shape == (2, height, width)
    for frame in range(2):
        y, x = divmod(int(found[frame].argmax()), width)
        assert covered[y, x]
        assert clip[0, frame, y, x] == 255
    outside = ~covered
    assert not found[:, outside].any()
    assert bool(outside.any()) == (
        not (crops == 3 and short_side is None) and (short_side is not None or height != width)
    )


def test_an_even_map_is_even_where_there_are_views() -> None:
    clip = torch.zeros(3, 4, 48, 80, dtype=torch.uint8)
    views = views_of(clip, ClipShape(4, 32), test_crops=3)
    found, covered = video_map(views, torch.full((3, 2, 4, 4), 0.5))  # tubelets of two frames
    torch.testing.assert_close(found, torch.full_like(found, 0.25))
    assert covered.all()


def test_frames_of_a_short_video_are_added_up() -> None:
    clip = torch.zeros(3, 2, 32, 32, dtype=torch.uint8)
    preprocessing = Preprocessing(test_crops=1, sampling=Sampling(rate=1))
    with open_video(clip) as video:
        views = place_views(video, ClipShape(4, 32), preprocessing)
    assert views.places[0].numbers == [0, 1, 1, 1]
    assert views.frames == [0, 1]
    cells = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    found, _ = video_map(views, cells)
    torch.testing.assert_close(found, torch.tensor([1.0, 14.0])[:, None, None].expand(2, 32, 32))


def test_moved_views_find_what_lies_between_patches() -> None:
    """A square around the corner of four patches is a quarter of each, so its map has no peak; moved, it has one."""
    clip = torch.zeros(3, 2, 32, 32, dtype=torch.uint8)
    clip[:, :, 12:20, 4:12] = 255
    views = views_of(clip, ClipShape(2, 32), test_crops=1)
    flat, _ = video_map(views, bright_cells(views, 4, 4))
    assert flat[0].max() == pytest.approx(255 / 4)
    moved = moved_views(views, 2, 8)
    assert [(place.top, place.left) for place in moved.places] == [(2, 2), (2, -2), (-2, 2), (-2, -2)]
    found, _ = video_map(moved, bright_cells(moved, 4, 4))
    y, x = divmod(int(found[0].argmax()), 32)
    assert max(abs(y - 15.5), abs(x - 7.5)) <= 2  # a quarter of a patch from the middle of the square
    assert found[0, 15, 7] > 1.2 * found[0, 11, 3]


def test_a_moved_view_shows_what_it_is_placed_at() -> None:
    """Inside the video; further out the border is repeated."""
    views = views_of(some_clips(3, 2, 40, 48), ClipShape(2, 32), test_crops=1, short_side=40)
    ((_, top, left),) = views.places
    with_more = some_clips(3, 2, 40, 48)[:, :, top:, left:]
    for place, view in zip(moved_views(views, 2, 8).places, moved_views(views, 2, 8).clips_VCTSS, strict=True):
        down, right = top - place.top, left - place.left
        rows, columns = (slice(max(offset, 0), 32 + min(offset, 0)) for offset in (down, right))
        expected = with_more[:, :, : rows.stop - down, : columns.stop - right]
        expected = expected[:, :, rows.start - down :, columns.start - right :]
        assert torch.equal(view[:, :, rows, columns], expected)
        assert torch.equal(view[:, :, 0 if down > 0 else -1], view[:, :, 1 if down > 0 else -2])


@pytest.mark.parametrize("cells", [2, 4])  # time cells of a clip of four frames
def test_the_cells_of_a_map(cells: int) -> None:
    """What a map has in a cell is found there, and an even map is even."""
    views = views_of(torch.zeros(3, 4, 48, 80, dtype=torch.uint8), ClipShape(4, 32), test_crops=3)
    even = view_cells(views, torch.full((4, 48, 80), 0.25), (cells, 4, 4))
    torch.testing.assert_close(even, torch.full((3, cells, 4, 4), 0.25 * 4 / cells))
    for view, row, column in ((0, 1, 0), (1, 2, 3), (2, 0, 2)):
        one = torch.zeros(3, cells, 4, 4)
        one[view, 1, row, column] = 1
        found = view_cells(views, video_map(views, one)[0], (cells, 4, 4))
        assert int(found[view].argmax()) == (4 + row) * 4 + column
        assert float(found[view, 1, row, column]) > 2 * float(found[view, 1].flatten().sort().values[-2])


def test_a_turned_video_is_mapped_as_it_is_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "turned.mp4", 6, size=(48, 80), rotation=90)
    with open_video(path) as video:
        shown = video.read([0]).shape[2:]
        views = place_views(video, ClipShape(2, 32), Preprocessing())
    assert views.size == tuple(shown) == (80, 48)
    assert video_map(views, torch.ones(3, 2, 4, 4))[0].shape == (2, 80, 48)
    assert [(place.top, place.left) for place in views.places] == [(0, 0), (11, 0), (21, 0)]


def test_the_cell_of_a_pixel() -> None:
    clip = torch.zeros(3, 4, 64, 64, dtype=torch.uint8)
    views = views_of(clip, ClipShape(4, 32), test_crops=1, short_side=40)  # 4 pixels of 40 are outside at each end
    view, grid = views.places[0], (2, 4, 4)
    frame = views.frames[2]
    assert find_cell(views, view, Query(frame, 7, 57), grid) == (1, 3, 0)
    assert find_cell(views, view, Query(frame, 6, 57), grid) == (1, 3, 0)
    assert find_cell(views, view, Query(frame, 5, 57), grid) is None
    with pytest.raises(SettingError, match=r"^query: pixel 64, 3 of a video of 64 x 64 pixels$"):
        find_cell(views, view, Query(frame, 64, 3), grid)
    with pytest.raises(SettingError, match=r"^query: frame 9; the model looks at frames 0, 1, 2, 3$"):
        find_cell(views, view, Query(9, 1, 3), grid)
