"""A data set's check: every file is decoded once, and those that cannot be are put on the quarantine list.

Files are decoded in processes of their own, each file within a time limit. A decoder that hangs or crashes takes its
process along, and loses its one file; a new process continues with the next.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Future, as_completed
from dataclasses import replace
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import RLock
from pathlib import Path

import torch
from pebble import ProcessExpired, ProcessPool

from timesformer.confined import describe_exit
from timesformer.data.decoding import follow_parent
from timesformer.data.inspect import Facts, inspect_video
from timesformer.data.labels import Spellings
from timesformer.data.layouts import find_splits
from timesformer.data.manifest import Manifest, read_manifest, read_unsplit
from timesformer.data.quarantine import absolute, quarantine_file, read_quarantine, write_quarantine
from timesformer.data.report import Report
from timesformer.device import cores
from timesformer.errors import DataError, SettingError, VideoError, one_line

TIME_LIMIT = 120.0  # seconds a file


def check_data(
    data: str | Path,
    *,
    out: str | Path | None = None,
    by: str | None = None,
    workers: int | None = None,
    time_limit: float = TIME_LIMIT,
    on_file: Callable[[int, int], None] = lambda done, total: None,
    inspect: Callable[[Path], Facts] = inspect_video,
) -> Report:
    """Decode every file of every split once, and write the quarantine list; quarantined files are checked too.

    data: a data set; or a folder of class folders, or one CSV, which no lists split yet: all is one part then. out: the
    list, quarantine.csv of the data's folder if not given. Files on it that are there but were not checked, such as
    those of another CSV, stay on it; it is removed where it would name none. by: a column of the CSV lists, such as a
    person or a recording, whose groups should not cross splits. workers: processes, one a core if None. time_limit:
    seconds a file may take. on_file: called with the number of files done and of all. inspect: what is done to a file,
    in another process. Raises DataError for a folder without any split that can be read, for the list of one split,
    and where the list could not be written; SettingError for workers below 1 and a time limit that is not above 0.
    """
    if (workers is not None and workers < 1) or not 0 < time_limit < float("inf"):
        raise SettingError(f"workers {workers}, time limit {time_limit}: expected at least one worker, seconds above 0")
    start = time.monotonic()
    whole = read_unsplit(Path(data))
    folder = Path(data) if whole is None else whole.folder
    manifests, broken = _read_splits(folder) if whole is None else ({whole.split: whole}, {})
    groups = None if by is None else {split: Counter(manifest.groups(by)) for split, manifest in manifests.items()}
    file = quarantine_file(folder) if out is None else Path(out)
    _check_target(folder, file)
    listed = {video.path: video for manifest in manifests.values() for video in manifest.videos}
    facts: dict[Path, Facts] = {}
    reasons: dict[Path, str] = {}
    for path, result in _inspect_all(list(listed), inspect, workers or cores(), time_limit, on_file).items():
        reason = result if isinstance(result, str) else listed[path].miscounted(result.num_frames)
        if reason is not None:
            reasons[path] = reason
        elif not isinstance(result, str):
            facts[path] = result
    kept = _unchecked(folder, file, listed)
    write_quarantine(folder, file, kept | reasons)
    return Report(folder, manifests, broken, facts, reasons, file, time.monotonic() - start, groups, len(kept))


def _read_splits(folder: Path) -> tuple[dict[str, Manifest], dict[str, str]]:
    """The splits, and why the rest cannot be read: Something-Something's test list, say, has no labels."""
    spellings, manifests = Spellings(), dict[str, Manifest]()
    broken: dict[str, DataError] = {}
    for split in find_splits(folder) or ["train"]:
        try:
            manifest = read_manifest(folder, split, quarantine=False)
            manifests[split] = replace(manifest, labels=tuple(map(spellings.first, manifest.labels)))
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


def _unchecked(folder: Path, file: Path, checked: Iterable[Path]) -> dict[Path, str]:
    """What the list names beside the files that were checked, where these files are still there."""
    done = set(map(absolute, checked))
    earlier = read_quarantine(folder, file)
    return {path: reason for path, reason in earlier.items() if path not in done and path.exists()}


def _inspect_all(
    paths: list[Path],
    inspect: Callable[[Path], Facts],
    workers: int,
    time_limit: float,
    on_file: Callable[[int, int], None],
) -> dict[Path, Facts | str]:
    """The facts of every file, or the reason why there are none, in the order of `paths`."""
    found: dict[Path, Facts | str] = {}
    on_file(0, len(paths))
    context = _LastingLocks()
    pool = ProcessPool(min(workers, len(paths)), initializer=_start_process, initargs=(os.getpid(),), context=context)
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


class _LastingLocks(SpawnContext):
    """Spawned processes whose locks last as long as this object.

    pebble forgets its locks before it ends its processes: one that is still starting up would find none, and say so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.locks: list[RLock] = []

    def RLock(self) -> RLock:  # noqa: N802  (as the standard library has it)
        self.locks.append(super().RLock())
        return self.locks[-1]


def _start_process(parent: int) -> None:
    follow_parent(parent)
    torch.set_num_threads(1)


def _reason(error: BaseException, time_limit: float) -> str:
    """Why a file is lost, in one line without its name."""
    if isinstance(error, VideoError):
        return error.reason
    if isinstance(error, TimeoutError):
        return f"took longer than {time_limit:g} seconds"
    if isinstance(error, ProcessExpired):
        name = describe_exit(error.exitcode or 0)
        return f"the decoder crashed: {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error  # no fault of the file
    return f"{type(error).__name__}: {one_line(error)}"
