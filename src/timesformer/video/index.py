"""What the packets of a video file say about its frames, without decoding any.

A file is read through once, which gives the time stamp of every frame in the order of showing, and the keyframes among
them. Truncated files are found out here. Where time stamps are missing, repeated or out of order, frames can only be
counted, and decoding has to start with the first one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from timesformer.errors import VideoError
from timesformer.video.container import Medium, head_and_size
from timesformer.video.length import SIZED, promised_bytes


class Keyframe(NamedTuple):
    """A frame that decoding can start at: the number of the first frame shown from there on, and its time stamps."""

    number: int
    pts: int | None
    dts: int | None


FILE_START = Keyframe(0, None, None)


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The frames of a file, as its packets describe them.

    num_frames: frames that are shown; None where only decoding can count them.
    fps: mean frame rate in frames a second; None where the file does not say.
    stamps: time stamps of all frames in the order of showing, in units of `time_base` seconds; empty where they are
        missing, repeated or out of order.
    keys: frames that decoding can start at, in ascending order, the first for frame 0.
    unfinished: whether the file says that its length is unknown: it was written to a pipe, or its recorder was killed.
        Then a last packet that is cut is no frame.
    """

    num_frames: int | None
    fps: float | None
    stamps: Sequence[int] = ()
    keys: tuple[Keyframe, ...] = (FILE_START,)
    time_base: Fraction | None = None
    unfinished: bool = False

    def key_before(self, number: int) -> int:
        """Position in `keys` of the last keyframe shown at or before a frame."""
        return bisect_right(self.keys, number, key=lambda key: key.number) - 1

    def since(self, first: int) -> PacketIndex:
        """The same file, shown from the first frame whose time stamp is at least `first`."""
        stamps = array("q", self.stamps[bisect_left(self.stamps, first) :])
        keys = [Keyframe(bisect_left(stamps, key.pts or 0), key.pts, key.dts) for key in self.keys]
        keys[0] = keys[0]._replace(number=0)
        fps = self.fps
        if len(stamps) > 1 and self.time_base:
            fps = float((len(stamps) - 1) / ((stamps[-1] - stamps[0]) * self.time_base))
        return replace(self, num_frames=len(stamps), fps=fps, stamps=stamps, keys=tuple(keys))

    def seconds(self, number: int) -> float | None:
        """When a frame appears, in seconds after the first one; None where neither stamps nor frame rate are known.

        Frames without usable time stamps are taken to come evenly. For `num_frames` it is when the last frame ends,
        which it is taken to do after 1 / fps seconds.
        """
        if not self.stamps or self.time_base is None:
            return number / self.fps if self.fps else None
        if number < len(self.stamps):
            return (self.stamps[number] - self.stamps[0]) * self.time_base.numerator / self.time_base.denominator
        last = self.seconds(len(self.stamps) - 1)
        return None if last is None or not self.fps else last + 1 / self.fps


def index_packets(name: Path | str, medium: Medium, container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets of an open container. Raises VideoError for a file without frames, or one that is truncated."""
    stamps: list[int] = []
    durations: list[int] = []
    keys: list[Keyframe] = []
    packets = 0
    cut = missing = False
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    head, size = head_and_size(medium, name) if SIZED & set(container.format.name.split(",")) else (b"", -1)
    promised = promised_bytes(head)
    unfinished = promised is None
    for packet in container.demux(stream):
        if is_flush(packet) or (unfinished and packet.is_corrupt):
            continue
        packets += 1
        cut = packet.is_corrupt
        if packet.size == 0 or (is_vp8 and not bytes(packet)[0] & 0x10):
            continue  # nothing new to show; VP8 has packets for frames that are never shown
        if packet.pts is None:
            missing = True
            continue
        if packet.is_keyframe:
            keys.append(Keyframe(0, packet.pts, packet.dts))
        if keys and not packet.is_discard:
            stamps.append(packet.pts)
            durations.append(packet.duration or 0)
    if packets == 0:
        raise VideoError(name, "holds no frames")
    # MP4's index omits what its edit list omits; other counts of frames (AVI's) may include repeats.
    is_mp4 = "mp4" in container.format.name
    if cut or (is_mp4 and packets < len(stream.index_entries)) or (promised and 0 <= size < promised):
        raise VideoError(name, "truncated: the file ends before its last frame")
    fps = float(stream.average_rate) if stream.average_rate else None
    if missing or not stamps:  # packets are not frames everywhere: two fields can make one
        return PacketIndex(None, fps, unfinished=unfinished)
    if len(set(stamps)) < len(stamps):  # such as 0 for all frames: how long they last is what else the file says
        lasting = float(sum(durations) * stream.time_base) if all(durations) and stream.time_base else 0.0
        return PacketIndex(len(stamps), len(stamps) / lasting if lasting else None, unfinished=unfinished)
    if _is_disordered(stream, stamps, [key.pts or 0 for key in keys]):
        return PacketIndex(len(stamps), fps, unfinished=unfinished)
    stamps.sort()
    return PacketIndex(None, fps, stamps, tuple(keys), stream.time_base, unfinished).since(stamps[0])


def is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether this is the packet that PyAV appends to get the last frames out of the decoder."""
    return packet.size == 0 and packet.dts is None


def _is_disordered(stream: VideoStream, stamps: list[int], key_stamps: list[int]) -> bool:
    """Whether time stamps, in the order of the file, run back (joined files) or ignore that B-frames go back."""
    ignore = stream.codec_context.has_b_frames and stamps == sorted(stamps)
    return ignore or key_stamps != sorted(key_stamps)
