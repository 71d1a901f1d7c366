"""What an open video can do, wherever its frames come from: be read by frame number, and as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from av.video.frame import VideoFrame
from torch import Tensor

from timesformer.video.convert import ClipWriter, Converter


class Frame(NamedTuple):
    """A frame of a stream.

    seconds: when it appears, after the first frame; None where the source says neither time stamps nor a frame rate.
    image: uint8 RGB (3, H, W), upright.
    """

    seconds: float | None
    image: Tensor


class Video(ABC):
    """An open video. One reader at a time: reading it otherwise ends a stream of its frames. Use it with `with`.

    Attributes:
        name: what messages call it: the path, the URL, or a description such as "<array 16 x 48 x 56>".
        num_frames: frames that are shown, at least 1.
        fps: mean frame rate in frames a second; None where the source does not say.
        codec: name of the codec, such as "h264"; "images" for a folder of images, "raw" for arrays.
        size: height and width in pixels that the frames of a file are stored with, at its start: frames of another
            size or rotation are resized to that of the first one. None for images and arrays, which must be of one.
        resized: how many frames were, of those that `frames` has given.
    """

    name: Path | str
    num_frames: int
    fps: float | None
    codec: str
    size: tuple[int, int] | None = None
    resized = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what this video opened; a file object that it was given stays open."""
        return

    def read(self, numbers: Sequence[int], short_side: int | None = None) -> Tensor:
        """Frames by number, in the order given and repeated where repeated: uint8 RGB (3, T, H, W).

        `short_side`: length in pixels that the short side is scaled to; the long side keeps the ratio, rounded
        down. Raises VideoError where a frame cannot be decoded, IndexError for a number out of range.
        """
        convert = Converter(self.name, short_side, self.size is not None)
        writer = ClipWriter(convert, self.num_frames, numbers)
        ordered = sorted(set(numbers))
        frames = self._chosen(ordered)
        number, frame = next(frames)
        if self.size not in (None, (frame.height, frame.width)) and number > 0:
            convert.start(next(self._chosen([0]))[1])  # the size has changed since
            frames = self._chosen(ordered)
        else:
            writer.write(number, frame)
        for number, frame in frames:
            writer.write(number, frame)
        assert writer.clip is not None
        return writer.clip

    def frames(self, short_side: int | None = None, first: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """All frames in the order of showing, each once, decoded and converted as they are asked for.

        Memory does not grow with the length of the video. `short_side` and the pixels are as in `read`. first, stop:
        only the frames first <= number < stop; decoding starts at the keyframe before. Raises VideoError at the first
        frame that cannot be decoded.
        """
        stop = self.num_frames if stop is None else stop
        if not 0 <= first < stop <= self.num_frames:
            raise IndexError(f"{self.name}: frames {first} to {stop} of a video of {self.num_frames} frames")
        convert = Converter(self.name, short_side, self.size is not None)
        found = self._every(first, stop)
        if first and self.size is not None:
            head = next(found)
            if self.size == (head[1].height, head[1].width):
                found = chain([head], found)
            else:
                convert.start(next(self._chosen([0]))[1])  # the size has changed since
                found = self._every(first, stop)
        for number, frame in found:
            image_HWC = convert(number, frame)
            self.resized = convert.resized
            yield Frame(self.seconds(number), image_HWC.permute(2, 0, 1).contiguous())

    def seconds(self, number: int) -> float | None:
        """When a frame appears, in seconds after the first one, which appears at 0; None where that is unknown.

        Where there are no usable time stamps it is number / fps. `seconds(num_frames)` is when the last frame ends.
        """
        return number / self.fps if self.fps else None

    @abstractmethod
    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Numbers and frames, for different numbers in ascending order. A frame that comes again replaces the first."""

    def _every(self, first: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Numbers and frames from `first` to `stop - 1`, each frame once."""
        return self._chosen(range(first, stop))


def mean_rate(frames: int, first: float, last: float) -> float | None:
    """Frames a second of so many frames, by when the first and the last appear; None for a single one."""
    return (frames - 1) / (last - first) if last > first else None
