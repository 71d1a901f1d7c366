"""A data set's check: every file is decoded once, and those that cannot be are put on the quarantine list.

Files are decoded in processes of their own, each file within a time limit. A decoder that hangs or crashes takes its
process along, and loses its one file; a new process continues with the next.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from pebble import ProcessExpired, ProcessPool

from timesformer.data.inspect import Facts, inspect_video
from timesformer.data.manifest import Manifest, find_splits, read_manifest
from timesformer.data.quarantine import quarantine_file, read_quarantine, write_quarantine
from timesformer.data.report import Report
from timesformer.device import cores
from timesformer.errors import DataError, SettingError, VideoError, one_line

TIME_LIMIT = 120.0  # seconds a file


def check_data(
    data: str | Path,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    time_limit: float = TIME_LIMIT,
    on_file: Callable[[int, int], None] = lambda done, total: None,
    inspect: Callable[[Path], Facts] = inspect_video,
) -> Report:
    """Decode every file of every split once, and write the quarantine list; quarantined files are checked too.

    out: the list, DATA/quarantine.csv if not given; it is removed where every file can be decoded. jobs: processes,
    one a core if not given. time_limit: seconds a file may take. on_file: called with the number of files done and of
    all. inspect: what is done to a file, in another process. Raises DataError for a folder without any split that can
    be read, and where the list could not be written; SettingError for jobs below 1 and a time
    limit that is not above 0.
    """
    if (jobs is not None and jobs < 1) or not 0 < time_limit < float("inf"):
        raise SettingError(f"jobs {jobs}, time limit {time_limit}: expected at least one job, seconds above 0")
    start = time.monotonic()
    folder = Path(data)
    manifests, broken = _read_splits(folder)
    file = quarantine_file(folder) if out is None else Path(out)
    _check_target(folder, file)
    paths = list(dict.fromkeys(video.path for manifest in manifests.values() for video in manifest.videos))
    facts: dict[Path, Facts] = {}
    reasons: dict[Path, str] = {}
    for path, result in _inspect_all(paths, inspect, jobs or cores(), time_limit, on_file).items():
        if isinstance(result, str):
            reasons[path] = result
        else:
            facts[path] = result
    write_quarantine(folder, file, reasons)
    return Report(folder, manifests, broken, facts, reasons, file, time.monotonic() - start)


def _read_splits(folder: Path) -> tuple[dict[str, Manifest], dict[str, str]]:
    """The splits, and why the rest cannot be read: Something-Something's test list, say, has no labels."""
    manifests: dict[str, Manifest] = {}
    broken: dict[str, DataError] = {}
    for split in find_splits(folder) or ["train"]:
        try:
            manifests[split] = read_manifest(folder, split, quarantine=False)
        except DataError as error:
            broken[split] = error
    if not manifests:
        raise next(iter(broken.values()))
    return manifests, {split: str(error) for split, error in broken.items()}


def _check_target(folder: Path, file: Path) -> None:
    """Raise DataError, before the long part, where the list cannot be written or would overwrite another file."""
    if not file.parent.is_dir():
        raise DataError(f"{file}: no such folder {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise DataError(f"{file}: cannot be written there; name another with --out, and in data.quarantine to train")
    try:
        read_quarantine(folder, file)
    except DataError as error:
        raise DataError(f"{error}; remove this file, or name another with --out") from None


def _inspect_all(
    paths: list[Path],
    inspect: Callable[[Path], Facts],
    jobs: int,
    time_limit: float,
    on_file: Callable[[int, int], None],
) -> dict[Path, Facts | str]:
    """The facts of every file, or the reason why there are none, in the order of `paths`."""
    found: dict[Path, Facts | str] = {}
    on_file(0, len(paths))
    pool = ProcessPool(
        min(jobs, len(paths)), initializer=torch.set_num_threads, initargs=(1,), context=get_context("spawn")
    )
    try:
        waiting: dict[Future[Facts], Path] = {
            pool.schedule(inspect, (path,), timeout=time_limit): path for path in paths
        }
        for done, future in enumerate(as_completed(waiting), 1):
            path, error = waiting[future], future.exception()
            found[path] = future.result() if error is None else _reason(error, time_limit)
            on_file(done, len(paths))
    finally:
        pool.stop()
        pool.join()
    return {path: found[path] for path in paths}


def _reason(error: BaseException, time_limit: float) -> str:
    """Why a file is lost, in one line without its name."""
    if isinstance(error, VideoError):
        return error.reason
    if isinstance(error, TimeoutError):
        return f"took longer than {time_limit:g} seconds"
    if isinstance(error, ProcessExpired):
        code = error.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the decoder crashed: {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error  # no fault of the file
    return f"{type(error).__name__}: {one_line(error)}"
