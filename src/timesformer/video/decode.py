"""Frames of a video by number, exactly, decoding no more than needed.

A file is read through once without decoding, which gives the time stamp of every frame in the order of showing and
the keyframes among them (files whose time stamps are missing or repeated are decoded from their start). To read frames, decoding starts at the keyframe before a wanted frame, ends with the last
wanted one, and jumps where a later keyframe lies before the next wanted frame:

    frames   K . . . . . . K . . . . . . K . . . . .       K keyframe
    wanted         x   x                         x
    decoded  ===========                 =========

Frames are scaled while they are converted to RGB; only the wanted ones are converted and kept.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import av
import torch
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from timesformer.errors import VideoError

VIDEO_SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"]
)
IMAGE_SUFFIXES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".webp"])


def open_video(path: str | Path) -> VideoFile | FrameFolder:
    """A video file, or a folder of image frames in the order of their numbered names.

    Raises VideoError: nothing there, not a video, no frames, damaged. Use it with `with`.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path)
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    return VideoFile(path)


class VideoFile:
    """A video file, open.

    Attributes:
        path: the file.
        num_frames: frames that are shown.
        fps: mean frame rate in frames a second; None where the file does not tell.
        codec: name of the codec, such as "h264".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty")
        self._open()
        try:
            self.codec = self._stream.codec_context.name
            self._index_packets()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def read(self, numbers: Sequence[int], short_side: int | None = None) -> Tensor:
        """Frames by number, in the order given and repeated where repeated: uint8 RGB (3, T, H, W).

        `short_side`: length in pixels that the short side is scaled to; the long side keeps the ratio, rounded
        down. Raises VideoError where a frame cannot be decoded, IndexError for a number out of range.
        """
        _check_numbers(self, numbers)
        writer = _ClipWriter(numbers, short_side)
        try:
            for number, frame in self._decode(sorted(set(numbers))):
                writer.write(number, frame)
        except _MissedFrameError as missed:
            raise VideoError(f"{self.path}: frame {missed.number} of {self.num_frames} cannot be decoded") from None
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: cannot be decoded: {error.strerror}") from None
        return writer.clip

    def _open(self) -> None:
        try:
            self._container: InputContainer = av.open(str(self.path))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.path}: not a video that can be read: "
                             f"{getattr(error, 'strerror', None) or error}") from None  # fmt: skip
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            self._container.close()
            raise VideoError(f"{self.path}: holds no video stream")
        self._stream: VideoStream = streams[0]
        self._stream.codec_context.thread_count = 1

    def _index_packets(self) -> None:
        """Time stamps of all frames and of the keyframes, from the packets alone."""
        stamps: list[int] = []
        keys: list[int] = []
        packets = 0
        complete = True
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:
                    continue
                packets += 1
                if packet.pts is None:
                    complete = False
                elif not packet.is_discard and (keys or packet.is_keyframe):
                    stamps.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged: {error.strerror}") from None
        if packets < self._stream.frames:
            raise VideoError(f"{self.path}: truncated: {packets} of {self._stream.frames} frames are there")
        if packets == 0:
            raise VideoError(f"{self.path}: holds no frames")
        self._stamps: list[int] | None = None
        self.num_frames = packets
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        if complete and stamps:
            self._use_stamps(sorted(stamps), sorted(keys))

    def _use_stamps(self, stamps: list[int], keys: list[int]) -> None:
        """Find frames by their time stamps, unless the file repeats them: then by counting, at no known rate."""
        length = (stamps[-1] - stamps[0]) * float(self._stream.time_base or 0)
        self.num_frames = len(stamps)
        if len(set(stamps)) < len(stamps):
            self.fps = None
            return
        self._stamps, self._keys = stamps, keys
        if length > 0:
            self.fps = (len(stamps) - 1) / length

    def _decode(self, numbers: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of ascending numbers; _MissedFrameError where the packets promised one that never comes."""
        if self._stamps is None:
            wanted = set(numbers)
            for number, frame in enumerate(self._frames_from_start()):
                if number in wanted:
                    yield number, frame
                if number == numbers[-1]:
                    return
            raise _MissedFrameError(numbers[-1])
        place = 0
        from_start = False
        while place < len(numbers):
            stamp = self._stamps[numbers[place]]
            self._container.seek(self._keys[0] if from_start else self._key_before(stamp), stream=self._stream)
            before = place
            for frame in self._container.decode(self._stream):
                if frame.pts is None or frame.pts < stamp:
                    continue
                if frame.pts > stamp or frame.is_corrupt:
                    break
                yield numbers[place], frame
                place += 1
                if place == len(numbers):
                    return
                stamp = self._stamps[numbers[place]]
                if self._key_before(stamp) > self._stamps[min(numbers[place - 1] + 1, self.num_frames - 1)]:
                    break
            if place > before:
                from_start = False
            elif from_start:
                raise _MissedFrameError(numbers[place])
            else:
                from_start = True

    def _key_before(self, stamp: int) -> int:
        """Time stamp of the last keyframe shown at or before a time stamp."""
        return self._keys[max(bisect.bisect_right(self._keys, stamp) - 1, 0)]

    def _frames_from_start(self) -> Iterator[VideoFrame]:
        self.close()
        self._open()
        yield from self._container.decode(self._stream)


class FrameFolder:
    """A folder of image frames, ordered by the numbers in their names.

    Attributes: `path`; `num_frames`; `fps`, which is None; `codec`, which is "images".
    """

    fps = None
    codec = "images"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES), key=_by_number)
        self.num_frames = len(self._files)
        if not self._files:
            raise VideoError(f"{path}: the folder holds no image frames ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def read(self, numbers: Sequence[int], short_side: int | None = None) -> Tensor:
        """As `VideoFile.read`."""
        _check_numbers(self, numbers)
        writer = _ClipWriter(numbers, short_side)
        for number in sorted(set(numbers)):
            file = self._files[number]
            try:
                with av.open(str(file)) as container:
                    writer.write(number, next(container.decode(video=0)))
            except (av.FFmpegError, StopIteration, IndexError) as error:
                raise VideoError(f"{file}: not an image that can be read: "
                                 f"{getattr(error, 'strerror', None) or 'no picture in it'}") from None  # fmt: skip
        return writer.clip


class _MissedFrameError(Exception):
    """A frame that the packets promise does not come out of the decoder."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _ClipWriter:
    """Converts decoded frames into one uint8 tensor (3, T, H, W)."""

    def __init__(self, numbers: Sequence[int], short_side: int | None) -> None:
        self.short_side = short_side
        self.reformatter = VideoReformatter()
        self.places: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            self.places.setdefault(number, []).append(place)
        self.clip = torch.empty(0)

    def write(self, number: int, frame: VideoFrame) -> None:
        turns, rest = divmod(frame.rotation, 90)
        if rest:
            raise VideoError(f"rotation by {frame.rotation} degrees: only multiples of 90 can be shown")
        if self.clip.numel() == 0:
            self.height, self.width = scaled_size(frame.height, frame.width, self.short_side)
            shape = (self.width, self.height) if turns % 2 else (self.height, self.width)
            self.clip = torch.empty((3, sum(map(len, self.places.values())), *shape), dtype=torch.uint8)
        rgb = self.reformatter.reformat(
            frame, self.width, self.height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        image = torch.from_numpy(rgb.to_ndarray())
        if turns % 4:
            image = image.rot90(turns)
        for place in self.places[number]:
            self.clip[:, place] = image.permute(2, 0, 1)


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width after scaling the short side; the long side is rounded down."""
    if short_side is None:
        return height, width
    if height <= width:
        return short_side, short_side * width // height
    return short_side * height // width, short_side


def _check_numbers(video: VideoFile | FrameFolder, numbers: Sequence[int]) -> None:
    if not numbers or not 0 <= min(numbers) <= max(numbers) < video.num_frames:
        raise IndexError(f"{video.path}: frames {list(numbers)} of a video of {video.num_frames} frames")


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Sorting key under which frame_2 comes before frame_10."""
    return [(int(digits or -1), text) for digits, text in re.findall(r"(\d+)|(\D+)", file.name)]
