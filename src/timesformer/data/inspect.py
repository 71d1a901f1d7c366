"""One video, decoded from its first frame to its last: what it is, and a digest of what it shows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from timesformer.video.source import open_video

DIGEST_SIDE = 32  # pixels of the short side of the frames that the digest is taken from


class Facts(NamedTuple):
    """A video that can be decoded.

    num_frames; fps: mean frames a second, None where unknown; width and height: pixels, as the first frame is shown;
    codec: such as "h264"; content: digest of all frames, equal for videos that show the same; resized: frames of
    another size or rotation than the first, which are resized to it.
    """

    num_frames: int
    fps: float | None
    width: int
    height: int
    codec: str
    content: str
    resized: int = 0


def inspect_video(path: Path) -> Facts:
    """Decode a video, or a folder of frames, as training would. Raises VideoError for any frame that is damaged.

    The digest is of the frames' RGB values, scaled to a short side of 32 pixels, frame by frame in the order of
    showing; neither the container nor the frame rate has a part in it. Digests of one version can be compared.
    """
    with open_video(path) as video:
        height, width = video.read([0]).shape[2:]
        digest = hashlib.blake2b(digest_size=16)
        for _, image_CHW in video.frames(DIGEST_SIDE):
            digest.update(repr(tuple(image_CHW.shape)).encode())
            digest.update(image_CHW.numpy().data)
        return Facts(video.num_frames, video.fps, width, height, video.codec, digest.hexdigest(), video.resized)
