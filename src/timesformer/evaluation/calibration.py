"""Clips of real videos, that an int8 engine is calibrated on and any engine can be compared with its model on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from timesformer.engine.file import Loaded
from timesformer.errors import DataError, VideoError
from timesformer.video.source import Source
from timesformer.video.views import read_views

CALIBRATION_VIDEOS = 16


def calibration_clips(sources: Sequence[Source], classifier: Loaded) -> Tensor | None:
    """The middle view of up to CALIBRATION_VIDEOS videos, spread over those given: uint8 (B, 3, T, S, S).

    sources: videos of any kind that `timesformer.read_views` takes; None is returned where there are none. A video that
    cannot be read is skipped; raises DataError where none of them can be read.
    """
    clips: list[Tensor] = []
    problems: list[VideoError] = []
    for source in sources[:: -(-len(sources) // CALIBRATION_VIDEOS) or 1]:
        try:
            views_VCTSS = read_views(source, classifier.settings.clip_shape, classifier.preprocessing)
        except VideoError as error:
            problems.append(error)
        else:
            clips.append(views_VCTSS[len(views_VCTSS) // 2])
    if problems and not clips:
        raise DataError(f"none of the {len(problems)} videos to calibrate on can be read; the first: {problems[0]}")
    return torch.stack(clips) if clips else None
