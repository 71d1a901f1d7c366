"""A process that reads videos: what a video does to it costs that video alone."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import poison
import pytest
import torch

from timesformer.confined import queued_in, seconds_queued
from timesformer.errors import WorkerError
from timesformer.scale import decoder as decoders
from timesformer.scale.decoder import Decoder, End, Limits, Views
from timesformer.scale.tasks import Loading, describe
from timesformer.scale.work import About, Prediction
from timesformer.video.views import read_views


@pytest.fixture(scope="module")
def about(small_weights: Path) -> About:
    return describe(Loading(weights=str(small_weights), device="cpu"), torch.get_num_threads(), Prediction())


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))))
        decoder = Decoder(Limits(retries=1, memory=0.3))
        yield decoder
        decoder.close()


def read(decoder: Decoder, about: About, source: Path) -> list[Views | End]:
    work = pickle.dumps((poison.Poisoned(), about))
    return list(decoder.read(work, pickle.dumps((source, {}))))


def test_views_are_those_of_read_views(decoder: Decoder, about: About, clips: list[str]) -> None:
    views, end = read(decoder, about, Path(clips[0]))
    assert isinstance(views, Views)
    assert isinstance(end, End)
    expected = read_views(clips[0], about.clip_shape, about.preprocessing)
    assert torch.equal(torch.frombuffer(bytearray(views.content), dtype=torch.uint8).reshape(views.shape), expected)
    assert (end.problem, end.bytes, end.lost) == (None, os.path.getsize(clips[0]), 0)
    assert end.cpu > 0


def test_a_video_that_is_none_costs_no_process(decoder: Decoder, about: About, clips: list[str]) -> None:
    (end,) = read(decoder, about, Path(clips[-1]))
    assert isinstance(end, End)
    assert "cannot be opened" in str(end.problem)
    assert end.lost == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "the process that decodes it died, SIGSEGV in 2 tries"),
        ("memory", "the process that decodes it ran out of its 0.3 GB of memory in 2 tries"),
        ("error", "the process that decodes it failed, KeyError: 'what nobody thought of' in 2 tries"),
    ],
)
def test_what_ends_the_process_is_tried_again_and_then_a_problem(
    decoder: Decoder, about: About, clips: list[str], tmp_path: Path, name: str, reason: str
) -> None:
    bad = Path(shutil.copy(clips[0], tmp_path / f"{name}.mp4"))
    (end,) = read(decoder, about, bad)
    assert isinstance(end, End)
    assert (end.problem, end.lost, poison.tries(bad)) == (reason, 2, 2)


def test_a_crash_that_does_not_come_again_costs_nothing_but_time(
    decoder: Decoder, about: About, clips: list[str], tmp_path: Path
) -> None:
    shaky = Path(shutil.copy(clips[0], tmp_path / "once.mp4"))
    views, end = read(decoder, about, shaky)
    assert isinstance(end, End)
    assert (end.problem, end.lost, poison.tries(shaky)) == (None, 1, 2)
    assert views[1:] == read(decoder, about, Path(clips[0]))[0][1:]


def test_a_hang_ends_at_the_limit(
    about: About, clips: list[str], tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "limits", decoder.limits._replace(retries=0, seconds=0.5))
    hanging = Path(shutil.copy(clips[0], tmp_path / "hang.mp4"))
    (end,) = read(decoder, about, hanging)
    assert isinstance(end, End)
    assert (end.problem, end.lost) == ("the process that decodes it did not come further within 0.5 s", 1)


def test_seconds_that_a_process_was_queued() -> None:
    assert queued_in("1 2000000000 3\n") == 2.0
    assert seconds_queued(2**30) == 0  # no such process


def test_waiting_for_a_processor_is_no_hang(
    about: About, clips: list[str], tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which others have the processors all the time: the process takes longer than its limit."""
    monkeypatch.setattr(decoders, "seconds_queued", lambda process: time.monotonic())
    monkeypatch.setattr(decoder, "limits", decoder.limits._replace(retries=0, seconds=0.5))
    slow = Path(shutil.copy(clips[0], tmp_path / "slow.mp4"))
    views, end = read(decoder, about, slow)
    assert is_views_of(views, clips[0], about)
    assert isinstance(end, End)
    assert (end.problem, end.lost) == (None, 0)
    assert decoder._nursery is not None
    if sys.platform == "linux":  # it is the one that decodes whose time is asked for
        parent = Path(f"/proc/{decoder._process}/stat").read_text().split()[3]
        assert int(parent) == decoder._nursery.pid


def is_views_of(message: Views | End, source: str, about: About) -> bool:
    assert isinstance(message, Views)
    found = torch.frombuffer(bytearray(message.content), dtype=torch.uint8).reshape(message.shape)
    return torch.equal(found, read_views(source, about.clip_shape, about.preprocessing))


def test_a_reader_that_is_stopped_leaves_nothing_to_the_next_video(
    decoder: Decoder, about: About, clips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray cancels a task by a KeyboardInterrupt in its middle."""
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "_receive", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            read(decoder, about, Path(clips[0]))
    assert is_views_of(read(decoder, about, Path(clips[3]))[0], clips[3], about)
    work = pickle.dumps((poison.Poisoned(), about))
    kept = decoder.read(work, pickle.dumps((Path(clips[4]), {})))  # not read to its end, and still there
    assert is_views_of(next(kept), clips[4], about)
    assert is_views_of(read(decoder, about, Path(clips[5]))[0], clips[5], about)
    del kept
    assert is_views_of(read(decoder, about, Path(clips[3]))[0], clips[3], about)


def test_a_process_is_renewed_and_its_nursery_may_be_killed(
    decoder: Decoder, about: About, clips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(decoder, about, Path(clips[0]))
    monkeypatch.setattr(decoders, "LIFETIME", 2)
    decoder._read = 2
    assert is_views_of(read(decoder, about, Path(clips[1]))[0], clips[1], about)
    assert decoder._read == 1
    assert decoder._nursery is not None
    decoder._nursery.kill()
    decoder._nursery.wait()
    views, end = read(decoder, about, Path(clips[2]))
    assert is_views_of(views, clips[2], about)
    assert isinstance(end, End)
    assert end.problem is None


def test_videos_in_a_row_that_end_their_process_are_a_fault_of_the_machine(
    decoder: Decoder, about: About, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not rows that say for ever that a video cannot be read."""
    monkeypatch.setattr(decoders, "IN_A_ROW", 2)
    monkeypatch.setattr(decoder, "limits", decoder.limits._replace(retries=0))
    read(decoder, about, Path(clips[0]))
    bad = Path(shutil.copy(clips[0], tmp_path / "error.mp4"))
    assert len(read(decoder, about, bad)) == 1
    read(decoder, about, Path(clips[0]))
    assert len(read(decoder, about, bad)) == 1
    with pytest.raises(WorkerError, match=r"2 videos in a row ended the process .* of the last one, .* failed, KeyErr"):
        read(decoder, about, bad)
    monkeypatch.setattr(decoder, "_in_a_row", 0)


def test_a_nursery_without_a_parent_removes_its_folder(decoder: Decoder, about: About, clips: list[str]) -> None:
    """As where its Ray worker has been killed, which removes nothing: the system closes the pipe."""
    read(decoder, about, Path(clips[0]))
    assert os.path.exists(decoder._folder)
    assert decoder._nursery is not None
    decoder._control.close()
    assert decoder._nursery.wait(240) == 0
    assert not os.path.exists(decoder._folder)
    decoder.close()


def test_a_nursery_that_has_no_room_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not one that has ended: the system says why there is none."""
    decoder = Decoder(Limits())
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        with pytest.raises(WorkerError, match=r"cannot be started: \[Errno 2\] .*/missing/timesformer-.*; free memory"):
            read_nothing(decoder)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(WorkerError, match=r"cannot be started: \[Errno 2\] .*/python'; free memory"):
            read_nothing(decoder)
    assert decoder._nursery is None
    assert not list(tmp_path.iterdir())


def test_a_nursery_that_ends_at_its_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    decoder = Decoder(Limits())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    with pytest.raises(WorkerError, match=r"^a process that decodes videos ended at its start$"):
        read_nothing(decoder)
    assert decoder._nursery is None
    assert not list(tmp_path.iterdir())


def read_nothing(decoder: Decoder) -> None:
    list(decoder.read(b"", b""))


def test_a_nursery_that_does_not_start_leaves_nothing(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "START", 0)
    decoder = Decoder(Limits())
    with pytest.raises(WorkerError, match="did not start within 0 s"):
        read(decoder, about, Path("a.mp4"))
    assert decoder._nursery is None
    assert not os.path.exists(decoder._folder)
