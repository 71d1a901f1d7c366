"""What the service does with an upload: decoded in a process, computed by an engine that requests share."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from torch import Tensor

from timesformer.config.explain import Explain
from timesformer.errors import SettingError
from timesformer.evaluation.scores import score_views
from timesformer.explain.pictures import Images
from timesformer.explain.placement import Views
from timesformer.explain.save import save_overlay, stretch_of
from timesformer.features.pooling import choose_pooling, pool_views
from timesformer.files import FULL
from timesformer.inference.predictor import Answer
from timesformer.inference.timeline import TimelineOptions, WindowRow, row_of, score_windows
from timesformer.serve.batching import ENDING
from timesformer.serve.decoder import Decoder, misbehaved
from timesformer.serve.job import Disconnected, Job, while_connected
from timesformer.serve.messages import read_explained, read_seen, read_stride, read_window
from timesformer.serve.metrics import Metrics
from timesformer.serve.models import ServedModel
from timesformer.serve.problems import Problem
from timesformer.serve.settings import ServiceSettings
from timesformer.serve.uploads import Receiver, Spool, Upload
from timesformer.serve.worker import Limits, Message, Task
from timesformer.video.seen import Seen
from timesformer.video.windows import ROUNDING, Window

T = TypeVar("T")


class Overlay(NamedTuple):
    """An MP4, and which seconds of the video it shows, where that is known."""

    content: bytes
    stretch: tuple[float, float] | None


SCORING = 128  # threads, at most, that wait for engines
EXPLAIN_SECONDS = 300.0  # that an explanation may take once it is decoded


class Service:
    """Models, the processes that decode for them, and a folder for uploads. Close it at the end.

    decoder: in place of the one that the settings describe.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], settings: ServiceSettings, decoder: Decoder | None = None
    ) -> None:
        self.models, self.settings, self.metrics = models, settings, Metrics()
        limits = Limits.of(settings)
        self.decoder = decoder or Decoder(limits, settings.decode_seconds, settings.workers)
        self.spool = Spool()
        self.receiver = Receiver(self.spool, settings)
        self.metrics.follow(models)
        # A timeline decodes while it computes; those that only decode do not wait for it.
        self.decoding, self.streaming = (anyio.CapacityLimiter(settings.workers) for _ in range(2))
        # Decoded and drawn one at a time: matplotlib's settings are of the whole process, and one takes much memory.
        self.explaining = anyio.CapacityLimiter(1)
        self.scoring = anyio.CapacityLimiter(SCORING)

    @property
    def ready(self) -> bool:
        """Whether all models can be asked."""
        return all(model.batcher.alive for model in self.models.values())

    def close(self) -> None:
        """End the decoders and the engines' threads, and remove what is left of uploads."""
        for model in self.models.values():
            model.batcher.stop()
        self.decoder.close()
        end = time.monotonic() + ENDING
        for model in self.models.values():
            model.batcher.close(max(0.0, end - time.monotonic()))
        self.spool.close()

    def find(self, name: str | None) -> ServedModel:
        """A model by name, the first one without; raises Problem where there is none."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Problem("unknown_model", f"no model of that name; there are {', '.join(self.models)}")
        return self.models[name]

    async def run(self, request: Request, work: Callable[[Job], Any]) -> Any:
        """The result of an async `work(job)`; the job is stopped when the client leaves. Raises Disconnected then."""
        job = Job()
        return await while_connected(request.receive, partial(work, job), job.stop)

    async def predict(self, job: Job, model: ServedModel, upload: Upload, top: int) -> dict[str, Any]:
        """The row of `timesformer predict`."""
        predictor, batcher = model.predictor_for(job), model.batcher

        def score() -> dict[str, Any]:
            with model.reserve_more(len(views_VCTSS)):
                best = predictor.best(score_views(predictor.engine, views_VCTSS), top)
            return Answer(upload.name, best, seen=seen).as_dict()

        try:
            views_VCTSS, seen = await self._views(job, model, upload, lambda: batcher.expect(job, model.views))
            with self.metrics.stage("score"):
                return await anyio.to_thread.run_sync(score, limiter=self.scoring)
        finally:
            batcher.forget(job)

    async def features(self, job: Job, model: ServedModel, upload: Upload) -> dict[str, Any]:
        """The vector of `timesformer features`, of its default layer and pooling."""
        one = model.predictor_for(job)
        pooling = choose_pooling(one.settings, one.preprocessing)
        views_VCTSS, _ = await self._views(job, model, upload)

        def pool() -> dict[str, Any]:
            try:
                with model.reserve_more(len(views_VCTSS)):
                    vector_D = pool_views(one.engine, one.settings, one.preprocessing, pooling, views_VCTSS)
            except SettingError as error:  # an ensemble has none
                raise Problem("not_supported", "this model has no features") from error
            return {"video": upload.name, "features": vector_D.flatten().tolist()}

        with self.metrics.stage("score"):
            return await anyio.to_thread.run_sync(pool, limiter=self.scoring)

    def check_explain(self, model: ServedModel, settings: Explain, label: str | None) -> None:
        """Raises Problem for what cannot be explained of a model."""
        explainer = model.explainer_for(Job())
        if label is not None and label not in explainer.labels:
            raise Problem(
                "bad_parameter",
                f"label: not one of the {len(explainer.labels)} classes of {model.name}; /v1/models lists them",
            )
        try:
            explainer.check(settings)
        except SettingError:
            reason = f"method {settings.method}: this model has no attention that can be recorded; method=occlusion"
            raise Problem("not_supported", reason) from None

    async def explain(
        self, job: Job, model: ServedModel, upload: Upload, settings: Explain, label: str | None, *, plain: bool
    ) -> Overlay:
        """overlay.mp4 of `timesformer explain`, `plain` without borders around the frames.

        Frames whose short side is above 360 pixels are scaled before."""
        one = model.explainer_for(job)
        task, limits = Task("explanation", one.settings.clip_shape, one.preprocessing), self.decoder.limits

        def decode() -> tuple[Views, Images]:
            views, frames_CNHW = self._only(job, upload.path, task, lambda said: read_explained(said, task, limits))
            return views, frames_CNHW.permute(1, 2, 3, 0).contiguous().numpy()

        def explain() -> Overlay:
            with model.reserve_more(model.runs(settings, len(views.places)), most=model.batcher.limit // 2):
                try:
                    found = one.explain_views(views, upload.name, label, settings)
                except SettingError as error:  # nothing reaches what is asked
                    raise Problem("not_supported", str(error)) from None
            with job.stoppable(lambda: None):  # before what takes long
                try:
                    save_overlay(found, frames_NHW3, file, plain=plain)
                    return Overlay(file.read_bytes(), stretch_of(found))
                except OSError as error:
                    if error.errno in FULL:
                        raise Problem("storage_full", "no room for the overlay; retry in 60 s", 60) from None
                    raise

        async with self.explaining, self.spool.file() as file:
            with self.metrics.stage("decode"):
                views, frames_NHW3 = await anyio.to_thread.run_sync(decode, limiter=self.decoding)
            with self.metrics.stage("score"), job.at_most(EXPLAIN_SECONDS) as late:
                try:
                    return await anyio.to_thread.run_sync(explain, limiter=self.scoring)
                except Disconnected:
                    if late.is_set():
                        detail = f"explaining took longer than {EXPLAIN_SECONDS:g} seconds; try method=rollout"
                        raise Problem("explain_timeout", detail) from None
                    raise

    async def _views(
        self, job: Job, model: ServedModel, upload: Upload, on_turn: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Seen]:
        """The views of an upload. on_turn: is called when others have been decoded and it is its turn."""
        one = model.predictor
        task = Task("views", one.settings.clip_shape, one.preprocessing)

        def decode() -> tuple[Tensor, Seen]:
            on_turn()
            return self._only(job, upload.path, task, lambda said: (said[1][0], read_seen(said[0])))

        with self.metrics.stage("decode"):
            return await anyio.to_thread.run_sync(decode, limiter=self.decoding)

    def _only(self, job: Job, path: Path, task: Task, read: Callable[[Message], T]) -> T:
        """What the one message of a task says."""
        with closing(self.decoder.read(job, path, task)) as messages:
            (found,) = [_believed(read, message) for message in messages]
        return found

    def timeline_rows(
        self, job: Job, model: ServedModel, upload: Upload, options: TimelineOptions
    ) -> Generator[WindowRow, None, None]:
        """The rows of `timesformer timeline`, each as soon as it is known. For a thread."""
        one = model.predictor_for(job)
        engine, shape = one.engine, one.settings.clip_shape
        task = Task("windows", shape, one.preprocessing, options.window, options.stride)

        def windows() -> Generator[tuple[Window, Tensor], None, None]:
            after = 0.0
            for header, arrays in messages:
                window = _believed(read_window, header, after, self.decoder.limits)
                after = window.start or 0.0
                yield window, arrays[0]

        # However long it is, no more of its clips wait at a time than the engine takes at once.
        with (
            closing(self.decoder.read(job, upload.path, task)) as messages,
            model.reserve_more(engine.views, most=model.batcher.limit // 2),
        ):
            stride = _believed(read_stride, next(messages)[0])
            scored = score_windows(
                engine, windows(), lambda window: int((window.start or 0.0) / stride + ROUNDING) // engine.views
            )
            for window, scores_K in scored:
                yield row_of(upload.name, window, scores_K, one.labels)


def _believed(read: Callable[..., T], *said: Any) -> T:
    """What a decoder's message says. Raises Problem for one that cannot be."""
    try:
        return read(*said)
    except ValueError:
        raise misbehaved() from None
