"""Which of the video tracks of a file is the film: drones and cameras put thumbnails, previews and covers beside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from timesformer.errors import VideoError


def video_tracks(name: Path | str, container: InputContainer) -> list[VideoStream]:
    """The video tracks, the one first that FFmpeg finds the best; covers are none, and no track of an unknown codec is.

    Raises VideoError where there are none, or where the best one's codec is unknown.
    """
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    tracks.sort(key=lambda track: best is None or track.index != best.index)
    if not tracks or not tracks[0].codec_context:
        raise VideoError(name, f"holds no video stream{' of a known codec' if tracks else ''}")
    return [track for track in tracks if track.codec_context]


def main_track(container: InputContainer, tracks: list[VideoStream]) -> VideoStream:
    """The first of several tracks that has more than one frame: a file may call its thumbnail the default.

    Reads packets until that is known. Without any such track it is the first.
    """
    packets: Counter[int] = Counter()
    for packet in container.demux(tracks):
        packets[packet.stream_index] += packet.size > 0
        if packets[tracks[0].index] > 1:
            break
    return next((track for track in tracks if packets[track.index] > 1), tracks[0])
