"""Which files below a folder are videos: suffixes, links, pictures, and what is ignored."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from commands import Command
from timesformer.data.folders import Found, describe_ignored, find_videos, scan_folder
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, VideoError
from timesformer.video.source import open_video


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_videos(folder)]


def test_a_picture_above_videos_is_no_video(tmp_path: Path) -> None:
    touch(tmp_path, "cover.jpg", "poster.png", "deep/deeper/a.mp4", "deep/thumb.jpg", "other/b.mp4")
    assert scan_folder(tmp_path) == Found(
        [tmp_path / "deep/deeper/a.mp4", tmp_path / "other/b.mp4"], Counter({".jpg": 2, ".png": 1})
    )


@pytest.mark.parametrize("above", [["cover.jpg"], ["cover.jpg", "thumb.jpg"], ["photo_1.png", "photo_2.png"]])
def test_pictures_above_frames_are_no_video(tmp_path: Path, above: list[str]) -> None:
    """However many: each is ignored and counted, in the folder right above the frames or further up."""
    frames = ["m/v0/img_1.jpg", "m/v0/img_2.jpg", "m/v1/img_1.jpg"]
    touch(tmp_path, *frames, *(f"m/{name}" for name in above), *above)
    suffix = Path(above[0]).suffix
    assert scan_folder(tmp_path) == Found([tmp_path / "m/v0", tmp_path / "m/v1"], Counter({suffix: 2 * len(above)}))


def test_of_folders_of_pictures_the_deepest_are_videos(tmp_path: Path) -> None:
    touch(tmp_path, "v1/1.jpg", "v1/2.jpg", "v1/masks/1.png", "v1/.thumbs/1.webp", "v2/1.jpg", "v2/.thumbs/1.webp")
    assert scan_folder(tmp_path) == Found([tmp_path / "v1/masks", tmp_path / "v2"], Counter({".jpg": 2}))


@pytest.mark.parametrize("suffix", ["mts", "M2TS", "gif", "vob", "mxf", "asf", "m2v", "ogv", "y4m", "rmvb", "3g2"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}")
    assert found(tmp_path) == [f"a.{suffix}"]


@pytest.mark.parametrize(
    ("suffix", "muxer", "codec"),
    [
        ("mts", "mpegts", "mpeg2video"),
        ("gif", "gif", "gif"),
        ("vob", "vob", "mpeg2video"),
        ("mxf", "mxf", "mpeg2video"),
        ("m2v", "mpeg2video", "mpeg2video"),
        ("y4m", "yuv4mpegpipe", "wrapped_avframe"),
        ("mjpg", "mjpeg", "mjpeg"),
        ("rm", "rm", "rv10"),
    ],
)
def test_files_with_these_suffixes_can_be_read(tmp_path: Path, suffix: str, muxer: str, codec: str) -> None:
    with av.open(tmp_path / f"a.{suffix}", "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = {"gif": "gray", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for level in range(0, 240, 20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (path,) = find_videos(tmp_path)
    with open_video(path) as video:
        levels = video.read(range(video.num_frames)).float().mean((0, 2, 3))
    assert levels.tolist() == pytest.approx(range(0, 240, 20), abs=6)


def test_what_is_ignored_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.jpg", "a.txt", "b.TXT", "deep/c.json", "README", ".DS_Store", ".git/x", "s.wav")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "live.mp4")
    ignored = scan_folder(tmp_path).ignored
    assert ignored == {".txt": 2, ".jpg": 1, ".json": 1, ".mp4": 1, ".wav": 1, "broken links": 1, "without a suffix": 1}
    assert describe_ignored(ignored) == "2 .txt, 1 .jpg, 1 .json, 1 .mp4, 1 .wav and 2 others"
    assert describe_ignored(Counter({".txt": 3, ".json": 1})) == "3 .txt, 1 .json"


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/b.mp4", "elsewhere/frames/1.jpg", "run/a.mp4")
    (tmp_path / "run" / "more").symlink_to("../elsewhere")
    (tmp_path / "run" / "c.mp4").symlink_to("../elsewhere/b.mp4")
    assert found(tmp_path / "run") == ["a.mp4", "c.mp4", "more/b.mp4", "more/frames"]
    (tmp_path / "linked").symlink_to("run")
    assert found(tmp_path / "linked") == ["a.mp4", "c.mp4", "more/b.mp4", "more/frames"]


def test_a_folder_is_read_once_at_the_path_with_the_fewest_links(tmp_path: Path) -> None:
    touch(tmp_path, "run/z/a.mp4", "elsewhere/deep/b.mp4")
    (tmp_path / "run" / "a").symlink_to("z")
    (tmp_path / "run" / "c").symlink_to("../elsewhere")
    (tmp_path / "run" / "b").symlink_to("../elsewhere")
    assert found(tmp_path / "run") == ["b/deep/b.mp4", "z/a.mp4"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "data/run/a.mp4", "data/jump/b.mp4")
    (tmp_path / "data" / "run" / "self").symlink_to(".")
    (tmp_path / "data" / "run" / "up").symlink_to("../..")
    (tmp_path / "data" / "run" / "deep").mkdir()
    (tmp_path / "data" / "run" / "deep" / "data").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "run" / "x.mp4").symlink_to("x.mp4")
    (tmp_path / "data" / "all").symlink_to(".")
    assert found(tmp_path / "data" / "run") == ["a.mp4", "x.mp4"]
    assert found(tmp_path / "data" / "all") == []


def test_a_broken_link_to_a_video_is_a_video_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("nowhere.mp4")
    assert found(tmp_path) == ["a.mp4"]
    with pytest.raises(VideoError, match=r"a\.mp4: no such file"):
        open_video(tmp_path / "a.mp4")


def test_folders_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "locked/b.mp4")
    scandir = os.scandir

    def scan(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert scan_folder(tmp_path) == Found([tmp_path / "a.mp4"], Counter({"folders that cannot be read": 1}))
    with pytest.raises(DataError, match="locked: cannot be read: Permission denied"):
        scan_folder(tmp_path / "locked")
    with pytest.raises(DataError, match="c: cannot be read: No such file or directory"):
        scan_folder(tmp_path / "b" / "c")


def test_a_split_says_what_is_no_video_of_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4", "train/run/a.json", "train/jump/b.mp4", "train/jump/b.json", "train/README.txt")
    touch(tmp_path, "train/lost.mkv", "train/empty/x.pdf", "test/run/a.mp4", "test/jump/b.mp4")
    train = read_manifest(tmp_path, "train")
    assert (train.labels, len(train.videos)) == (("jump", "run"), 2)
    assert train.notes == (
        "ignored: 2 .json, 1 .mkv, 1 .pdf, 1 .txt",
        "1 of them are videos in no class folder",
        "folders without a video, so no classes: empty",
    )
    assert read_manifest(tmp_path, "test").notes == ()


def test_a_check_says_it_too(tmp_path: Path, bars: Path, command: Command) -> None:
    shutil.copytree(bars / "test", tmp_path / "train")
    (tmp_path / "train" / "left" / "notes.txt").touch()
    result = command("data", "check", tmp_path, "--workers", 1)
    assert result.code == 0
    assert "\ntrain: ignored: 1 .txt\n" in result.out
