"""Frames in memory: the pixels of the same frames as PNG images, whatever holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError, VideoError
from timesformer.video.source import open_video
from timesformer.video.views import read_views
from videos import picture, write_image

COUNT = 16
FRAMES = np.stack([picture(number) for number in range(COUNT)])  # (16, 48, 64, 3)


def image_of(array: Any) -> Any:
    from PIL import Image

    return Image.fromarray(array)


def sources() -> dict[str, Any]:
    tensor = torch.from_numpy(FRAMES).permute(3, 0, 1, 2)
    backwards = np.ascontiguousarray(FRAMES[:, :, ::-1])[:, :, ::-1]
    return {
        "<array 16 x 48 x 64 x 3>": FRAMES,
        "<tensor 3 x 16 x 48 x 64>": tensor,
        "<list of 16 images>": list(FRAMES),
        "contiguous tensor": tensor.contiguous(),
        "array of negative strides": backwards,
        "tuple": tuple(FRAMES),
        "PIL": [image_of(frame) for frame in FRAMES],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        write_image(folder / f"{number}.png", number)
    return folder


@pytest.mark.parametrize("kind", sources())
def test_pixels_are_those_of_a_folder_of_images(folder: Path, kind: str) -> None:
    source = sources()[kind]
    with open_video(source) as video, open_video(folder) as expected:
        assert (video.num_frames, video.fps, video.codec) == (COUNT, None, "raw")
        np.testing.assert_array_equal(video.read(range(COUNT)).permute(1, 2, 3, 0), FRAMES)
        for short_side in (24, 31, 96):
            numbers = [9, 2, 2, 15]
            assert torch.equal(video.read(numbers, short_side), expected.read(numbers, short_side))
            for frame, same in zip(video.frames(short_side), expected.frames(short_side), strict=True):
                assert frame.seconds is None
                assert torch.equal(frame.image, same.image)
        if kind.startswith("<"):
            assert video.name == kind
    shape, preprocessing = ClipShape(4, 32), Preprocessing(sampling=Sampling(rate=3), test_clips=2)
    assert torch.equal(read_views(source, shape, preprocessing), read_views(folder, shape, preprocessing))


def test_a_frame_rate_gives_times() -> None:
    with open_video(FRAMES, fps=8) as video:
        assert video.fps == 8
        assert [frame.seconds for frame in video.frames(24)] == [number / 8 for number in range(COUNT)]
        assert video.seconds(COUNT) == 2
    at_30 = Preprocessing(sampling=Sampling(rate=3, fps=30), test_crops=1)
    shape = ClipShape(4, 48)
    # 4 x 3 frames at 30 a second are 6 frames at 15, from frame 5 on
    expected = torch.from_numpy(FRAMES[[5, 6, 8, 10], :, 8:56]).permute(3, 0, 1, 2)
    assert torch.equal(read_views(FRAMES, shape, at_30, fps=15)[0], expected)
    assert not torch.equal(read_views(FRAMES, shape, at_30)[0], expected)


def test_pil_images_of_other_modes_become_rgb() -> None:
    grey = [image_of(FRAMES[number]).convert("L") for number in range(3)]
    with open_video(grey) as video:
        found = video.read([2]).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(found[0], np.stack([np.asarray(grey[2])] * 3, axis=-1))


@pytest.mark.parametrize(
    ("source", "received"),
    [
        (FRAMES.astype(np.float32), r"array of float32, shape \(16, 48, 64, 3\)"),
        (FRAMES[0], r"array of uint8, shape \(48, 64, 3\)"),
        (FRAMES[..., :1], r"array of uint8, shape \(16, 48, 64, 1\)"),
        (FRAMES.transpose(3, 0, 1, 2), r"array of uint8, shape \(3, 16, 48, 64\)"),
        (torch.from_numpy(FRAMES), r"tensor of uint8, shape \(16, 48, 64, 3\)"),
        (torch.zeros(3, 4, 8, 8), r"tensor of float32, shape \(3, 4, 8, 8\)"),
        ([FRAMES[0], FRAMES], r"list of arrays of uint8, shape \(16, 48, 64, 3\)"),
        ([FRAMES[0] / 255], r"list of arrays of float64, shape \(48, 64, 3\)"),
        (["a.mp4", "b.mp4"], r"a list of str"),
        ([Path("a.png")], r"a list of PosixPath"),
        ([], r"an empty list"),
    ],
)
def test_other_shapes_and_types(source: Any, received: str) -> None:
    with pytest.raises(SettingError, match=rf"^video: {received}; expected a uint8 array \(T, H, W, 3\), a uint8 ten"):
        open_video(source)


@pytest.mark.parametrize("shape", [(0, 48, 64, 3), (4, 0, 64, 3)])
def test_arrays_without_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"^video: array of shape \(.*\); expected at least one frame, and pixels"):
        open_video(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("fps", [0, -5.0, float("nan"), float("inf")])
def test_frame_rates_that_are_none(fps: float) -> None:
    with pytest.raises(SettingError, match=f"fps is {fps}; expected frames a second, above 0"):
        open_video(FRAMES, fps)


def test_images_of_two_sizes() -> None:
    with (
        open_video([FRAMES[0], FRAMES[1, :32]]) as video,
        pytest.raises(VideoError, match=r"^<list of 2 images>: frame 1 is 64x32; its size or rotation does not match"),
    ):
        list(video.frames())
