"""One video or many: what callers pass as videos, as a list."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from timesformer.data.manifest import find_videos
from timesformer.errors import SettingError, VideoError
from timesformer.video.source import STDIN, Source, portable

Sources = Source | Iterable[Source]


def list_sources(sources: Sources) -> list[Source]:
    """Videos as a list, in their order.

    sources: a list, tuple or other iterable of sources; or one source alone that is no list, such as a path. So a list
    of images is a list of sources here, each of which is one frame and refused; [images] is the list of one video.
    Raises SettingError for anything else.
    """
    if isinstance(sources, str | Path | bytes | np.ndarray | Tensor) or hasattr(sources, "read"):
        return [cast("Source", sources)]
    if not isinstance(sources, Iterable):
        raise SettingError(f"videos: {type(sources).__name__}; expected a list of videos, or one video")
    return list(sources)


def find_sources(sources: Sources) -> list[Source]:
    """As `list_sources`, with a folder standing for all videos and folders of image frames in it.

    Standard input is read into memory, so that it can be read twice. Raises VideoError for a folder that holds no
    videos. Whether a file is there is only known when it is read.
    """
    found: list[Source] = []
    for source in list_sources(sources):
        if not isinstance(source, str | Path):
            found.append(source)
        elif source == STDIN:
            found.append(cast("Source", portable(source)))
        elif not Path(source).is_dir():
            found.append(source)
        elif videos := find_videos(Path(source)):
            found += videos
        else:
            raise VideoError(source, "the folder holds no videos or image frames")
    return found
