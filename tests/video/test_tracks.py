"""Of several video tracks the film is read, wherever the thumbnail stands and whatever the file calls the default."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from timesformer.errors import VideoError
from timesformer.video.source import open_video
from videos import full_decode, number_in, picture, write

CASES = Path(__file__).parents[1] / "data/cases"
NONE = Disposition(0)
FILM, THUMBNAIL = ("libx264", 30, (48, 64)), ("mjpeg", 1, (24, 32))
Track = tuple[str, int, tuple[int, int]]


def write_tracks(path: Path, *tracks: Track, default: int | None = None) -> Path:
    """A file of several video tracks: codec, number of pictures and their size; `default` is flagged as such."""
    with av.open(str(path), "w") as container:
        streams = []
        for place, (codec, _, size) in enumerate(tracks):
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = Disposition.default if place == default else NONE
            stream.codec_context.thread_count = 1
            streams.append(stream)
        for stream, (_, count, size) in zip(streams, tracks, strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def shows_the_film(path: Path) -> None:
    with open_video(path) as video:
        assert (video.num_frames, video.fps) == (30, pytest.approx(25))
        found = video.read(range(30)).permute(1, 2, 3, 0).numpy()
        assert [number_in(image) for image in found] == list(range(30))
        assert found.shape[1:3] == (48, 64)
        np.testing.assert_array_equal(video.read([17])[:, 0].permute(1, 2, 0), found[17])
        assert [number_in(image.permute(1, 2, 0).numpy()) for _, image in video.frames()] == list(range(30))


def test_a_thumbnail_before_the_film() -> None:
    """As drones write it."""
    path = CASES / "thumbnail_track_first.mp4"
    with av.open(str(path)) as container:
        right = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[1])]
    with open_video(path) as video:
        assert (video.num_frames, video.codec, len(right)) == (40, "h264", 40)
        np.testing.assert_array_equal(video.read(range(40)).permute(1, 2, 3, 0), right)


@pytest.mark.parametrize("default", [None, 0, 1])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_a_thumbnail_beside_the_film(tmp_path: Path, suffix: str, first: bool, default: int | None) -> None:
    tracks = (THUMBNAIL, FILM) if first else (FILM, THUMBNAIL)
    shows_the_film(write_tracks(tmp_path / f"a.{suffix}", *tracks, default=default))


@pytest.mark.parametrize("first", [True, False])
def test_a_thumbnail_of_the_films_own_codec(tmp_path: Path, first: bool) -> None:
    film, thumbnail = ("libvpx-vp9", *FILM[1:]), ("libvpx-vp9", *THUMBNAIL[1:])
    tracks = (thumbnail, film) if first else (film, thumbnail)
    shows_the_film(write_tracks(tmp_path / "a.webm", *tracks))


def test_avif_is_a_still_picture_beside_a_film(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avif", 10, "libsvtav1", {"preset": "12", "svtav1-params": "lp=1"})
    with av.open(str(path)) as container:
        assert [stream.frames for stream in container.streams.video] == [1, 10]
    with open_video(path) as video:
        found = video.read(range(video.num_frames)).permute(1, 2, 3, 0).numpy()
    assert [number_in(image) for image in found] == list(range(10))


@pytest.mark.parametrize("default", [0, 1])
def test_of_two_films_the_default_one(tmp_path: Path, default: int) -> None:
    small = ("libx264", 20, (48, 64))
    large = ("libx264", 30, (96, 128))
    with open_video(write_tracks(tmp_path / "a.mkv", small, large, default=default)) as video:
        assert (video.num_frames, video.read([0]).shape[2]) == ((20, 48), (30, 96))[default]


def test_two_pictures_are_one_frame(tmp_path: Path) -> None:
    with open_video(write_tracks(tmp_path / "a.mp4", THUMBNAIL, ("mjpeg", 1, (48, 64)), default=1)) as video:
        assert (video.num_frames, video.read([0]).shape[2]) == (1, 48)


def test_the_films_codec_is_unknown(tmp_path: Path) -> None:
    """Then the thumbnail is not taken for it."""
    path = write_tracks(tmp_path / "a.mp4", THUMBNAIL, FILM, default=1)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"a\.mp4: holds no video stream of a known codec$"):
        open_video(path)


def test_a_cover_before_the_film(tmp_path: Path) -> None:
    film = write(tmp_path / "film.mp4", 30)
    path = tmp_path / "a.mp4"
    with av.open(str(film)) as old, av.open(str(path), "w") as new:
        cover = new.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        stream = new.add_stream_from_template(old.streams.video[0])
        new.mux(cover.encode(av.VideoFrame.from_ndarray(picture(99), format="rgb24")))
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    right = full_decode(film)
    with open_video(path) as video:
        np.testing.assert_array_equal(video.read(range(30)).permute(1, 2, 3, 0), right)
