"""Frames of a video file, exactly, decoding no more than needed.

The packets of the file are read first, see `index.py`. To read frames by number, decoding starts at the keyframe
before a wanted frame, ends with the last wanted one, and jumps where a later keyframe lies before the next wanted one:

    frames   K . . . . . . K . . . . . . K . . . . .       K keyframe
    wanted         x   x                         x
    decoded  ===========                 =========

A stream of all frames is one such run from the first frame to the last. Files without usable time stamps are decoded
from their start, and their frames counted. Frames are scaled while they are converted to RGB; only the wanted ones
are converted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from timesformer.errors import VideoError
from timesformer.video.container import Medium, open_container, why
from timesformer.video.index import FILE_START, Keyframe, index_packets, is_flush
from timesformer.video.tracks import main_track, video_tracks
from timesformer.video.video import Video

MAKE_UP_STAMPS = 1  # FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets
HELD_BACK = 16  # frames: as many B-frames may stand before the frame they build on, in h264 and in HEVC


class _Damage(Exception):  # noqa: N818
    """A run of frames cannot be decoded whole. `number`: the first frame that did not come, or came damaged."""

    def __init__(self, number: int) -> None:
        self.number = number


class VideoFile(Video):
    """A video file, a URL, or a file object that can seek; see `Video`.

    Damage is an error wherever the decoder notices it, for all frames that may build on the damaged one. Videos have
    no checksums: FFmpeg's decoders of HEVC and VP9 seldom notice, that of h264 about every second flipped bit.

    options: FFmpeg's, as for `open_container`. Raises VideoError for what is not a video, holds no frames or is
    truncated.
    """

    def __init__(self, medium: Medium, name: Path | str, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self.medium, self.name, self.options = medium, name, options
        self._reader: object = None
        self._open()
        try:
            tracks = video_tracks(name, self._container)
            self._use(tracks[0])
            if len(tracks) > 1:
                self._use(main_track(self._container, tracks))
                self._reopen()
            codec = self._stream.codec_context
            self.codec, self.size = codec.codec.canonical_name, (codec.height, codec.width)
            self._index = index_packets(name, medium, self._container, self._stream)
            self._complete_index()
            if not self._index.num_frames:
                raise VideoError(name, "none of its frames can be decoded")
            self.num_frames, self.fps = self._index.num_frames, self._index.fps
        except av.FFmpegError as error:
            self.close()
            raise VideoError(name, f"damaged: {why(error)}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def seconds(self, number: int) -> float | None:
        return self._index.seconds(number)

    def _open(self) -> None:
        self._container: InputContainer = open_container(self.medium, self.name, options=self.options)
        # FFmpeg guesses missing time stamps wrongly where B-frames build on B-frames (h264 in AVI).
        self._container.flags &= ~MAKE_UP_STAMPS

    def _use(self, stream: VideoStream) -> None:
        self._stream = stream
        self._stream.codec_context.thread_count = 1

    def _reopen(self) -> None:
        """Go back to the start of the file."""
        number = self._container.streams.video.index(self._stream)
        self.close()
        self._open()
        self._use(self._container.streams.video[number])

    def _complete_index(self) -> None:
        """Decode what the packets alone do not say: the number of frames, or which of the first can be decoded."""
        index = self._index
        if index.num_frames is None:
            self._index = replace(index, num_frames=sum(1 for _ in self._decode(FILE_START)))
        elif index.stamps and index.stamps[0] < (index.keys[0].pts or 0):
            # Frames shown before the first keyframe may rest on what was cut off.
            frames = (frame for packet in self._packets_from(index.keys[0]) for frame in packet.decode())
            first = next((frame.pts for frame in frames if frame.pts is not None), index.stamps[0])
            self._index = index.since(first)

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        for run in self._runs(numbers):
            for start in self._starts(run[0]):
                try:
                    yield from self._run(self._index.keys[start], set(run), run[-1])
                    break
                except _Damage:
                    continue
            else:
                which = f"frame {run[0]}" if len(run) == 1 else f"one of the frames {run[0]} to {run[-1]}"
                raise VideoError(self.name, f"damaged: {which} of {self.num_frames} cannot be decoded")

    def _every(self, first: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """A frame is held back until those that it may build on have come out of the decoder, undamaged."""
        for start in self._starts(first):
            held: deque[tuple[int, VideoFrame]] = deque()
            shown = False
            try:
                for item in self._run(self._index.keys[start], range(first, stop), stop - 1):
                    held.append(item)
                    if len(held) > HELD_BACK:
                        shown = True
                        yield held.popleft()
                yield from held
                return
            except _Damage as damage:
                number = damage.number
                if shown:
                    break
        raise VideoError(self.name, f"damaged: frame {number} of {self.num_frames} cannot be decoded")

    def _starts(self, number: int) -> list[int]:
        """Which keyframes to decode a frame from, one after the other: where a keyframe refreshes the picture bit by
        bit, only an earlier start gives the frames after it."""
        key = self._index.key_before(number)
        return sorted({key, max(key - 1, 0), 0}, reverse=True)

    def _runs(self, numbers: Sequence[int]) -> list[list[int]]:
        """Ascending numbers, parted where decoding jumps to a later keyframe."""
        runs = [[numbers[0]]]
        for before, number in pairwise(numbers):
            if self._index.keys[self._index.key_before(number)].number > before + 1:
                runs.append([])
            runs[-1].append(number)
        return runs

    def _run(self, key: Keyframe, wanted: Container[int], last: int) -> Iterator[tuple[int, VideoFrame]]:
        """The wanted frames up to `last`, decoding from a keyframe. Raises _Damage unless all come, undamaged."""
        self._reader = reader = object()
        expected = key.number
        try:
            for number, frame, damaged in self._decode(key):
                if number in wanted:
                    if damaged:
                        raise _Damage(number)
                    yield number, frame
                    if self._reader is not reader:
                        raise RuntimeError(f"{self.name}: read by two at a time; open the video twice")
                if number == last:
                    if self._damage_ahead():
                        raise _Damage(number)
                    return
                expected = number + 1
        except av.FFmpegError:
            pass
        raise _Damage(expected)

    def _damage_ahead(self) -> bool:
        """Whether a frame that is decoded, but not yet shown, is damaged: frames shown before may rest on it."""
        try:
            return any(ahead.is_corrupt for ahead in self._stream.codec_context.decode(None))
        except av.EOFError:  # all frames of the file have been shown
            return False

    def _decode(self, key: Keyframe) -> Iterator[tuple[int, VideoFrame, bool]]:
        """Number and frame from a keyframe on, and whether the frame is damaged or not the one that was promised."""
        stamps = self._index.stamps
        number = key.number
        damaged = False
        for packet in self._packets_from(key):
            frames = packet.decode()
            corrupt = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
            for frame in frames:
                wrong = corrupt
                if stamps:
                    if frame.pts is not None and frame.pts < stamps[key.number]:
                        continue  # it rests on frames before the keyframe
                    wrong |= frame.pts != stamps[number]
                # Damage spreads to the frames that build on it, up to the next keyframe.
                damaged = wrong or (damaged and not frame.key_frame)
                yield number, frame, damaged
                number += 1

    def _packets_from(self, key: Keyframe) -> Iterator[Packet[VideoStream]]:
        """Packets from a keyframe on, wherever a seek lands: some formats go by pts, some by dts, some nowhere."""
        for stamp in (*(stamp for stamp in (key.pts, key.dts) if stamp is not None), None):
            if stamp is None:
                self._reopen()
            else:
                try:
                    self._container.seek(stamp, stream=self._stream)
                except av.FFmpegError:
                    continue
            packets = filter(self._is_whole, self._container.demux(self._stream))
            for packet in packets:
                if key.pts is None or (packet.pts == key.pts and packet.is_keyframe):
                    yield packet
                    yield from packets
                    return
                if packet.dts is not None and key.dts is not None and packet.dts > key.dts:
                    break

    def _is_whole(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet is to be decoded: not the half one that an unfinished file may end with."""
        return is_flush(packet) or (packet.size > 0 and not (self._index.unfinished and packet.is_corrupt))
