"""Folders of image frames."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from timesformer.errors import VideoError
from timesformer.video.source import open_video
from videos import full_decode, picture, write_image

CASES = Path(__file__).parents[1] / "data/cases"


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_frames_in_the_order_of_their_numbers(tmp_path: Path, suffix: str) -> None:
    for number in (2, 10, 1):
        write_image(tmp_path / f"frame_{number}{suffix}", number)
    (tmp_path / "notes.txt").touch()
    (tmp_path / f"._frame_1{suffix}").write_bytes(b"macOS leaves such files")
    with open_video(tmp_path) as video:
        assert (video.num_frames, video.fps, video.codec) == (3, None, "images")
        found = video.read([2, 0, 1, 2]).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(found, [picture(10), picture(1), picture(2), picture(10)])


def test_numbers_anywhere_in_the_name(tmp_path: Path) -> None:
    names = ["a1b2.png", "a1b10.png", "a2b1.png", "a02b1.png"]
    order = [0, 1, 3, 2]  # a02b1 and a2b1 are equal by number: by name, then
    for number, name in enumerate(names):
        write_image(tmp_path / name, number)
    with open_video(tmp_path) as video:
        found = video.read(range(4)).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(found, [picture(number) for number in order])


def test_frames_beside_optical_flow() -> None:
    """As mmaction2 extracts them: img_*, flow_x_* and flow_y_*, 16 each."""
    folder = CASES / "rawframes_with_flow/rawframes_train/v1"
    with open_video(folder) as video:
        assert video.num_frames == 16
        found = video.read(range(16)).permute(1, 2, 3, 0)
    right = [full_decode(folder / f"img_{number:05}.jpg")[0] for number in range(1, 17)]
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("frames", "others"),
    [
        ("img_{}.png", ["flow_x_{}.png", "flow_y_{}.png"]),
        ("{}.png", ["x_{}.png", "y_{}.png"]),
        ("v1-{}.png", ["flow-{}.png", "FLOWX{}.png", "u-{}.png"]),
        ("flower_{}.png", ["flow_{}.png"]),
        ("frame{}.png", ["depth{}.png", "mask{}.png"]),
        ("RGB_{}.png", ["ir_{}.png"]),
        ("{}.png", ["depth_{}.png", "\u6df1\u5ea6{}.png"]),
        ("{}.png", ["cover.jpg", "thumbnail.png"]),
        ("frame_{}.png", ["frames_{}_of_it.png"]),
        ("{}_a_{}.png", []),
        ("x_{}.png", []),
    ],
)
def test_one_name_pattern_is_the_frames(tmp_path: Path, frames: str, others: list[str]) -> None:
    for number in (9, 10, 11):
        write_image(tmp_path / frames.format(number, number), number)
        for other in others:
            write_image(tmp_path / other.format(number, number), 99)
    with open_video(tmp_path) as video:
        found = video.read(range(video.num_frames)).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(found, [picture(number) for number in (9, 10, 11)])


def test_names_without_numbers_come_in_their_order(tmp_path: Path) -> None:
    for number, name in enumerate(["a.png", "b.bmp", "c.png"]):
        write_image(tmp_path / name, number)
    with open_video(tmp_path) as video:
        found = video.read(range(3)).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(found, [picture(number) for number in range(3)])


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["img_1.png", "frame_1.png", "frame_2.png"], r"frame_\*\.png \(2\), img_\*\.png \(1\)"),
        (["left1.png", "right1.png", "cover.png"], r"left\*\.png \(1\), right\*\.png \(1\)"),
        (["flow_x_1.png", "flow_y_1.png"], r"flow_x_\*\.png \(1\), flow_y_\*\.png \(1\)"),
        (["image1.png", "0.png", "1.png"], r"\*\.png \(2\), image\*\.png \(1\)"),
        (["image1.png", "0_a.png", "1_a.png"], r"\*_a\.png \(2\), image\*\.png \(1\)"),
        (["rgb1.png", "_0.png", "_1.png"], r"_\*\.png \(2\), rgb\*\.png \(1\)"),
        (["1.png", "1.jpg"], r"\*\.(png|jpg) \(1\), \*\.(png|jpg) \(1\)"),
        ([f"{letter}1.png" for letter in "abcdefg"], r"\w\*\.png \(1\), .* and 2 more"),
    ],
)
def test_unclear_name_patterns_are_named(tmp_path: Path, names: list[str], listed: str) -> None:
    for name in names:
        write_image(tmp_path / name, 1)
    with pytest.raises(
        VideoError, match=rf": the names of its images follow several patterns: {listed}; expected one, such as img_\*"
    ) as raised:
        open_video(tmp_path)
    assert raised.value.path == tmp_path


def test_jpeg_is_scaled_as_video_is(tmp_path: Path) -> None:
    for number in range(3):
        path = write_image(tmp_path / f"{number}.jpg", number)
        path.rename(path.with_suffix(".JPG"))
    with open_video(tmp_path) as video:
        found = video.read([2, 1], 24).permute(1, 2, 3, 0)
    expected = [full_decode(tmp_path / f"{number}.JPG", (24, 32))[0] for number in (2, 1)]
    np.testing.assert_array_equal(found, expected)
    assert np.abs(expected[0].astype(int) - picture(2, 48, 64)[::2, ::2]).mean() < 25


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_damaged_image_is_named(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}{suffix}", number)
    right = full_decode(tmp_path / f"0{suffix}")[0]
    damaged = tmp_path / f"1{suffix}"
    whole = damaged.read_bytes()
    for broken in (b"", b"no image", whole[:20], whole[: len(whole) // 2], whole[:-40]):
        damaged.write_bytes(broken)
        with open_video(tmp_path) as video:
            assert video.num_frames == 3
            np.testing.assert_array_equal(video.read([0])[:, 0].permute(1, 2, 0), right)
            with pytest.raises(VideoError) as raised:
                video.read([0, 1])
        assert (raised.value.path, str(raised.value)) == (tmp_path, f"{tmp_path}: {raised.value.reason}")
        assert raised.value.reason.startswith(f"{damaged.name}: ")
        assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_images_of_two_sizes(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 1)
    write_image(tmp_path / "2.png", 2, size=(32, 64))
    with (
        open_video(tmp_path) as video,
        pytest.raises(VideoError, match=r"frame 1 is 64x32; its size or rotation does not match .* 64x48$"),
    ):
        video.read([0, 1])


def test_a_folder_without_frames(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(VideoError, match="the folder holds no image frames") as raised:
        open_video(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_photographs_are_turned_upright(tmp_path: Path, orientation: int, turns: int) -> None:
    """As the EXIF data of a camera says; 6 is a quarter to the right."""
    path = write_image(tmp_path / "1.jpg", 5)
    expected = full_decode(path)[0]
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, 1) + tag + bytes(4)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + struct.pack(">2sH", b"\xff\xe1", len(exif) + 2) + exif + whole[2:])
    with open_video(tmp_path) as video:
        np.testing.assert_array_equal(video.read([0])[:, 0].permute(1, 2, 0), np.rot90(expected, turns))
