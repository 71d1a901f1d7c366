"""Where the views of a video lie in it, and maps of views as a map of the video.

A video of 56 x 48 pixels whose frames are scaled to 37 x 32 and cut into crops of 32 x 32, of patches of 8 x 8: a patch
of a crop is 12 x 12 pixels of the video.

Dimensions: V views, C 3 colours, T frames of a clip, S pixels, U time cells of a clip (frames, or tubelets), R and Q
rows and columns of cells of a view, N different frames of the video, H and W its pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing
from timesformer.config.explain import Query
from timesformer.errors import SettingError
from timesformer.video.convert import scaled_size
from timesformer.video.part import Part, part_of
from timesformer.video.sampling import testing_clips
from timesformer.video.seen import Seen, seen_of
from timesformer.video.video import Video
from timesformer.video.views import crop_corners, read_views

SHORT_SIDE = 360  # pixels of a frame in pictures, at most

Cell = tuple[int, int, int]  # of a view: time, row, column


class View(NamedTuple):
    """numbers: the frames of the video that are the view's, in order. top, left: of its crop in the scaled frames."""

    numbers: list[int]
    top: int
    left: int


class Views(NamedTuple):
    """The views that a video is tested with, and where they lie.

    clips_VCTSS: uint8 RGB. size, scaled: height and width of the video as it is shown, upright, and as it was cropped.
    frames: the numbers of all frames that are looked at, in order; seconds: when each appears, None where unknown.
    seen: how much of the video, or of its part, that is.
    """

    clips_VCTSS: Tensor
    places: list[View]
    size: tuple[int, int]
    scaled: tuple[int, int]
    frames: list[int]
    seconds: list[float | None]
    seen: Seen

    @property
    def side(self) -> int:
        return self.clips_VCTSS.shape[-1]


def place_views(
    video: Video,
    shape: ClipShape,
    preprocessing: Preprocessing,
    start: float | None = None,
    end: float | None = None,
) -> Views:
    """What `read_views` gives of an open video, or of its part from `start` to `end` seconds, with where it lies in the
    whole video. Raises what `read_views` and `part_of` raise."""
    part, sampling = part_of(video, start, end), preprocessing.sampling
    clips = testing_clips(part.num_frames, shape.frames, sampling, part.fps, preprocessing.test_clips)
    if isinstance(part, Part):
        clips = [[part.first + number for number in numbers] for numbers in clips]
    views_VCTSS = read_views(part, shape, preprocessing)
    height, width = video.read([clips[0][0]]).shape[2:]
    scaled = scaled_size(height, width, preprocessing.short_side or shape.side)
    corners = crop_corners(*scaled, shape.side, preprocessing.test_crops)
    places = [View(numbers, top, left) for numbers in clips for top, left in corners]
    frames = sorted({number for numbers in clips for number in numbers})
    seconds = [video.seconds(number) for number in frames]
    seen = seen_of(part, shape, preprocessing)
    return Views(views_VCTSS, places, (height, width), scaled, frames, seconds, seen)


def video_map(views: Views, cells_VURQ: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of views as one of the video, (N, H, W), and which pixels any view has, (H, W).

    Between the centres of cells it is linear. A cell of several frames is shared by them, cells of a frame that a short
    video repeats are added up. Where views overlap it is their mean, in which a view counts less towards its borders,
    so that there are no edges; outside of all of them it is zero.
    """
    (height, width), row_of = views.size, {number: row for row, number in enumerate(views.frames)}
    total_NHW, depth_NHW = (torch.zeros(len(views.frames), height, width) for _ in range(2))
    for view, cells_URQ in zip(views.places, cells_VURQ.float().cpu(), strict=True):
        (down_HR, depth_H), (right_WQ, depth_W) = (
            _axis(length, scaled, first, views.side, cells)
            for length, scaled, first, cells in zip(
                views.size, views.scaled, (view.top, view.left), cells_URQ.shape[1:], strict=True
            )
        )
        depth_HW = torch.minimum(depth_H[:, None], depth_W)
        frames_a_cell = len(view.numbers) // len(cells_URQ)
        for position, number in enumerate(view.numbers):
            cells_RQ = cells_URQ[position // frames_a_cell] / frames_a_cell
            total_NHW[row_of[number]] += down_HR @ cells_RQ @ right_WQ.T * depth_HW
        for number in set(view.numbers):
            depth_NHW[row_of[number]] += depth_HW
    covered_HW = depth_NHW.amax(0) > 0
    return total_NHW.div_(depth_NHW.clamp_(min=torch.finfo(torch.float32).tiny)), covered_HW  # without a copy


def moved_views(views: Views, grids: int, patch: int) -> Views:
    """Each view grids x grids times, moved so that the grids of patches lie apart by parts of a patch; what comes in at
    a border repeats it."""
    offsets = [round(patch * ((number + 0.5) / grids - 0.5)) for number in range(grids)]
    pixels, clips, places = torch.arange(views.side), [], []
    for place, view_CTSS in zip(views.places, views.clips_VCTSS, strict=True):
        for down in offsets:
            for right in offsets:
                rows, columns = ((pixels - offset).clamp(0, views.side - 1) for offset in (down, right))
                clips.append(view_CTSS[:, :, rows[:, None], columns])
                places.append(View(place.numbers, place.top - down, place.left - right))
    return views._replace(clips_VCTSS=torch.stack(clips), places=places)


def view_cells(views: Views, map_NHW: Tensor, grid: Cell) -> Tensor:
    """What a map of the video has in each cell of each view, (V, U, R, Q): the mean around its centre, the sum over its
    frames."""
    row_of = {number: row for row, number in enumerate(views.frames)}
    cells_VURQ = torch.zeros(len(views.places), *grid)
    for cells_URQ, view in zip(cells_VURQ, views.places, strict=True):
        down_HR, right_WQ = (
            weights / weights.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
            for weights, _ in (
                _axis(length, scaled, first, views.side, cells)
                for length, scaled, first, cells in zip(
                    views.size, views.scaled, (view.top, view.left), grid[1:], strict=True
                )
            )
        )
        for position, number in enumerate(view.numbers):
            repeats = view.numbers.count(number)
            cells_URQ[position * grid[0] // len(view.numbers)] += (
                down_HR.T @ map_NHW[row_of[number]].float() @ right_WQ / repeats
            )
    return cells_VURQ


def find_cell(views: Views, view: View, query: Query, grid: tuple[int, int, int]) -> Cell | None:
    """The cell of a view that has a pixel of the video; None where the view does not have it.

    Raises SettingError for a pixel outside of the video, and for a frame that no view has.
    """
    (height, width), side = views.size, views.side
    if not (0 <= query.x < width and 0 <= query.y < height):
        raise SettingError(f"query: pixel {query.x}, {query.y} of a video of {width} x {height} pixels")
    if query.frame not in views.frames:
        listed = ", ".join(map(str, views.frames))
        raise SettingError(f"query: frame {query.frame}; the model looks at frames {listed}")
    found = []
    for at, length, scaled, first, cells in zip(
        (query.y, query.x), views.size, views.scaled, (view.top, view.left), grid[1:], strict=True
    ):
        place = (at + 0.5) * scaled / length - first
        if not 0 <= place < side:
            return None
        found.append(int(place * cells / side))
    if query.frame not in view.numbers:
        return None
    return view.numbers.index(query.frame) * grid[0] // len(view.numbers), found[0], found[1]


def _axis(length: int, scaled: int, first: int, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """How much of each cell of a crop a pixel of the video has, along one axis: (length, cells); and how far from the
    crop's nearer border it is, zero outside of it: (length,)."""
    place = (torch.arange(length, dtype=torch.float64) + 0.5) * scaled / length - first  # in pixels of the crop
    at = (place * cells / side - 0.5).clamp(0, cells - 1)  # from the centre of one cell to that of another
    weights = (1 - (at[:, None] - torch.arange(cells)).abs()).clamp(min=0)
    inside = (place >= 0) & (place < side)
    depth = (torch.minimum(place, side - place) + 0.5) * inside
    return (weights * inside[:, None]).float(), depth.float()
