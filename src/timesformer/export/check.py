"""How the scores of an exported file compare with those of the model in float32.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config import ClipShape, ModelSettings
from timesformer.engine.agreement import synthetic_clip
from timesformer.engine.graphs import Open
from timesformer.errors import DataError, SettingError, VideoError
from timesformer.video.source import Source
from timesformer.video.views import read_views
from timesformer.weights.classifier import Classifier

SEEDS = 16  # synthetic clips
VIDEOS = 200  # of those to check on, at most
MARGIN = 0.05  # between the two best float32 scores of a clip


class Limit(NamedTuple):
    """What a precision must keep to: the largest difference of a score, where there is one, and the fraction of clips
    with the same best class, of all or of those with a margin above MARGIN. needs_judged: whether one must have it."""

    score: float | None
    top1: float
    margin: bool = False
    needs_judged: bool = True


FILE_LIMITS = {
    "fp32": Limit(1e-4, 1.0),
    "bf16": Limit(None, 0.99),
    "fp16": Limit(None, 0.99),
    "int8": Limit(None, 0.98, True),
}


def of_few(precision: str) -> Limit:
    """What a precision must keep to on a few synthetic clips: fp32 as on many; the others in the best class of every
    clip with a margin above MARGIN, which random clips need not have."""
    limit = FILE_LIMITS[precision]
    return limit if limit.score is not None else Limit(None, 1.0, margin=True, needs_judged=False)


class Checked(NamedTuple):
    """How a file's scores compare with the float32 model's.

    clips: number of clips; largest: largest difference of a score; judged: clips whose best class counts, and same: how
    many of them have the same one.
    """

    clips: int
    largest: float
    judged: int
    same: int
    limit: Limit

    @property
    def top1(self) -> float:
        """The fraction of clips with the same best class; NaN where none counts."""
        return self.same / self.judged if self.judged else float("nan")

    @property
    def problem(self) -> str | None:
        """What misses the limit; None where nothing does."""
        score, top1 = self.limit.score, self.limit.top1
        if not self.judged and self.limit.needs_judged:
            return f"none of {self.clips} clips has a float32 margin above {MARGIN:g}, so that none can be judged"
        if self.largest != self.largest or (score is not None and self.largest > score):
            return f"{self}; at most {1 if score is None else score:g} is allowed"
        return None if not self.judged or self.top1 >= top1 else f"{self}; at least {top1:.0%} is needed"

    def __str__(self) -> str:
        of = f"clips of a float32 margin above {MARGIN:g}" if self.limit.margin else "clips"
        return (
            f"scores within {self.largest:.2g} of the float32 model's on {self.clips} clips, same best class in "
            f"{self.top1:.1%} of {self.judged} {of}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "clips": self.clips,
            "largest_score_difference": self.largest,
            "judged": self.judged,
            "top1_agreement": self.top1 if self.judged else None,
            "limits": {"score_difference": self.limit.score, "top1_agreement": self.limit.top1},
            "judged_are": f"clips of a float32 margin above {MARGIN:g}" if self.limit.margin else "all clips",
        }


def check_scores(
    clips: Iterable[Tensor], scores: Callable[[Tensor], Tensor], float32: Callable[[Tensor], Tensor], limit: Limit
) -> Checked:
    """Compare two functions of batches of clips, (B, K) each."""
    total, judged, same, largest = 0, 0, 0, torch.zeros(())
    for batch in clips:
        found_BK, expected_BK = scores(batch), float32(batch)
        largest = torch.maximum(largest, (found_BK - expected_BK).abs().max())  # NaN stays
        counts_B = torch.ones(len(batch), dtype=torch.bool)
        if limit.margin and expected_BK.shape[1] > 1:
            best_B2 = expected_BK.topk(2).values
            counts_B = best_B2[:, 0] - best_B2[:, 1] > MARGIN
        total, judged = total + len(batch), judged + int(counts_B.sum())
        same += int((found_BK.argmax(1) == expected_BK.argmax(1))[counts_B].sum())
    return Checked(total, float(largest), judged, same, limit)


def synthetic_clips(shape: ClipShape) -> Iterator[Tensor]:
    """SEEDS seeded clips, one by one."""
    return (synthetic_clip(shape, seed) for seed in range(SEEDS))


def video_clips(
    sources: Sequence[Source], classifier: Classifier, skipped: Callable[[VideoError], object]
) -> Iterator[Tensor]:
    """The middle view of each video, one by one; those that cannot be read are told to `skipped`.

    Raises DataError where none of them can be read.
    """
    found, problem = 0, None
    for source in sources:
        try:
            views_VCTSS = read_views(source, classifier.settings.clip_shape, classifier.preprocessing)
        except VideoError as error:
            problem = problem or error
            skipped(error)
        else:
            found += 1
            yield views_VCTSS[len(views_VCTSS) // 2][None]
    if not found:
        raise DataError(f"none of the {len(sources)} videos to check on can be read; the first: {problem}")


def some_of(sources: Sequence[Source]) -> Sequence[Source]:
    """Up to VIDEOS videos, spread over those given. Raises SettingError where there are none."""
    if not sources:
        raise SettingError("check: no videos; expected a data set, a folder of videos or videos")
    return [sources[number * len(sources) // VIDEOS] for number in range(VIDEOS)] if len(sources) > VIDEOS else sources


def other_shapes(settings: ModelSettings, opened: Open) -> list[Tensor]:
    """Synthetic clips of other shapes that a file leaves open: of two clips, of more frames, of larger ones."""
    frames, side = settings.clip_shape
    found = []
    if "batch" in opened.axes:
        found.append(torch.cat([synthetic_clip(settings.clip_shape, seed) for seed in (SEEDS, SEEDS + 1)]))
    if "frames" in opened.axes:
        found.append(synthetic_clip(ClipShape(frames + settings.frame_unit, side), SEEDS + 2))
    if "size" in opened.axes:
        found.append(synthetic_clip(ClipShape(frames, side + settings.clip_unit), SEEDS + 3))
    return found
