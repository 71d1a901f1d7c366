"""One training of a study and its tests, in a process of its own: `timesformer.bench.child` runs `perform`.

So one that needs too much memory, or dies, ends alone, and the memory at its peak is its own.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timesformer.bench.child import run_apart
from timesformer.bench.timing import forget_peak
from timesformer.config import Recipe
from timesformer.data.quarantine import inside
from timesformer.device import find_device
from timesformer.engine.engine import make_engine
from timesformer.engine.fingerprint import fingerprint_of
from timesformer.evaluation.evaluate import evaluate_manifest
from timesformer.evaluation.protocol import as_classifiers, change_protocol
from timesformer.evaluation.record import Stopwatch, record_test
from timesformer.evaluation.score_files import write_scores
from timesformer.settings import make
from timesformer.study.cache import BusyError, CachedRun
from timesformer.study.key import groups_of, read_data
from timesformer.study.order import Reordered
from timesformer.study.pace import PILOT_RUN, recipe_for
from timesformer.threads import use_threads
from timesformer.training.fit import fit, holds_work, resume
from timesformer.training.log import epoch_seconds, last_epoch, read_sessions
from timesformer.weights.classifier import load_model

FINISHED = ("checkpoints", "initial", "features")  # of a run that has ended; they are several times its weights
LOOK = 1.0  # seconds: others hold the lock for less, who only look whether it is free
EVERY = 0.5  # seconds between looks at whether the parent is there


def train_and_test(
    run: CachedRun,
    data: Path,
    init: str | None,
    protocols: Sequence[Mapping[str, Any]],
    threads: int | None,
    say: Callable[[str], object],
    *,
    apart: bool,
) -> bool:
    """`perform` for a training, in a process of its own where `apart`; `say` is then called with the epoch that it has
    ended, at most every 30 s. Returns False where another process works on it. Raises EndedError of a process that has
    ended without a result, and what `perform` raises."""
    arguments: dict[str, Any] = {
        "folder": str(run.folder),
        "recipe": run.recipe.model_dump(mode="json"),
        "data": str(data),
        "digest": run.data,
        "init": init,
        "init_digest": run.init,
        "extra": dict(run.extra),
        "protocols": [dict(protocol) for protocol in protocols],
        "threads": threads,
    }
    if apart:
        before = last_epoch(run.run)

        def watch() -> None:
            nonlocal before
            if (now := last_epoch(run.run)) not in (None, before):
                before = now
                say(f"epoch {now[0]} of {now[1]}")

        function = "timesformer.study.perform:perform"
        found = run_apart(function, arguments | {"parent": os.getpid()}, watch=watch)
    else:
        found = perform(**arguments)
    return not found.get("busy")


def perform(
    folder: str,
    recipe: dict[str, Any],
    data: str,
    digest: str,
    init: str | None,
    init_digest: str | None,
    extra: dict[str, Any],
    protocols: list[dict[str, Any]],
    threads: int | None,
    parent: int | None = None,
) -> dict[str, Any]:
    """Train what is not trained yet, from its last checkpoint where it has one, then test it with each protocol.

    Arguments are plain values, for `run_apart`. parent: the process whose end ends this one. Returns {"busy": True}
    where another process works on it, {} otherwise. Raises what `fit` and `evaluate` raise.
    """
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    use_threads(threads)
    made = make(Recipe, recipe, "recipe")
    run = CachedRun(Path(folder), made, digest, init_digest, extra)
    try:
        with run.locked(LOOK):
            _remove_finished(run)
            run.forget_failure()
            run.write_facts()
            if run.done is None:
                _train(run, Path(data), init)
            _test(run, Path(data), protocols)
    except BusyError:
        return {"busy": True}
    return {}


def _end_with(parent: int) -> None:
    """A process whose parent was killed would train on unseen, and hold its lock."""
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


def _train(run: CachedRun, data: Path, init: str | None) -> None:
    device = find_device(run.recipe.training.device)
    forget_peak(device)
    if not (run.run / "result.json").exists():
        if holds_work(run.run, run.recipe.task):
            resume(run.run, data=data)
        else:
            shutil.rmtree(run.run, ignore_errors=True)
            recipe = run.recipe
            if minutes := run.extra.get("minutes"):
                recipe = recipe_for(recipe, float(minutes), data, run, init)
            fit(recipe, data, run.run, init=init)
    classifier = load_model(run.run)
    result = json.loads((run.run / "result.json").read_text(encoding="utf-8"))
    seconds = epoch_seconds(run.run)
    run.write_done(
        {
            "minutes": round(sum(seconds.values()) / 60, 3),
            "epochs": max(seconds, default=0),
            "memory": next((one["memory"] for one in reversed(read_sessions(run.run)) if "memory" in one), None),
            "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
            "weights": fingerprint_of([classifier]),
            "epoch": result["epoch"],
            "validation_split": result["split"],
            "validation_score": result["score"],
            "device": str(device),
        }
    )
    _remove_finished(run)


def _remove_finished(run: CachedRun) -> None:
    """Remove what a training leaves that nothing needs: at its end, and before the next work on one that was killed
    between its last line and this one, or while its pace was measured."""
    shutil.rmtree(run.folder / PILOT_RUN, ignore_errors=True)
    if run.done is not None:
        for name in FINISHED:
            shutil.rmtree(run.run / name, ignore_errors=True)


def _test(run: CachedRun, data: Path, protocols: Sequence[Mapping[str, Any]]) -> None:
    left = [protocol for protocol in protocols if not run.scores(protocol).exists()]
    if not left:
        return
    recipe, tested = run.recipe, read_data(run.recipe, data).tested
    groups = groups_of(recipe, tested)
    for protocol in left:
        changes = {name: value for name, value in protocol.items() if name != "order"}
        loaded = as_classifiers(run.run)
        classifier = change_protocol(loaded[0], **changes)
        engine = make_engine([classifier], "auto", "auto", recipe.training.device, None, forget=False)
        if "order" in protocol:
            engine = Reordered(engine, protocol["order"])
        watch = Stopwatch()
        result = evaluate_manifest(classifier, tested, engine, recipe.data, watch)
        result = replace(result, fingerprint=fingerprint_of(loaded))
        record = record_test(result, run.run, data, tested.split, watch, dict(protocol))
        group_of = groups and dict(zip((video.path for video in tested.videos), groups, strict=True))
        found = [group_of[path] for path in result.paths] if group_of else None
        # Paths inside the data set: scores of other runs may be of the same data in another place.
        result = replace(result, paths=tuple(Path(inside(data, path)) for path in result.paths))
        write_scores(result, run.scores(protocol), found, record)
