"""How long training videos are: the window of a timeline, where weights spread a clip over a whole video."""

from __future__ import annotations

from statistics import median

from timesformer.config import Preprocessing
from timesformer.data.manifest import Manifest
from timesformer.errors import VideoError

LOOKED_AT = 200  # videos, evenly from the first to the last


def with_window(preprocessing: Preprocessing, training: Manifest) -> Preprocessing:
    """Preprocessing of `segments` with the median length of the training videos, in seconds, as its window.

    It stays as it is where it has a window, for other sampling, and where no length is known, as of folders of images.
    """
    if preprocessing.sampling.method != "segments" or preprocessing.window is not None:
        return preprocessing
    lengths = []
    for video in training.videos[:: -(-len(training.videos) // LOOKED_AT)]:
        try:
            with video.open() as opened:
                lengths.append(opened.seconds(opened.num_frames))
        except VideoError:
            continue  # training reports it
    known = [length for length in lengths if length is not None]
    return preprocessing.model_copy(update={"window": round(median(known), 3)}) if known else preprocessing
