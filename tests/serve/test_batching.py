"""Clips of several clients in one batch; who waits, who is sent away, and who has left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

import timesformer
from conftest import moving_bar
from misbehaving import slow
from serving import running, save_small, until
from timesformer.engine.engine import Engine
from timesformer.serve import batching
from timesformer.serve.batching import Batcher
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.problems import Problem
from timesformer.video.encode import write_video


class Held:
    """An engine that takes 4 clips at a time, says how many it got, and waits to be told to go on."""

    def __init__(self, engine: Engine) -> None:
        self.whole = engine
        self.engine = engine.with_compute(self.compute)
        self.engine.views = 4
        self.batches: list[int] = []
        self.features_of: list[int] = []
        self.go = threading.Semaphore(0)

    def compute(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        if layer is not None:
            self.features_of.append(len(clips_BCTHW))
            return self.whole.features(clips_BCTHW, layer, tokens)
        self.batches.append(len(clips_BCTHW))
        self.go.acquire()
        return self.whole(clips_BCTHW)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    weights = save_small(tmp_path_factory.mktemp("weights") / "small")
    return timesformer.load_engine(weights, device="cpu", precision="fp32")


@pytest.fixture
def held(engine: Engine) -> Held:
    return Held(engine)


@pytest.fixture
def batcher(held: Held) -> Iterator[Batcher]:
    made = Batcher(held.engine, 10)
    yield made
    held.go.release(1000)
    made.close()
    assert not made.alive


def clips(count: int) -> Tensor:
    return torch.randint(256, (count, 3, 4, 16, 16), dtype=torch.uint8)


def test_batches_count_clips_not_requests(engine: Engine, held: Held, batcher: Batcher) -> None:
    """Five requests of 3, 1, 6, 2 and 1 clips are batches of 3, 4, 4 and 2, and each gets its own rows."""
    requests = [clips(count) for count in (3, 1, 6, 2, 1)]
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(batcher.engine_for(Job()), requests[0])]
        until(lambda: held.batches == [3])  # the others come while it computes
        for number, request in enumerate(requests[1:], 1):
            answers.append(threads.submit(batcher.engine_for(Job()), request))
            until(lambda waiting=number: len(batcher._calls) == waiting)
        held.go.release(1000)
        for request, answer in zip(requests, answers, strict=True):
            torch.testing.assert_close(answer.result(), engine(request), atol=1e-5, rtol=1e-5)
    assert held.batches == [3, 4, 4, 2]


def test_a_batch_waits_for_what_is_being_decoded(held: Held, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment, until as many clips have come as are to come; not where no more fit."""
    held.go.release(1000)
    monkeypatch.setattr(batching, "GATHERING", 240.0)
    jobs = [Job() for _ in range(4)]
    for job in jobs:
        batcher.expect(job, 1)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(batcher.engine_for(jobs[0]), clips(1))  # three others are to come
        until(lambda: len(batcher._calls) == 1)
        second = threads.submit(batcher.engine_for(jobs[1]), clips(1))
        assert (len(first.result()), len(second.result())) == (1, 1)
        assert held.batches == [2]
        batcher.expect(jobs[3], 9)
        assert len(batcher.engine_for(Job())(clips(4))) == 4
        third = threads.submit(batcher.engine_for(jobs[2]), clips(1))
        until(lambda: len(batcher._calls) == 1)
        batcher.forget(jobs[3])
        assert len(third.result()) == 1
        batcher.expect(jobs[3], 9)
        monkeypatch.setattr(batching, "GATHERING", 0.0)
        assert len(batcher.engine_for(Job())(clips(1))) == 1
    assert held.batches == [2, 4, 1, 1]


def test_a_batch_does_not_wait_for_what_may_not_come(
    held: Held, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is reserved may be computed already; and features share no batch."""
    held.go.release(1000)
    monkeypatch.setattr(batching, "GATHERING", 1e6)
    with batcher.reserve(9):
        assert len(batcher.engine_for(Job())(clips(1))) == 1
    batcher.expect(Job(), 9)
    assert len(batcher.engine_for(Job()).features(clips(1))) == 1


@pytest.mark.parametrize(("path", "coming"), [("predict", [3]), ("features", []), ("timeline", [])])
def test_batches_wait_for_predictions_that_are_being_decoded(tmp_path: Path, path: str, coming: list[int]) -> None:
    allowed, weights = tmp_path / "allowed", {"small": save_small(tmp_path / "small")}
    write_video(tmp_path / "good.mp4", moving_bar(1, 0), 10)
    video = {"content-type": "video/mp4"}
    with running(weights, decode=slow) as service, ThreadPoolExecutor(1) as threads:
        batcher = service.service.find(None).batcher
        content = (tmp_path / "good.mp4").read_bytes() + b"|" + str(allowed).encode()
        answer = threads.submit(service.client.post, f"/v1/{path}", content=content, headers=video)
        until(allowed.with_suffix(".begun").exists)
        assert list(batcher._coming.values()) == coming
        allowed.touch()
        assert answer.result().status_code == 200
        assert not batcher._coming
        assert service.client.post("/v1/predict", content=f"|{allowed}", headers=video).status_code == 415
        assert not batcher._coming


def test_features_are_of_one_request_alone(engine: Engine, held: Held, batcher: Batcher) -> None:
    requests = [clips(1), clips(2), clips(2)]
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(batcher.engine_for(Job()), requests[0])
        until(lambda: held.batches == [1])
        answers = []
        for number, request in enumerate(requests[1:], 1):
            answers.append(threads.submit(batcher.engine_for(Job()).features, request))
            until(lambda waiting=number: len(batcher._calls) == waiting)
        held.go.release(1000)
        assert first.result().shape == (1, 3)
        for request, answer in zip(requests[1:], answers, strict=True):
            assert torch.equal(answer.result(), engine.features(request))
    assert held.features_of == [2, 2]


def test_a_full_queue_says_when_to_retry(batcher: Batcher) -> None:
    with batcher.reserve(6), batcher.reserve(4):
        with pytest.raises(Problem, match="busy: 10 clips wait") as full, batcher.reserve(1):
            pass
        assert (full.value.status, full.value.retry_after) == (429, 1)
    with batcher.reserve(1000):  # nothing waits
        pass
    with batcher.reserve(3):
        with batcher.reserve(1000, held=3):  # the same request, which turned out to be larger
            assert batcher.reserved == 1003
        with batcher.reserve(3), pytest.raises(Problem, match="busy"), batcher.reserve(5, held=3):
            pass
    assert batcher.reserved == 0


def test_what_is_cancelled_is_not_computed(held: Held, batcher: Batcher) -> None:
    job = Job()
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: held.batches == [1])
        left = threads.submit(batcher.engine_for(job), clips(6))
        until(lambda: len(batcher._calls) == 1)
        last = threads.submit(batcher.engine_for(Job()), clips(2))
        until(lambda: len(batcher._calls) == 2)
        job.stop()
        with pytest.raises(Disconnected):
            left.result()
        held.go.release(1000)
        assert (len(first.result()), len(last.result())) == (1, 2)
    assert held.batches == [1, 2]
    with pytest.raises(Disconnected):
        batcher.engine_for(job)(clips(1))


def test_an_error_of_the_engine_is_of_its_batch_alone(
    held: Held, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.go.release(1000)
    with monkeypatch.context() as broken:
        broken.setattr(held, "whole", None)
        with pytest.raises(TypeError):
            batcher.engine_for(Job())(clips(9))
    with monkeypatch.context() as broken:  # around the engine
        broken.setattr(batcher, "on_batch", None)
        with pytest.raises(TypeError):
            batcher.engine_for(Job())(clips(2))
    assert batcher.alive
    assert batcher.engine_for(Job())(clips(2)).shape == (2, 3)
    assert held.batches == [4, 2, 2]  # the other five of the nine clips are dropped


def test_a_service_that_ends_sends_all_away(engine: Engine) -> None:
    held = Held(engine)
    batcher = Batcher(held.engine, 10)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: held.batches == [1])
        second = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: len(batcher._calls) == 1)
        closing = threading.Thread(target=batcher.close)
        closing.start()
        until(lambda: batcher._closed)
        held.go.release(1)
        closing.join()
        assert first.result().shape == (1, 3)
        with pytest.raises(Problem, match="unavailable"):
            second.result()
    with pytest.raises(Problem, match="unavailable"):
        batcher.engine_for(Job())(clips(1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_thread_ends_answers_all(held: Held, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> Tensor:
        held.go.acquire()
        raise SystemExit

    monkeypatch.setattr(held, "whole", end)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: held.batches == [1])
        second = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: len(batcher._calls) == 1)
        held.go.release(1000)
        for waiting in (first, second):
            with pytest.raises(Problem, match="unavailable"):
                waiting.result(60)
    until(lambda: not batcher.alive)
    with pytest.raises(Problem, match="unavailable"):
        batcher.engine_for(Job())(clips(1))


def test_an_engine_that_hangs_answers_all(held: Held, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a problem, until it comes back."""
    with ThreadPoolExecutor(2) as threads:
        computed = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: held.batches == [1])
        waits = threads.submit(batcher.engine_for(Job()), clips(1))
        until(lambda: len(batcher._calls) == 1)
        batcher.check_room(1)
        assert batcher.alive
        monkeypatch.setattr(batching, "HUNG", 0.0)
        assert not batcher.alive
        for answer in (computed, waits):
            with pytest.raises(Problem, match="unavailable"):
                answer.result(60)
        with pytest.raises(Problem, match="unavailable"):
            batcher.engine_for(Job())(clips(1))
        with pytest.raises(Problem, match="unavailable"):
            batcher.check_room(1)
        monkeypatch.undo()
        held.go.release(1000)
        until(lambda: batcher.alive and not batcher._calls)
        assert batcher.engine_for(Job())(clips(2)).shape == (2, 3)
    assert held.batches == [1, 2]


def test_a_batcher_leaves_an_engine_that_hangs(engine: Engine) -> None:
    held = Held(engine)
    batcher = Batcher(held.engine, 10)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(batcher.engine_for(Job()), clips(1))]
        until(lambda: held.batches == [1])
        answers.append(threads.submit(batcher.engine_for(Job()), clips(1)))
        until(lambda: len(batcher._calls) == 1)
        batcher.close(0.1)
        assert not batcher.alive
        for answer in answers:
            with pytest.raises(Problem, match="unavailable"):
                answer.result(60)
    held.go.release(1000)
    batcher._thread.join()
