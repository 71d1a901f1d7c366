"""Where and when a classifier looked in a video: `timesformer.load_explainer`.

Dimensions: V views, C 3 colours, T frames of a clip, S pixels, U time cells of a clip (frames, or tubelets), R and Q
rows and columns of cells, N different frames of the video, H and W its pixels.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config.explain import Explain
from timesformer.engine.engine import Engine, make_engine
from timesformer.engine.file import Loaded, open_classifiers
from timesformer.errors import SettingError
from timesformer.evaluation.scores import score_views
from timesformer.explain.faithfulness import Faithfulness, faithfulness, runs
from timesformer.explain.occlusion import occlusion, parts_of
from timesformer.explain.placement import Views, find_cell, moved_views, place_views, video_map, view_cells
from timesformer.explain.propagation import carry, head_row, patch_map, query_row
from timesformer.explain.recording import RecordedModel, Recorder
from timesformer.explain.relevance import record_relevance
from timesformer.explain.rollout import record_rollout
from timesformer.settings import make
from timesformer.video.part import check_part
from timesformer.video.source import Source, open_video, source_name
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.exports import exported_format

OnRun = Callable[[int, int], None]  # views that were run, of how many


class Explanation(NamedTuple):
    """What a method found for a class in a video.

    video: what messages call it. start, end: the part of it that is explained, in seconds; None is where it starts, and
        ends. label, score: of the class that is explained; predicted: the best class.
    map_NHW: float32, a value for every pixel of every frame that was looked at, upright. Of rollout and relevance its
        sum is one; of occlusion it is how much the log of the score falls where a part is hidden.
    covered_HW: which pixels the model gets to see. frames: their numbers. seconds: when each appears, None where
        unknown.
    cells_VURQ: the same before it was placed in the video, of each view.
    views: what the model saw. faithfulness: None where it was not asked for. engine, precision: of the scores; rollout
        and relevance follow attention in float32.
    """

    video: Path | str
    start: float | None
    end: float | None
    label: str
    score: float
    predicted: str
    settings: Explain
    map_NHW: Tensor
    covered_HW: Tensor
    frames: list[int]
    seconds: list[float | None]
    cells_VURQ: Tensor
    views: Views
    faithfulness: Faithfulness | None
    engine: str
    precision: str

    @property
    def frame_weights(self) -> list[float]:
        """The part of each frame in the map, as fractions that sum to one; what is below zero does not count."""
        sums = self.map_NHW.clamp(min=0).sum((1, 2), dtype=torch.float64)
        return (sums / sums.sum().clamp(min=torch.finfo(sums.dtype).tiny)).tolist()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the map."""
        return {
            "video": str(self.video),
            "start": self.start,
            "end": self.end,
            "class": self.label,
            "score": self.score,
            "predicted": self.predicted,
            **self.settings.model_dump(),
            "engine": self.engine,
            "precision": self.precision,
            "seen": self.views.seen.as_dict(),
            "frames": self.frames,
            "seconds": self.seconds,
            "frame_weights": self.frame_weights,
            "faithfulness": None if self.faithfulness is None else self.faithfulness.as_dict(),
        }


class Explainer:
    """A classifier that says where it looked.

    Scores come from an engine, as `Predictor`'s do; rollout and relevance record the attention of the plain model, in
    its own arithmetic (float32), on the engine's device.

    Attributes: `engine`, `labels`, `settings` of the model, `preprocessing`.
    """

    def __init__(self, classifier: Loaded, engine: Engine) -> None:
        self.engine, self.labels = engine, classifier.labels
        self.settings, self.preprocessing = classifier.settings, classifier.preprocessing
        self._recorded = Recorder(classifier)

    def with_engine(self, engine: Engine) -> Explainer:
        """The same, with scores of another engine of the same classifier. Threads may use both: they take turns."""
        other = copy.copy(self)
        other.engine = engine
        return other

    def check(self, settings: Explain, label: str | None = None) -> None:
        """Raises SettingError for a class that the classifier does not have, and for a method that its architecture
        does not allow."""
        if label is not None:
            self._number(label)
        if settings.method != "occlusion":
            self._recorded.check()

    def explain(
        self,
        video: Source,
        label: str | None = None,
        *,
        settings: Explain | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        with_faithfulness: bool = False,
        on_run: OnRun = lambda done, total: None,
        **values: Any,
    ) -> Explanation:
        """Where the model looked in a video, for a class.

        video, fps, start, end: as for `Predictor.predict`; frames and seconds of what is found are those of the whole
        video. label: a class; the best one if not given. settings: see `timesformer.config.explain.Explain`, or its
        values one by one: `explain(video, method="relevance")`.
        with_faithfulness: whether deletion and insertion are measured, which takes 72 forward passes a view. on_run:
        is told how many views were run, of how many, in what takes long.

        Raises VideoError for a video that cannot be read and for a part that it does not have; SettingError for a
        class, head, layer or pixel that is not there, for an `end` that is not after the `start`, and for a model
        without attention.
        """
        if settings is not None and values:
            raise SettingError(f"explain: settings are given, and {', '.join(values)} beside them; one or the other")
        settings = make(Explain, values, "explain") if settings is None else settings
        check_part(start, end)
        self.check(settings, label)
        with open_video(video, fps) as opened:
            views = place_views(opened, self.settings.clip_shape, self.preprocessing, start, end)
        found = self.explain_views(
            views, source_name(video), label, settings, with_faithfulness=with_faithfulness, on_run=on_run
        )
        return found._replace(start=start, end=end)

    def explain_views(
        self,
        views: Views,
        video: Path | str,
        label: str | None,
        settings: Explain,
        *,
        with_faithfulness: bool = False,
        on_run: OnRun = lambda done, total: None,
    ) -> Explanation:
        """`explain` of a video, called `video`, whose views have been read: see `place_views`. The map is as large as
        they say that the video is. Raises SettingError as `explain` does."""
        self.check(settings, label)
        scores_K = score_views(self.engine, views.clips_VCTSS)
        best = int(scores_K.argmax())
        number = best if label is None else self._number(label)
        progress = self._progress(settings, len(views.places), with_faithfulness, on_run)
        seen = views if settings.grids == 1 else moved_views(views, settings.grids, self.settings.clip_unit)
        cells_VURQ = self._cells(seen, number, settings, progress)
        map_NHW, covered_HW = video_map(seen, cells_VURQ)
        if settings.grids > 1:  # what only a moved view has is no part of the video that the model gets to see
            grid = (cells_VURQ.shape[1], cells_VURQ.shape[2], cells_VURQ.shape[3])
            covered_HW = video_map(views, torch.zeros(len(views.places), *grid))[1]
            map_NHW = map_NHW * covered_HW
            cells_VURQ = view_cells(views, map_NHW, grid)
        if settings.method != "occlusion":
            if not map_NHW.any():
                raise SettingError(
                    f"method {settings.method}: nothing of any patch reaches what is asked; try occlusion"
                )
            map_NHW = map_NHW / map_NHW.sum(dtype=torch.float64)
        faith = None
        if with_faithfulness:
            faith = faithfulness(self.engine, views.clips_VCTSS, cells_VURQ, number, progress)
        return Explanation(
            video,
            None,
            None,
            self.labels[number],
            float(scores_K[number]),
            self.labels[best],
            settings,
            map_NHW.float(),
            covered_HW,
            views.frames,
            views.seconds,
            cells_VURQ,
            views,
            faith,
            self.engine.engine,
            self.engine.precision,
        )

    def _number(self, label: str) -> int:
        if label in self.labels:
            return self.labels.index(label)
        close = difflib.get_close_matches(label, self.labels, n=3)
        named = close or self.labels[:5]
        more = ", ..." if not close and len(self.labels) > 5 else ""
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(named)}{more}"
        raise SettingError(f"class {label!r}: not one of the {len(self.labels)} classes; {hint}")

    def _progress(self, settings: Explain, views: int, faith: bool, on_run: OnRun) -> Callable[[int], None]:
        """Counts the views that occlusion and faithfulness run."""
        times, rows, columns = parts_of(self.settings)
        total = (views * times * rows * columns if settings.method == "occlusion" else 0) + (
            runs(views) if faith else 0
        )
        done = 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            on_run(done, total)

        return progress

    def _cells(self, views: Views, number: int, settings: Explain, progress: Callable[[int], None]) -> Tensor:
        """What the method finds in each view: (V, U, R, Q)."""
        if settings.method == "occlusion":
            return occlusion(self.engine, views.clips_VCTSS, number, parts_of(self.settings), progress)
        with self._recorded.on(self.engine.device) as model:
            return self._recorded_cells(model, views, number, settings)

    def _recorded_cells(self, model: RecordedModel, views: Views, number: int, settings: Explain) -> Tensor:
        found, seen = [], settings.query is None
        for place, view_CTSS in zip(views.places, views.clips_VCTSS, strict=True):
            clips = normalise(view_CTSS[None].to(self.engine.device), self.preprocessing)
            if settings.method == "rollout":
                recording = record_rollout(model, clips, settings)
            else:
                recording = record_relevance(model, clips, number, settings)
            row = head_row(recording)
            if settings.query is not None:
                grid = patch_map(recording, row).shape
                cell = find_cell(views, place, settings.query, (grid[0], grid[1], grid[2]))
                if cell is None:  # other views have the pixel
                    found.append(torch.zeros(grid))
                    continue
                seen = True
                row = query_row(recording, cell[0], cell[1] * grid[2] + cell[2])
            row = carry(recording, row, balance=settings.method == "relevance", layer=settings.layer)
            found.append(patch_map(recording, row).cpu())
        if settings.query is not None and not seen:
            _, x, y = settings.query
            raise SettingError(f"query: pixel {x}, {y} is outside of the crops that the model looks at")
        return torch.stack(found)


def load_explainer(
    weights: str | Path | Classifier,
    device: str = "auto",
    *,
    labels: str | Path | None = None,
    heads: int | None = None,
) -> Explainer:
    """An explainer from weights of any layout, or from an exported file, of which there is occlusion alone; not of an
    ensemble, whose members are explained one by one.

    weights, device, labels, heads: as for `timesformer.load`, and the same errors.
    """
    if isinstance(weights, Classifier):
        classifier = weights if labels is None else weights.with_labels(labels)
    elif exported_format(Path(weights)) is not None:
        files = open_classifiers(weights, labels=labels)
        return Explainer(files[0], make_engine(files, "auto", "auto", device, None, forget=False))
    else:
        classifier = load_model(weights, labels=labels, heads=heads)
    return Explainer(classifier, make_engine((classifier,), "eager", "auto", device, None, forget=False))
