"""Frames of a video by number, exactly, decoding no more than needed.

A file is read through once without decoding, which gives the time stamp of every frame in the order of showing, and
the keyframes among them. To read frames, decoding starts at the keyframe before a wanted frame, ends with the last
wanted one, and jumps where a later keyframe lies before the next wanted frame:

    frames   K . . . . . . K . . . . . . K . . . . .       K keyframe
    wanted         x   x                         x
    decoded  ===========                 =========

Files whose time stamps are missing, repeated or out of order are decoded from their start, and counted.
Frames are scaled while they are converted to RGB; only the wanted ones are converted and kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from timesformer.errors import VideoError
from timesformer.video.convert import ClipWriter

MAKE_UP_STAMPS = 1  # FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets


class _Keyframe(NamedTuple):
    """A frame that decoding can start at: number of the first frame shown from there on, and its time stamps."""

    number: int
    pts: int | None
    dts: int | None


_FILE_START = _Keyframe(0, None, None)


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
        self._open()
        try:
            self.codec = self._stream.codec_context.codec.canonical_name
            self._index_packets()
            if self.num_frames == 0:
                raise VideoError(f"{path}: none of its frames can be decoded")
        except av.FFmpegError as error:
            self.close()
            raise VideoError(f"{path}: damaged: {error.strerror}") from None
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

        Damage is an error wherever the decoder notices it, for all frames that may build on the damaged one. Videos
        have no checksums: FFmpeg's decoders of HEVC and VP9 seldom notice, that of h264 about every second flipped bit.
        """
        writer = ClipWriter(self.path, self.num_frames, numbers, short_side)
        for run in self._runs(sorted(set(numbers))):
            # Where a keyframe refreshes the picture bit by bit, only an earlier start gives the frames after it.
            key = self._key_before(run[0])
            starts = sorted({key, max(key - 1, 0), 0}, reverse=True)
            if not any(self._decode_run(self._keys[start], run, writer) for start in starts):
                which = f"frame {run[0]}" if len(run) == 1 else f"one of the frames {run[0]} to {run[-1]}"
                raise VideoError(f"{self.path}: damaged: {which} of {self.num_frames} cannot be decoded")
        return writer.clip

    def _open(self) -> None:
        self._container: InputContainer = open_container(self.path)
        # FFmpeg guesses missing time stamps wrongly where B-frames build on B-frames (h264 in AVI).
        self._container.flags &= ~MAKE_UP_STAMPS
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or not streams[0].codec_context:
            self._container.close()
            raise VideoError(f"{self.path}: holds no video stream{' of a known codec' if streams else ''}")
        self._stream: VideoStream = streams[0]
        self._stream.codec_context.thread_count = 1

    def _index_packets(self) -> None:
        """Time stamps of all frames, and the keyframes, from the packets alone."""
        stamps: list[int] = []
        keys: list[tuple[int, int | None]] = []
        packets = 0
        cut = missing = False
        for packet in self._container.demux(self._stream):
            if _is_flush(packet):
                continue
            packets += 1
            cut = packet.is_corrupt
            if packet.size == 0 or (self.codec == "vp8" and not bytes(packet)[0] & 0x10):
                continue  # nothing new to show; VP8 has packets for frames that are never shown
            if packet.pts is None:
                missing = True
                continue
            if packet.is_keyframe:
                keys.append((packet.pts, packet.dts))
            if keys and not packet.is_discard:
                stamps.append(packet.pts)
        if packets == 0:
            raise VideoError(f"{self.path}: holds no frames")
        # MP4's index leaves out what its edit list leaves out; other counts of frames (AVI's) may include repeats.
        is_mp4 = "mp4" in self._container.format.name
        if cut or (is_mp4 and packets < len(self._stream.index_entries)) or _is_cut(self.path):
            raise VideoError(f"{self.path}: truncated: the file ends before its last frame")
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self._stamps: list[int] = []
        self._keys = [_FILE_START]
        if missing or not stamps:
            # Packets are not frames everywhere (two fields can make one): only decoding tells.
            self.num_frames = sum(1 for _ in self._decode(_FILE_START))
            return
        self.num_frames = len(stamps)
        if len(set(stamps)) < len(stamps):
            self.fps = None
        elif not self._is_disordered(stamps, [pts for pts, _ in keys]):
            self._use_stamps(sorted(stamps), keys)

    def _is_disordered(self, stamps: list[int], key_stamps: list[int]) -> bool:
        """Whether time stamps, in the order of the file, run back (joined files) or forget that B-frames go back."""
        forget = self._stream.codec_context.has_b_frames and stamps == sorted(stamps)
        return forget or key_stamps != sorted(key_stamps)

    def _use_stamps(self, stamps: list[int], keys: list[tuple[int, int | None]]) -> None:
        """Find frames by their time stamps, given in the order of showing."""
        if stamps[0] < keys[0][0]:
            # Frames shown before the first keyframe may rest on what was cut off: see which can be decoded.
            frames = (frame for packet in self._packets_from(_Keyframe(0, *keys[0])) for frame in packet.decode())
            first = next((frame.pts for frame in frames if frame.pts is not None), stamps[0])
            stamps = stamps[bisect_left(stamps, first) :]
        self._stamps, self.num_frames = stamps, len(stamps)
        self._keys = [_Keyframe(bisect_left(stamps, pts), pts, dts) for pts, dts in keys]
        self._keys[0] = self._keys[0]._replace(number=0)
        if len(stamps) > 1 and self._stream.time_base:
            self.fps = float((len(stamps) - 1) / ((stamps[-1] - stamps[0]) * self._stream.time_base))

    def _key_before(self, number: int) -> int:
        """Place in `_keys` of the last keyframe shown at or before a frame."""
        return bisect_right(self._keys, number, key=lambda key: key.number) - 1

    def _runs(self, numbers: list[int]) -> list[list[int]]:
        """Ascending numbers, parted where decoding jumps to a later keyframe."""
        runs = [numbers[:1]]
        for before, number in pairwise(numbers):
            if self._keys[self._key_before(number)].number > before + 1:
                runs.append([])
            runs[-1].append(number)
        return runs

    def _decode_run(self, key: _Keyframe, run: list[int], writer: ClipWriter) -> bool:
        """Write the frames of a run, decoding from a keyframe; whether they all came, undamaged."""
        wanted = set(run)
        try:
            for number, frame, damaged in self._decode(key):
                if number in wanted:
                    if damaged:
                        return False
                    writer.write(number, frame)
                if number == run[-1]:
                    return not self._damage_ahead()
        except av.FFmpegError:
            pass
        return False

    def _damage_ahead(self) -> bool:
        """Whether a frame that is decoded, but not yet shown, is damaged: frames shown before may rest on it."""
        try:
            return any(ahead.is_corrupt for ahead in self._stream.codec_context.decode(None))
        except av.EOFError:  # all frames of the file have been shown
            return False

    def _decode(self, key: _Keyframe) -> Iterator[tuple[int, VideoFrame, bool]]:
        """Number and frame from a keyframe on, and whether the frame is damaged or not the one that was promised."""
        number = key.number
        damaged = False
        for packet in self._packets_from(key):
            frames = packet.decode()
            corrupt = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
            for frame in frames:
                wrong = corrupt
                if self._stamps:
                    if frame.pts is not None and frame.pts < self._stamps[key.number]:
                        continue  # it rests on frames before the keyframe
                    wrong |= frame.pts != self._stamps[number]
                # Damage spreads to the frames that build on it, up to the next keyframe.
                damaged = wrong or (damaged and not frame.key_frame)
                yield number, frame, damaged
                number += 1

    def _packets_from(self, key: _Keyframe) -> Iterator[Packet[VideoStream]]:
        """Packets from a keyframe on, wherever a seek lands: some formats go by pts, some by dts, some nowhere."""
        for stamp in (*(stamp for stamp in (key.pts, key.dts) if stamp is not None), None):
            if stamp is None:
                self.close()
                self._open()
            else:
                try:
                    self._container.seek(stamp, stream=self._stream)
                except av.FFmpegError:
                    continue
            packets = (packet for packet in self._container.demux(self._stream) if packet.size or _is_flush(packet))
            for packet in packets:
                if key.pts is None or (packet.pts == key.pts and packet.is_keyframe):
                    yield packet
                    yield from packets
                    return
                if packet.dts is not None and key.dts is not None and packet.dts > key.dts:
                    break


def open_container(path: Path) -> InputContainer:
    """A video or image file, open. Raises VideoError for anything else."""
    try:
        # "file:" keeps names such as "12:30.mp4" from being read as URLs; titles need not be UTF-8.
        return av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: cannot be opened as a video or an image: {reason}") from None


def _is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether this is the packet that PyAV appends to get the last frames out of the decoder."""
    return packet.size == 0 and packet.dts is None


def _is_cut(path: Path) -> bool:
    """Whether a Matroska, WebM or AVI file is shorter than its header says."""
    with path.open("rb") as file:
        head = file.read(4096)
    size = path.stat().st_size
    if head.startswith(b"RIFF"):
        return size < int.from_bytes(head[4:8], "little")  # some writers count these 8 bytes, some do not
    place = head.find(b"\x18\x53\x80\x67") + 4  # the length of the segment, the element that holds all the rest
    if not head.startswith(b"\x1a\x45\xdf\xa3") or not 4 <= place < len(head):
        return False
    width = 9 - head[place].bit_length()
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(head[place : place + width]) & unknown
    return length != unknown and size < place + width + length
