"""A process that reads videos: what a video does to it costs that video alone."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import poison
import pytest
import torch

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
        decoder = Decoder(Limits(retries=1, seconds=20, memory=0.3))
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


def test_a_hang_ends_at_the_limit(about: About, clips: list[str], tmp_path: Path, decoder: Decoder) -> None:
    decoder.limits = decoder.limits._replace(retries=0, seconds=0.5)
    hanging = Path(shutil.copy(clips[0], tmp_path / "hang.mp4"))
    (end,) = read(decoder, about, hanging)
    decoder.limits = decoder.limits._replace(retries=1, seconds=20)
    assert isinstance(end, End)
    assert (end.problem, end.lost) == ("the process that decodes it did not come further within 0.5 s", 1)
