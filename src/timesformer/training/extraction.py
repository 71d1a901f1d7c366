"""The features of a run: computed once, and kept in a file; and what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.engine.engine import Engine
from timesformer.evaluation.evaluate import OnProgress, Progress
from timesformer.features.extract import Features, extract
from timesformer.features.store import read_features, read_notes, write_features
from timesformer.training.bar import counted, make_bar
from timesformer.training.log import Log

EVERY = 60  # seconds between lines where there is no terminal


def kept_features(
    views: TestingViews,
    file: Path,
    origin: dict[str, Any],
    make_engine: Callable[[], Engine],
    data: Data,
    log: Log,
    *,
    facts: dict[str, Any],
    skipped: SkippedVideos | None = None,
) -> Features:
    """The features of `views` from the file, where that has what is wanted; computed anew, and kept there, otherwise.

    origin: what they depend on, as `describe_origin` has it. make_engine: called where they are computed. facts: kept
    beside them, for a resumed run to compare. skipped: counts the videos that cannot be read, for a caller that says
    which; those of the views alone if not given.
    """
    manifest = views.manifest
    if file.exists():
        kept = read_notes(file)["origin"]
        enough = {"tokens"} if kept.get("tokens") else set()  # where none are wanted, they do no harm
        different = [name for name in origin if kept.get(name) != origin[name] and name not in enough]
        if not different:
            return read_features(file, manifest.folder)
        log.say(f"note    {file} has a different {' and '.join(different)}; its features are computed anew")
    engine = make_engine()
    with show_extraction(log, manifest.split, problems=skipped is None) as show:
        features = extract(views, engine, data, tokens=origin["tokens"], skipped=skipped, on_progress=show)
    write_features(features, manifest, file, {"origin": origin, "facts": facts, "precision": engine.precision})
    return features


@contextmanager
def show_extraction(log: Log, split: str, *, problems: bool = True) -> Iterator[OnProgress]:
    """Gives what `extract` calls after each video of a split: a bar with videos a second, without a terminal a line a
    minute. problems: it says which videos cannot be read, too."""
    began = said = time.perf_counter()
    with make_bar(log.console) as bar:
        task = bar.add_task(f"features of {split}", total=None)

        def show(progress: Progress) -> None:
            nonlocal said
            now = time.perf_counter()
            rate = f"{progress.done / max(now - began, 1e-9):.2f} videos/s"
            title = f"features of {split}, video {counted(progress.done, progress.total)}"
            bar.update(task, completed=progress.done, total=progress.total, description=f"{title}, {rate}")
            for problem in progress.problems if problems else ():
                log.say(f"skipped {problem}", style="yellow")
            if not log.console.is_terminal and now - said > EVERY:
                said = now
                log.say(f"{title}, {rate}")

        yield show
