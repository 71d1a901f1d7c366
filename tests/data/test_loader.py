"""Loaders: every row once in an order that seed and epoch decide, whatever the workers, whatever was asked before."""

from __future__ import annotations

import dataclasses
import io
import math
import multiprocessing
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import moving_bar, small_recipe
from timesformer.config import Data
from timesformer.data.dataset import Batch, TestingViews, TrainingClips, UnlabelledViews
from timesformer.data.loader import EveryRow, Process, ShuffledEpochs, testing_loader, training_loader
from timesformer.data.manifest import read_manifest
from timesformer.errors import SettingError
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from timesformer.video.views import read_views

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def clips_of(data: Path, seed: int = 0) -> TrainingClips:
    recipe = small_recipe()
    manifest = read_manifest(data, "train")
    return TrainingClips(manifest, recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, seed)


def views_of(data: Path, split: str) -> TestingViews:
    recipe = small_recipe()
    return TestingViews(read_manifest(data, split), recipe.model.clip_shape, recipe.preprocessing)


def view_of(clips: TrainingClips, epoch: int, row: int) -> Tensor:
    view = clips[epoch, row, 0].views_VCTSS
    assert view is not None
    return view


def keys_of(sampler: Any) -> list[tuple[int, int, int]]:
    return [key for batch in sampler for key in batch]


def test_orders_are_permutations_that_seed_and_epoch_decide() -> None:
    orders = {}
    for seed in range(3):
        sampler = ShuffledEpochs(50, seed, 1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            keys = keys_of(sampler)
            assert {(number, times) for number, _, times in keys} == {(epoch, 0)}
            orders[seed, epoch] = tuple(row for _, row, _ in keys)
            assert sorted(orders[seed, epoch]) == list(range(50))
            assert keys_of(sampler) == keys
    assert len(set(orders.values())) == 30
    first_places = {order[0] for order in orders.values()}
    assert len(first_places) > 12  # of 50; the expected number of different ones is 23


def test_a_clip_hangs_on_nothing_but_seed_epoch_and_row(bars: Path) -> None:
    clips = clips_of(bars)
    expected = {(epoch, row): view_of(clips, epoch, row) for epoch in range(2) for row in range(4)}
    random.seed(1)
    torch.manual_seed(1)
    again = clips_of(bars)
    for key in sorted(expected, key=lambda key: (key[1], -key[0])):
        view_of(again, 7, 5)
        assert torch.equal(view_of(again, *key), expected[key])
    other = clips_of(bars, seed=1)
    assert any(not torch.equal(view_of(other, *key), view) for key, view in expected.items())


def test_batches_are_the_clips_of_their_rows(bars: Path) -> None:
    clips = clips_of(bars)
    loader = training_loader(clips, 3, Data(workers=2))
    for epoch in (5, 0):  # workers stay from one epoch to the next
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        rows: list[int] = []
        for batch in loader:
            expected = [view_of(clips, epoch, row) for row in batch.rows_B.tolist()]
            assert torch.equal(batch.views_VCTSS, torch.cat(expected))
            assert batch.counts_B.tolist() == [1] * (3 if rows else 2)
            rows += batch.rows_B.tolist()
        assert [(epoch, row, 0) for row in rows] == keys_of(loader.sampler)


@pytest.mark.parametrize(("world", "videos"), [(2, 3), (4, 1), (3, 2), (13, 1)])
def test_processes_share_the_steps_of_one(world: int, videos: int) -> None:
    """Process after process, the batches of a step are the batch of a single process that takes them all."""
    alone = ShuffledEpochs(20, 5, videos * world)
    parts = [ShuffledEpochs(20, 5, videos, Process(rank, world)) for rank in range(world)]
    for epoch in (0, 3):
        for sampler in (alone, *parts):
            sampler.set_epoch(epoch)
        together = [[key for part in step for key in part] for step in zip(*parts, strict=True)]
        assert together == list(alone)
        assert sorted(row for _, row, _ in keys_of(alone)) == list(range(20))
        sizes = {len(part) for sampler in parts for part in sampler}
        assert (max(sizes), min(sizes)) == (parts[0].videos, parts[0].fewest)
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= videos


def test_a_resumed_epoch_goes_on_with_its_next_batch() -> None:
    sampler = ShuffledEpochs(20, 5, 3)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.go_to(2, 4)
    sampler.set_epoch(2)  # the trainer says so too
    assert list(sampler) == whole[4:]
    assert len(sampler) == 7
    sampler.set_epoch(3)
    assert len(list(sampler)) == 7


def test_weights_draw_rows_in_their_proportion_and_number_what_comes_again() -> None:
    sampler = ShuffledEpochs(400, 0, 4, weights=[3.0] * 100 + [1.0] * 300)
    drawn = Counter[bool]()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        keys = keys_of(sampler)
        assert len(set(keys)) == len(keys) == 400
        drawn.update(row < 100 for _, row, _ in keys)
    # Half of the weight lies on the first quarter; the standard deviation of 8000 draws is 45.
    assert abs(drawn[True] - 4000) < 180


def test_parts_of_a_test_are_equally_long_and_hold_every_row() -> None:
    parts = [EveryRow(7, 2, Process(rank, 3)) for rank in range(3)]
    assert [list(part) for part in parts] == [[[0, 3], [6]], [[1, 4], [0]], [[2, 5], [1]]]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert list(EveryRow(7, 7)) == [list(range(7))]


def test_more_processes_than_videos_is_an_error() -> None:
    with pytest.raises(SettingError, match="3 videos to train on are too few for 4 processes"):
        ShuffledEpochs(3, 0, 1, Process(0, 4))


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 8), (3, [2, 3, 3]), (4, [4, 4]), (8, [8]), (9, [8])])
def test_no_video_is_left_over(bars: Path, batch_size: int, sizes: list[int]) -> None:
    loader = training_loader(clips_of(bars), batch_size, Data(workers=0))
    assert [len(batch.rows_B) for batch in loader] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 18, 31, 32, 33, 47, 431])
def test_batches_are_as_equal_as_they_can_be(rows: int) -> None:
    sampler = ShuffledEpochs(rows, 0, 16)
    sizes = [len(batch) for batch in sampler]
    assert sum(sizes) == rows
    assert len(sizes) == len(sampler) == math.ceil(rows / 16)
    assert max(sizes) - min(sizes) <= 1
    assert (max(sizes), min(sizes)) == (sampler.videos, sampler.fewest)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_process_without_a_row_of_a_step_has_an_empty_batch(bars: Path, workers: int) -> None:
    """Eight videos for five processes, one each at a time."""
    loader = training_loader(clips_of(bars), 1, Data(workers=workers), Process(0, 5))
    assert [len(batch.rows_B) for batch in loader] == [0, 0]
    loader = training_loader(clips_of(bars), 1, Data(workers=workers), Process(4, 5))
    assert [len(batch.views_VCTSS) for batch in loader] == [1, 1]
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_testing_keeps_the_order_and_leaves_no_rest(bars: Path, workers: int) -> None:
    views = views_of(bars, "train")
    batches: list[Batch] = list(testing_loader(views, 3, Data(workers=workers)))
    assert [batch.rows_B.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    for batch in batches:
        parts = batch.views_VCTSS.split(batch.counts_B.tolist())
        for row, part in zip(batch.rows_B.tolist(), parts, strict=True):
            expected = views[row].views_VCTSS
            assert expected is not None
            assert torch.equal(part, expected)


def test_workers_of_a_recipe_are_one_a_core_and_at_most_eight(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores that this process may use: a job of two cores on a machine of 64 gets two workers."""
    for cores, workers in ((1, 1), (3, 3), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(10, 10 + cores)), raising=False)
        assert testing_loader(views_of(bars, "test"), 1, Data()).num_workers == workers
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS has none
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert testing_loader(views_of(bars, "test"), 1, Data()).num_workers == 5


def test_videos_of_different_numbers_of_views_share_a_batch(tmp_path: Path) -> None:
    (tmp_path / "test" / "x").mkdir(parents=True)
    for name, frames in (("a", 4), ("b", 11), ("c", 16)):
        write_video(tmp_path / "test" / "x" / f"{name}.mp4", moving_bar(1, 0, frames), 10)
    recipe = small_recipe(
        "preprocessing.sampling.method=cover", "preprocessing.sampling.rate=1", "preprocessing.test_crops=1"
    )
    views = TestingViews(read_manifest(tmp_path, "test"), recipe.model.clip_shape, recipe.preprocessing)
    (batch,) = testing_loader(views, 4, Data(workers=0))
    assert batch.counts_B.tolist() == [1, 3, 4]  # clips of 4 frames
    assert torch.equal(batch.views_VCTSS[1:4], views[1].views_VCTSS)  # type: ignore[arg-type]


def test_repeats_fill_a_batch_with_clips_of_fewer_videos(bars: Path) -> None:
    recipe = small_recipe("augmentation.repeats=2")
    clips = TrainingClips(
        read_manifest(bars, "train"), recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, 0
    )
    batches = list(training_loader(clips, 4, Data(workers=0)))
    assert [batch.counts_B.tolist() for batch in batches] == [[2, 2]] * 4
    assert [len(batch.views_VCTSS) for batch in batches] == [4] * 4
    assert sorted(row for batch in batches for row in batch.rows_B.tolist()) == list(range(8))
    assert not torch.equal(batches[0].views_VCTSS[0], batches[0].views_VCTSS[1])


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("processes", "workers"), [(None, 8), ("4", 4), ("8", 2), ("32", 1)])
def test_processes_of_a_machine_share_its_cores(
    bars: Path, monkeypatch: pytest.MonkeyPatch, processes: str | None, workers: int
) -> None:
    monkeypatch.setattr("timesformer.data.loader.cores", lambda: 16)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert training_loader(clips_of(bars), 4, Data()).num_workers == workers
    assert testing_loader(views_of(bars, "val"), 4, Data()).num_workers == workers
    assert training_loader(clips_of(bars), 4, Data(workers=3)).num_workers == 3


def test_a_single_video_is_read_in_this_process_unless_it_may_be_lost(
    bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*given: Any) -> None:
        os._exit(3)

    views = views_of(bars, "test")
    views.manifest = dataclasses.replace(views.manifest, videos=views.manifest.videos[:1])
    assert testing_loader(views, 1, Data(workers=2)).num_workers == 0
    monkeypatch.setattr("timesformer.data.dataset.open_video", crash)
    unlabelled = UnlabelledViews([views.name(0)], views.shape, views.preprocessing)
    loader = testing_loader(unlabelled, 1, Data(workers=1))
    (batch,) = loader
    assert [problem.reason for problem in batch.problems] == ["the process that decodes it died, exit code 3"]
    assert (batch.problems[0].path, len(batch.rows_B)) == (views.name(0), 0)
    loader.close()


def rows_of(data: Path, answers: Any) -> None:
    """Send the rows of all batches; runs in a daemonic process, which may not start any."""
    torch.set_num_threads(1)
    loaders = [training_loader(clips_of(data), 4, Data(workers=2)), testing_loader(views_of(data, "val"), 2, Data())]
    answers.put([[batch.rows_B.tolist() for batch in loader] for loader in loaders])


def test_a_daemonic_process_reads_videos_itself(bars: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=rows_of, args=(bars, answers), daemon=True)
    process.start()
    training, validation = answers.get(timeout=120)
    process.join()
    assert sorted(row for rows in training for row in rows) == list(range(8))
    assert validation == [[0, 1], [2, 3]]


def test_views_of_sources_of_any_kind_come_from_workers(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input and file objects too, which are read before there are workers."""
    path = read_manifest(bars, "test").videos[1].path
    recipe = small_recipe()
    shape, preprocessing = recipe.model.clip_shape, recipe.preprocessing
    expected = read_views(path, shape, preprocessing)
    with open_video(path) as video:
        frames = video.read(range(video.num_frames)).permute(1, 2, 3, 0).numpy()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    with path.open("rb") as opened:
        sources = [path, str(path), path.as_uri(), path.read_bytes(), opened, "-", b"no video"]
        batches: list[Batch] = list(testing_loader(UnlabelledViews(sources, shape, preprocessing), 1, Data(workers=2)))
    for batch in batches[:-1]:
        assert torch.equal(batch.views_VCTSS, expected)
    assert [str(error) for error in batches[-1].problems] == [
        "<bytes>: cannot be opened as a video or an image: Invalid data found when processing input"
    ]
    arrays = UnlabelledViews([frames, list(frames)], shape, preprocessing, fps=10)
    for batch in testing_loader(arrays, 1, Data(workers=2)):
        assert torch.equal(batch.views_VCTSS, read_views(frames, shape, preprocessing, fps=10))
    with pytest.raises(SettingError, match="fps is 10; only arrays and lists"):
        UnlabelledViews([frames, path], shape, preprocessing, fps=10)
    with pytest.raises(SettingError, match="video: int; expected a path, a URL"):
        UnlabelledViews([path, 3], shape, preprocessing)  # type: ignore[list-item]
