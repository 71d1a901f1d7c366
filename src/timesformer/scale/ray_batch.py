"""Many videos on Ray Data: decoded by tasks, computed by actors, their rows written part by part by this process.

    list -> parts (SHA-256) -> tasks: videos -> pieces -> actors: pieces -> results -> driver: rows -> OUT/part=N/...

Where models compute on one CPU each, actors decode as well (`Allocation.together`).

Ray Data streams: tasks wait where actors are slower, and Ray runs again what a lost worker, actor or machine has not
handed on. A piece that comes twice so counts once, and a run whose stream ends early says so. What is lost with this
process are parts that are not complete.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.data.lists import LabelledVideo
from timesformer.errors import SettingError, TimesformerError, VideoError, WorkerError, one_line
from timesformer.inference.listed import ListedVideos
from timesformer.inference.sources import in_shard
from timesformer.scale.cluster import Allocation, Cluster, connected, import_ray
from timesformer.scale.collector import Collector, Summary
from timesformer.scale.decoder import Limits
from timesformer.scale.parts import Parts, Todo
from timesformer.scale.stores import check_buckets, in_store
from timesformer.scale.tasks import DecodingModel, Item, Loading, Model, decode, describe
from timesformer.scale.work import About, Work
from timesformer.video.source import reads_once

CHUNK = 256  # videos of a task, at most
TASKS = 16  # of each decoder, at least, where there are as many videos
BLOCK = 1 << 22  # bytes of views, at least, that go to an actor together, where a task has as many


class Progress(NamedTuple):
    """How far a job is: what computes; videos with rows, and of how many; those that were found unreadable since."""

    engine: str
    done: int
    total: int
    problems: list[VideoError]


def run(
    work: Work,
    videos: ListedVideos,
    out: str,
    loading: Loading,
    *,
    cluster: Cluster = Cluster(),  # noqa: B008  frozen
    limits: Limits = Limits(),  # noqa: B008
    shard: str | None = None,
    parts: int | None = None,
    on_progress: Callable[[Progress], object] = lambda progress: None,
) -> Summary:
    """Compute the rows of videos that a folder does not have yet.

    work: `Prediction`, `Features` or `Timeline`. videos: paths, URLs, and of features those of a data set; a name that
    comes more than once has its rows once. out: a folder, or its URL in a store (`timesformer.scale.parts`). shard: as
    for `PredictionJob`; shards of one list may share a folder. parts: of a new folder; by the length of the list if not
    given. on_progress: called when the first video is read, and when rows come.

    Raises, before anything is computed, SettingError for values that are not allowed, for an address without a cluster,
    a bucket that does not exist, and a folder of other rows; WeightsError for what is no weights; later, StoreError
    where a store does not answer or the disk is full, and WorkerError where Ray fails. The same call continues.
    """
    for checked in (work, cluster, limits):
        checked.check()
    if loading.precision == "int8":
        raise SettingError(
            "precision int8 is calibrated on one machine; make a file with timesformer export, and use that"
        )
    if cluster.gpus == 0 and loading.device == "auto":
        loading = replace(loading, device="cpu")
    import_ray()
    order, numbers = list(dict.fromkeys(videos.names)), dict[str, int]()
    for number, name in enumerate(videos.names):
        numbers.setdefault(name, number)
    doubled = len(videos.names) - len(order)
    ours = in_shard(shard) if shard is not None else None
    names = [name for name in order if ours is None or ours(name)]
    if not order:
        raise SettingError("videos: none; expected at least one")
    sources = [_portable(videos.sources[numbers[name]]) for name in names]
    cells = [videos.cells[numbers[name]] if videos.cells else {} for name in names]
    check_buckets(source for source in sources if isinstance(source, str))
    folder = Parts(out)
    with connected(cluster, loading.device) as allocation, folder.locked(shared=shard is not None):
        about = _describe(work, loading, allocation)
        made_with = {"rows": work.name, "weights": about.fingerprint, "engine": about.engine}
        folder.begin({**made_with, "precision": about.precision, **work.made_with(about)}, len(order), parts)
        todo = folder.todo(names)
        left = sum(len(one.videos) for one in todo)
        summary = Summary(videos=len(names), earlier=len(names) - left, doubled=doubled)
        on_progress(Progress(about.description, summary.earlier, len(names), []))
        collector = Collector(work, about, folder, names, cells, videos.columns, todo, summary)
        began = time.perf_counter()
        try:
            stream = _stream(work, about, loading, limits, allocation, _chunks(todo, sources, cells, allocation))
            with closing(stream) as blocks:
                for block in blocks:
                    problems = collector.add(block)
                    on_progress(Progress(about.description, summary.earlier + summary.now, len(names), problems))
            if collector.left:
                raise WorkerError(
                    f"Ray ended without the results of {collector.left} videos; the same command goes on with them"
                )
        except Exception as error:
            known = _known(error)
            if known is error:
                raise
            raise known from None
        finally:
            summary.seconds = time.perf_counter() - began
        summary.total = folder.end()
    return summary


def _describe(work: Work, loading: Loading, allocation: Allocation) -> About:
    """What the model is, by loading it where models run."""
    if allocation.alone and not allocation.gpus:
        return describe(loading, allocation.threads, work)
    ray = import_ray()
    task = ray.remote(num_cpus=allocation.threads, num_gpus=allocation.gpus, max_calls=1)(describe)
    try:
        found: About = ray.get(task.remote(loading, allocation.threads, work))
    except Exception as error:
        raise _known(error) from None
    return found


def _stream(
    work: Work, about: About, loading: Loading, limits: Limits, allocation: Allocation, chunks: list[list[Item]]
) -> Generator[Any, None, None]:
    """Blocks of results, in any order. It has to be closed: a thread of Ray Data would go on after Ray has ended."""
    if not chunks:
        return
    ray = import_ray()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    size = context.target_max_block_size = max(BLOCK, 2 * about.views * about.bytes)
    with ray.data.DataContext.current(context):
        # Not from_arrow: a task each would look at what the chunks are, which takes four more processes at the start.
        items = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
        found = ray.data.from_items(items, override_num_blocks=len(items))
        given = pickle.dumps((work, about))
        kind: type[Model] | type[DecodingModel]
        arguments: dict[str, Any]
        if allocation.together:
            kind, arguments = DecodingModel, {"given": given, "limits": limits, "size": size}
        else:
            kind, arguments = Model, {"threads": allocation.threads}
            found = found.map_batches(
                partial(decode, work=given, limits=limits, size=size),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
                compute=ray.data.TaskPoolStrategy(size=allocation.decoders),
            )
        found = found.map_batches(
            kind,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs={"loading": loading, "work": work, **arguments},
            num_cpus=allocation.threads,
            num_gpus=allocation.gpus,
            compute=ray.data.ActorPoolStrategy(size=allocation.models, max_tasks_in_flight_per_actor=2),
        )
        with closing(iter(found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))) as blocks:
            yield from blocks


def _chunks(
    todo: list[Todo], sources: Sequence[Any], cells: Sequence[dict[str, str]], allocation: Allocation
) -> list[list[Item]]:
    """What each task decodes: part, number and source of videos."""
    left = sum(len(one.videos) for one in todo)
    size = max(1, min(CHUNK, left // (TASKS * allocation.decoders)))
    return [
        [(part, video, pickle.dumps((sources[video], cells[video]))) for video in videos[start : start + size]]
        for part, videos in todo
        for start in range(0, len(videos), size)
    ]


def _portable(source: Any) -> str | Path | LabelledVideo:
    """A source that another machine can open where it has the same folders. Raises SettingError for any other."""
    if isinstance(source, LabelledVideo):
        return LabelledVideo(source.path.absolute(), source.labels, source.frames)
    if not isinstance(source, str | Path) or reads_once(source):
        raise SettingError(
            f"videos: {source if isinstance(source, str | Path) else type(source).__name__}; "
            "on Ray expected paths and URLs, which other processes have"
        )
    if isinstance(source, Path):
        return source.absolute()
    return source if in_store(source) or "://" in source else Path(source).absolute()


def _known(error: BaseException) -> BaseException:
    """An error of this package that another one comes from, or what else to say of one of Ray."""
    ray = import_ray()
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimesformerError) and not isinstance(seen, ray.exceptions.RayError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    if isinstance(error, ray.exceptions.RayError):
        return WorkerError(f"Ray: {one_line(error)[:300]}; the same command goes on with what is done")
    return error
