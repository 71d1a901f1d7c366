"""When a process that decodes gets another upload, and when it does not."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from conftest import moving_bar
from misbehaving import burn_a_second, misbehave, slow
from serving import running, save_small, until
from timesformer.config import ClipShape, Preprocessing
from timesformer.serve import decoder as decoders
from timesformer.serve import worker
from timesformer.serve.decoder import Decoder
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.problems import Problem
from timesformer.serve.process import DecoderProcess
from timesformer.serve.settings import ServiceSettings
from timesformer.serve.worker import Allowance, Decode, Limits, Message, Task, decode_upload
from timesformer.video.encode import write_video

LIMITS = Limits.of(ServiceSettings(decode_mb=128))
TASK = Task("views", ClipShape(4, 16), Preprocessing())


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_video(tmp_path / "good.mp4", moving_bar(1, 0), 10)
    return tmp_path / "good.mp4"


@contextmanager
def decoding(decode: Decode = misbehave, seconds: float = 60, idle: int = 2) -> Iterator[Decoder]:
    with closing(Decoder(LIMITS, seconds, idle, decode)) as decoder:
        yield decoder


def read(decoder: Decoder, path: Path, job: Job | None = None) -> list[Message]:
    return list(decoder.read(job or Job(), path, TASK))


def waiting(decoder: Decoder) -> list[int]:
    """The processes that wait for an upload."""
    return [process._process.pid for process in decoder._idle]


def ended(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def test_a_process_gets_another_upload_after_a_good_one(good: Path) -> None:
    with decoding() as decoder:
        first = read(decoder, good)
        (process,) = waiting(decoder)
        second = read(decoder, good)
        assert waiting(decoder) == [process]
    until(lambda: ended(process))
    assert [header for header, _ in first] == [header for header, _ in second]
    assert first[0][1][0].equal(second[0][1][0])


@pytest.mark.parametrize("how", ["text", "crash", "junk", "shapes", "twice", "nothing"])
def test_a_process_gets_none_after_a_bad_one(good: Path, tmp_path: Path, how: str) -> None:
    (tmp_path / how).write_text(how)
    with decoding() as decoder:
        read(decoder, good)
        (process,) = waiting(decoder)
        with pytest.raises(Problem):
            read(decoder, tmp_path / how)
        until(lambda: ended(process))
        assert waiting(decoder) == []
        read(decoder, good)
        assert waiting(decoder) not in ([], [process])


def test_a_process_gets_none_after_a_message_that_is_not_believed(good: Path) -> None:
    with decoding() as decoder:
        with closing(decoder.read(Job(), good, TASK)) as messages:
            next(messages)
        assert waiting(decoder) == []


def test_a_service_does_not_believe_before_it_gives_a_process_back(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_seen(header: dict[str, Any]) -> None:
        raise ValueError

    video = {"content": good.read_bytes(), "headers": {"content-type": "video/mp4"}}
    with running({"small": save_small(tmp_path / "small")}) as service:
        assert service.client.post("/v1/predict", **video).status_code == 200
        assert len(waiting(service.service.decoder)) == 1
        monkeypatch.setattr("timesformer.serve.service.read_seen", read_seen)
        assert service.client.post("/v1/predict", **video).json()["error"] == "decoder_crashed"
        assert waiting(service.service.decoder) == []


def test_a_process_gets_none_after_so_many(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "UPLOADS", 2)
    with decoding() as decoder:
        read(decoder, good)
        (process,) = waiting(decoder)
        read(decoder, good)
        assert waiting(decoder) == []
        assert ended(process)


def test_no_more_processes_wait_than_may(good: Path) -> None:
    with decoding(idle=1) as decoder:
        decoder.warm_up()
        (first,) = waiting(decoder)
        with closing(decoder.read(Job(), good, TASK)) as messages:
            next(messages)
            assert len(read(decoder, good)) == 1  # by another one
            (second,) = waiting(decoder)
            assert list(messages) == []
        assert waiting(decoder) == [second]
        assert first != second
        assert ended(first)


def test_two_processes_are_started_ahead_at_most() -> None:
    with decoding(idle=9) as decoder:
        decoder.warm_up()
        assert len(waiting(decoder)) == 2


def test_a_process_that_ended_while_it_waited_fails_no_upload(good: Path) -> None:
    with decoding() as decoder:
        decoder.warm_up()
        first, second = waiting(decoder)
        os.kill(second, signal.SIGKILL)
        assert wait([decoder._idle[-1]._ours], 240)
        assert len(read(decoder, good)) == 1
        assert waiting(decoder) == [first]


def test_a_process_that_spoke_unasked_answers_no_upload(good: Path, tmp_path: Path) -> None:
    (tmp_path / "early").write_text("early")
    with decoding() as decoder:
        read(decoder, tmp_path / "early")
        (process,) = waiting(decoder)
        assert wait([decoder._idle[0]._ours], 240)
        (message,) = read(decoder, good)
        assert message[0]["seen"]["of"] == 10
        assert process not in waiting(decoder)
        assert ended(process)


def test_a_stopped_job_ends_its_process(tmp_path: Path) -> None:
    allowed, job = tmp_path / "allowed", Job()
    (tmp_path / "upload").write_text(f"|{allowed}")
    with decoding(slow) as decoder:

        def stop() -> None:
            until(allowed.with_suffix(".begun").exists)
            job.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(Disconnected):
            read(decoder, tmp_path / "upload", job)
        thread.join()
        (process,) = (int(said.suffix[1:]) for said in tmp_path.glob("allowed.[0-9]*"))
        assert ended(process)
        assert waiting(decoder) == []


def test_what_has_left_its_block_is_not_stopped() -> None:
    """A process may be at work for another job by then."""
    job, stopping, left = Job(), threading.Event(), threading.Event()
    late: list[bool] = []

    def stop() -> None:
        stopping.set()
        late.append(left.wait(0.1))

    with job.stoppable(stop):
        thread = threading.Thread(target=job.stop)
        thread.start()
        assert stopping.wait(240)
    left.set()
    thread.join()
    assert late == [False]


def test_a_process_that_has_ended_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be that of another one."""
    killed: list[int | None] = []
    process = DecoderProcess(decode_upload, LIMITS)
    os.kill(process._process.pid, signal.SIGKILL)
    assert process.exit_code() == -signal.SIGKILL
    monkeypatch.setattr(ForkServerProcess, "kill", lambda process: killed.append(process.pid))
    process.end()
    assert not killed


def test_an_upload_may_take_its_limits_whatever_those_before_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processor time and memory; the process itself twice the one and nine eighths of the other."""
    used, found = {"seconds": 0.2, "memory": 1000}, dict[int, tuple[int, int]]()
    monkeypatch.setattr(resource, "setrlimit", found.__setitem__)
    monkeypatch.setattr(worker.time, "process_time", lambda: used["seconds"])
    monkeypatch.setattr(worker, "private_bytes", lambda: used["memory"])
    allowance = Allowance(LIMITS._replace(cpu_seconds=10, memory=800))
    assert found[resource.RLIMIT_FSIZE] == (0, 0)
    assert (found[resource.RLIMIT_CPU], found[resource.RLIMIT_DATA]) == ((11, 22), (1800, 1900))
    used |= {"seconds": 9.5, "memory": 1090}
    assert allowance.renew()
    assert (found[resource.RLIMIT_CPU], found[resource.RLIMIT_DATA]) == ((20, 22), (1890, 1900))
    used["seconds"] = 10.3
    assert not allowance.renew()
    used |= {"seconds": 9.5, "memory": 1101}
    assert not allowance.renew()


def test_a_process_that_has_taken_too_much_gets_no_other_upload(good: Path) -> None:
    with closing(Decoder(LIMITS._replace(cpu_seconds=1), 60, 2, burn_a_second)) as decoder:
        assert len(read(decoder, good)) == 1
        assert waiting(decoder) == []
