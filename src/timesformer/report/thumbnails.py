"""Small still pictures of videos, as addresses that hold them.

Dimensions: C 3 colours, H and W pixels.
"""

from __future__ import annotations

import io

from PIL import Image  # matplotlib brings it
from torch import Tensor

from timesformer.report.page import data_uri
from timesformer.video.source import Source, open_video

SHORT_SIDE = 96  # pixels
QUALITY = 72  # of WebP, to 100


def thumbnail(video: Source, short_side: int = SHORT_SIDE) -> str:
    """The middle frame of a video, its short side scaled to so many pixels, as a data URI of a few kilobytes.

    Raises VideoError for a video that cannot be read.
    """
    with open_video(video) as opened:
        return picture_uri(opened.read([opened.num_frames // 2], short_side)[:, 0])


def picture_uri(image_CHW: Tensor, quality: int = QUALITY) -> str:
    """A picture, uint8 RGB (3, H, W), as a data URI of WebP."""
    stream = io.BytesIO()
    Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().numpy()).save(stream, "WEBP", quality=quality, method=4)
    return data_uri(stream.getvalue(), "image/webp")
