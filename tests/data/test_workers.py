"""Processes that decode: batches without shared memory; those that die or hang are an error with the video's name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from numbered import Videos, alive, linux, lock_up, marked_processes_alone_idle, rows
from timesformer.data import decoding, worker, workers
from timesformer.data.dataset import Sample
from timesformer.data.loader import testing_workers
from timesformer.data.workers import Workers
from timesformer.errors import VideoError, WorkerError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_batches_keep_their_order_their_bits_and_out_of_shared_memory() -> None:
    videos = Videos(lambda key: time.sleep(0.02 * (key == 0)))
    keys = [[0, 1], [2], [-1], [3, -4, 5], *([number] for number in range(6, 40))]
    pool = Workers(videos, 3)
    for _ in range(2):
        made = list(pool.batches(keys))
        for batch, expected in zip(made, map(videos.batch, keys), strict=True):
            for value, other in zip(batch, expected, strict=True):
                if isinstance(value, Tensor):
                    assert torch.equal(value, other)
                    assert value.dtype == other.dtype
                    assert not value.is_shared()
                else:
                    assert [str(problem) for problem in value] == [str(problem) for problem in other]
            batch.views_VCTSS.add_(1)  # its own memory
    pool.close()


@linux
def test_processes_take_turns_so_that_their_memory_does_not_add_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workers, "LIFETIME", 7)
    videos = Videos(lambda key: (tmp_path / str(os.getpid())).touch())
    pool = Workers(videos, 2)
    keys = [[number] for number in range(60)]
    made = list(pool.batches(keys))
    assert rows(made) == keys
    assert all(
        torch.equal(batch.views_VCTSS, videos.batch(key).views_VCTSS) for batch, key in zip(made, keys, strict=True)
    )
    pids = {int(path.name) for path in tmp_path.iterdir()} - {os.getpid()}
    assert 8 <= len(pids) <= 10  # 60 batches in sevens, and two processes at the end
    assert set(filter(alive, pids)) <= {worker.process.pid for worker in pool._workers}
    pool.close()


def test_an_iteration_that_is_given_up_leaves_nothing_to_the_next() -> None:
    pool = Workers(Videos(), 2)
    given_up = pool.batches([[number] for number in range(20)])
    assert rows([next(given_up)]) == [[0]]
    assert rows(pool.batches([[30], [31], [32]])) == [[30], [31], [32]]
    pool.close()
    assert rows(pool.batches([[40]])) == [[40]]  # other processes
    pool.close()


def test_what_an_iteration_raises_that_is_given_up_is_not_raised_in_the_next() -> None:
    def fail(key: int) -> None:
        if key == 1:
            time.sleep(0.3)
            raise KeyError("no such thing")

    pool = Workers(Videos(fail), 1)
    assert rows([next(pool.batches([[0], [1]]))]) == [[0]]
    assert rows(pool.batches([[30], [31]])) == [[30], [31]]
    pool.close()


def test_what_a_data_set_raises_comes_with_where() -> None:
    def fail(key: int) -> None:
        if key == 1:
            raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing") as raised:
        list(Workers(Videos(fail), 1).batches([[0], [1]]))
    assert "in fail" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "SIGKILL, perhaps of too little memory; lower data.workers"),
        (signal.SIGUSR1, "SIGUSR1; find files"),
    ],
)
def test_a_process_that_dies_is_an_error_with_its_video(number: int, words: str) -> None:
    def die(key: int) -> None:
        if key == 5:
            os.kill(os.getpid(), number)

    pool = Workers(Videos(die), 2)
    with pytest.raises(WorkerError, match=f"^video 5: the process that decodes it died, {words}"):
        list(pool.batches([[number, number + 1] for number in range(0, 20, 2)]))
    assert not pool._workers
    assert rows(pool.batches([[0], [1]])) == [[0], [1]]
    pool.close()


@linux
def test_a_process_that_hangs_is_an_error_with_its_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STUCK", 2)
    pool = Workers(Videos(lock_up), 2)
    made = pool.batches([[number, number + 1] for number in range(0, 20, 2)])
    assert rows([next(made), next(made)]) == [[0, 1], [2, 3]]
    processes = [one.process for one in pool._workers]
    with pytest.raises(WorkerError, match=r"^video 5: the process that decodes it did nothing for 2 seconds; check"):
        next(made)
    assert not any(process.is_alive() for process in processes)
    assert rows(pool.batches([[0], [1]])) == [[0], [1]]
    pool.close()


def unreadable(key: int, reason: str) -> Sample:
    return Sample(None, 0, key, VideoError(f"video {key}", reason))


@linux
@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "died, SIGKILL, perhaps of too little memory"),
        (lambda: os._exit(3), "died, exit code 3"),
        (lambda: lock_up(5), "did nothing for 2 seconds"),
    ],
)
def test_a_video_lost_with_its_process_is_one_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], reason: str
) -> None:
    """Where the caller has a sample for it; the others are read, also those that the process owed beside it."""
    monkeypatch.setattr(workers, "STUCK", 2)
    pool = Workers(Videos(lambda key: act() if key == 5 else None), 2, unreadable)
    made = list(pool.batches([[number] for number in range(12)]))
    assert rows(made) == [[number] if number != 5 else [] for number in range(12)]
    problems = [str(problem) for batch in made for problem in batch.problems]
    assert problems == [f"video 5: the process that decodes it {reason}"]
    assert torch.equal(made[6].views_VCTSS, Videos().batch([6]).views_VCTSS)
    pool.close()


def test_several_videos_lost_in_a_row_are_an_error() -> None:
    """In their order, whichever process was the first: so those before have been given out."""

    def die(key: int) -> None:
        if key in (0, 1, 2, 3, *range(5, 20)):
            os._exit(3)

    pool = Workers(Videos(die), 3, unreadable)
    made = []
    with pytest.raises(
        WorkerError, match=r"^video 9: the process that decodes it died, exit code 3; 5 videos in a row"
    ):
        made.extend(pool.batches([[number] for number in range(30)]))
    assert rows(made) == [[], [], [], [], [4], [], [], [], []]
    assert rows(pool.batches([[4]])) == [[4]]
    pool.close()


@pytest.mark.parametrize("keys", [[4, 5], [5, 6]])
def test_a_loss_in_a_batch_of_several_videos_is_an_error(keys: list[int]) -> None:
    pool = Workers(Videos(lambda key: os._exit(3) if key == 5 else None), 1, unreadable)
    with pytest.raises(WorkerError, match=r"^video 5: the process that decodes it died, exit code 3; find"):
        list(pool.batches([keys]))


def test_a_process_that_is_told_to_end_blames_no_video() -> None:
    pool = Workers(Videos(lambda key: os.kill(os.getpid(), signal.SIGTERM) if key == 5 else None), 1, unreadable)
    with pytest.raises(WorkerError, match=r"^video 5: the process that decodes it died, SIGTERM"):
        list(pool.batches([[5]]))


def test_a_process_that_dies_between_videos_is_replaced() -> None:
    pool = Workers(Videos(), 1)
    assert rows(pool.batches([[0]])) == [[0]]
    os.kill(pool._workers[0].process.pid, signal.SIGKILL)
    assert rows(pool.batches([[1], [2], [3]])) == [[1], [2], [3]]
    pool.close()


@linux
def test_a_slow_video_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than a process may do nothing, and computes a little, as a slow network lets it."""
    monkeypatch.setattr(workers, "STUCK", 2)

    def compute(key: int) -> None:
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            sum(range(1_000_000))
            time.sleep(0.3)

    assert rows(Workers(Videos(compute), 1).batches([[7]])) == [[7]]


@linux
@pytest.mark.parametrize("hangs", [1, 3])
def test_a_process_that_never_begins_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: int) -> None:
    """As a fork that is stuck with a lock of another thread; the third is the last."""
    monkeypatch.setattr(workers, "START", 1)
    monkeypatch.setattr(worker, "GRACE", 0.1)
    marked_processes_alone_idle(monkeypatch, tmp_path)

    def begin(*given: Any) -> None:
        if len(list(tmp_path.iterdir())) < hangs:
            (tmp_path / str(os.getpid())).touch()
            lock_up(5)
        decoding.decode_batches(*given)

    monkeypatch.setattr(worker, "decode_batches", begin)
    pool = Workers(Videos(), 1)
    made = pool.batches([[0, 1], [2]])
    if hangs == 1:
        assert rows(made) == [[0, 1], [2]]
    else:
        with pytest.raises(WorkerError, match=r"^video 0: the process that decodes it did nothing"):
            next(made)
    assert len(list(tmp_path.iterdir())) == hangs
    pool.close()


def test_workers_of_a_command_are_one_a_core_and_no_more_than_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert [testing_workers(None, 100), testing_workers(None, 3), testing_workers(2, 100)] == [64, 3, 2]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert testing_workers(None, 100) == 16
