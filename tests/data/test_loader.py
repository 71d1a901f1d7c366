"""Loaders: every row once in an order that seed and epoch decide, whatever the workers, whatever was asked before."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import moving_bar, small_recipe
from timesformer.config import Data
from timesformer.data.dataset import Batch, LeftOut, Problem, TestingViews, TrainingClips
from timesformer.data.loader import EveryRow, Process, ShuffledEpochs, testing_loader, training_loader
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.video.encode import write_video

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def clips_of(data: Path, seed: int = 0) -> TrainingClips:
    recipe = small_recipe()
    manifest = read_manifest(data, "train")
    return TrainingClips(manifest, recipe.model, recipe.preprocessing, recipe.augmentation, seed)


def views_of(data: Path, split: str) -> TestingViews:
    recipe = small_recipe()
    return TestingViews(read_manifest(data, split), recipe.model, recipe.preprocessing)


def view_of(clips: TrainingClips, epoch: int, row: int) -> Tensor:
    view = clips[epoch, row, 0].views_VCTSS
    assert view is not None
    return view


def test_orders_are_permutations_that_seed_and_epoch_decide() -> None:
    orders = {}
    for seed in range(3):
        sampler = ShuffledEpochs(50, seed, 1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            keys = list(sampler)
            assert {(number, times) for number, _, times in keys} == {(epoch, 0)}
            orders[seed, epoch] = tuple(row for _, row, _ in keys)
            assert sorted(orders[seed, epoch]) == list(range(50))
            assert list(sampler) == keys
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
            assert batch.counts_B.tolist() == [1, 1, 1]
            rows += batch.rows_B.tolist()
        assert [(epoch, row, 0) for row in rows] == list(loader.sampler)


@pytest.mark.parametrize(("world", "videos"), [(2, 3), (4, 1), (3, 2)])
def test_processes_share_the_steps_of_one(world: int, videos: int) -> None:
    """Process after process, the batches of a step are the batch of a single process that takes them all."""
    alone = ShuffledEpochs(20, 5, videos * world)
    shares = [ShuffledEpochs(20, 5, videos, Process(rank, world)) for rank in range(world)]
    for epoch in (0, 3):
        for sampler in (alone, *shares):
            sampler.set_epoch(epoch)
        steps = [list(share) for share in shares]
        together = [
            key for begin in range(0, len(steps[0]), videos) for share in steps for key in share[begin : begin + videos]
        ]
        assert together == list(alone)
        assert len(alone) == 20 // (videos * world) * videos * world


def test_a_resumed_epoch_goes_on_with_its_next_batch() -> None:
    sampler = ShuffledEpochs(20, 5, 3)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.go_to(2, 4)
    sampler.set_epoch(2)  # the trainer says so too
    assert list(sampler) == whole[12:]
    assert len(sampler) == 18
    sampler.set_epoch(3)
    assert len(list(sampler)) == 18


def test_weights_draw_rows_in_their_proportion_and_number_what_comes_again() -> None:
    sampler = ShuffledEpochs(400, 0, 4, weights=[3.0] * 100 + [1.0] * 300)
    drawn = Counter[bool]()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(set(keys)) == len(keys) == 400
        drawn.update(row < 100 for _, row, _ in keys)
    # Half of the weight lies on the first quarter; the standard deviation of 8000 draws is 45.
    assert abs(drawn[True] - 4000) < 180


def test_shares_of_a_test_are_equally_long_and_hold_every_row() -> None:
    shares = [list(EveryRow(7, Process(rank, 3))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 0], [2, 5, 1]]
    assert list(EveryRow(7)) == list(range(7))


def test_more_processes_than_videos_is_an_error() -> None:
    with pytest.raises(SettingError, match="3 videos to train on are too few for 4 processes"):
        ShuffledEpochs(3, 0, 1, Process(0, 4))


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 8), (3, [3, 3]), (4, [4, 4]), (8, [8]), (9, [8])])
def test_a_rest_is_left_out_unless_it_is_all(bars: Path, batch_size: int, sizes: list[int]) -> None:
    loader = training_loader(clips_of(bars), batch_size, Data(workers=0))
    assert [len(batch.rows_B) for batch in loader] == sizes
    assert len(loader) == len(sizes)


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


def test_workers_by_default_are_one_a_core_and_at_most_eight(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores that this process may use: a job of two cores on a machine of 64 gets two workers."""
    for cores, workers in ((1, 1), (3, 3), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(10, 10 + cores)), raising=False)
        assert testing_loader(views_of(bars, "test"), 1, Data()).num_workers == workers
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS has none
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert testing_loader(views_of(bars, "test"), 1, Data()).num_workers == 5


@pytest.fixture
def damaged(bars: Path, tmp_path: Path) -> Path:
    """`bars` with three of eight training videos that cannot be read: no file, text, an empty folder of frames."""
    shutil.copytree(bars / "train", tmp_path / "train")
    rows = []
    for label in ("left", "right"):
        rows += [f"train/{label}/{number}.mp4,{label}" for number in range(4)]
    (tmp_path / "train.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "train" / "left" / "1.mp4").unlink()
    (tmp_path / "train" / "left" / "3.mp4").write_text("text")
    (tmp_path / "train" / "right" / "0.mp4").unlink()
    (tmp_path / "train" / "right" / "0.mp4").mkdir()
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_unreadable_videos_are_left_out_and_the_others_are_as_ever(bars: Path, damaged: Path, workers: int) -> None:
    whole, clips = clips_of(bars), clips_of(damaged)
    left_out = LeftOut(clips.manifest, 0.4)
    new: list[Problem] = []
    for epoch in range(3):
        loader = training_loader(clips, 4, Data(workers=workers))
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen = set()
        for batch in loader:
            new += left_out.add(batch.problems)
            assert len(batch.rows_B) + len(batch.problems) == 4
            seen |= set(batch.rows_B.tolist())
            for row, view in zip(batch.rows_B.tolist(), batch.views_VCTSS, strict=True):
                assert torch.equal(view, view_of(whole, epoch, row)[0])
        assert seen == {0, 2, 5, 6, 7}
    reasons = {path.relative_to(damaged / "train").as_posix(): reason for path, reason in sorted(new)}
    assert list(reasons) == ["left/1.mp4", "left/3.mp4", "right/0.mp4"]  # each once
    whys = ("no such file", "cannot be opened", "no image frames")
    for (name, reason), why in zip(reasons.items(), whys, strict=True):
        assert reason.startswith(str(damaged / "train" / name))
        assert why in reason


def test_a_batch_of_unreadable_videos_alone_is_empty(damaged: Path) -> None:
    for name in ("left/0.mp4", "left/2.mp4"):
        (damaged / "train" / name).unlink()
    first, second = testing_loader(views_of(damaged, "train"), 4, Data(workers=0))
    assert first.views_VCTSS.shape[0] == len(first.counts_B) == len(first.labels_B) == len(first.rows_B) == 0
    assert (first.views_VCTSS.dtype, first.rows_B.dtype, first.labels_B.dtype) == (torch.uint8, torch.long, torch.long)
    assert [problem.path.name for problem in first.problems] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert second.rows_B.tolist() == [5, 6, 7]


def test_videos_of_different_numbers_of_views_share_a_batch(tmp_path: Path) -> None:
    (tmp_path / "test" / "x").mkdir(parents=True)
    for name, frames in (("a", 4), ("b", 9), ("c", 16)):
        write_video(tmp_path / "test" / "x" / f"{name}.mp4", moving_bar(1, 0, frames), 10)
    recipe = small_recipe(
        "preprocessing.sampling.method=cover", "preprocessing.sampling.rate=1", "preprocessing.test_crops=1"
    )
    views = TestingViews(read_manifest(tmp_path, "test"), recipe.model, recipe.preprocessing)
    (batch,) = testing_loader(views, 4, Data(workers=0))
    assert batch.counts_B.tolist() == [1, 3, 4]  # clips of 4 frames
    assert torch.equal(batch.views_VCTSS[1:4], views[1].views_VCTSS)  # type: ignore[arg-type]


def problems(count: int) -> list[Problem]:
    return [Problem(Path(f"{number}.mp4"), f"{number}.mp4: gone") for number in range(count)]


def manifest_of(bars: Path, count: int) -> Manifest:
    manifest = read_manifest(bars, "train")
    return Manifest(manifest.folder, manifest.source, "train", manifest.labels, manifest.videos[:1] * count)


@pytest.mark.parametrize(("total", "share"), [(100, 0.29), (25, 0.28), (20, 0.05), (3, 1 / 3), (50, 0.58), (7, 0.0)])
def test_exactly_the_share_is_allowed(bars: Path, total: int, share: float) -> None:
    """29 of 100 is not more than 0.29, though 0.29 * 100 is 28.999999999999996."""
    allowed = round(total * share)
    left_out = LeftOut(manifest_of(bars, total), share)
    assert len(left_out.add(problems(allowed))) == allowed
    with pytest.raises(DataError, match=rf"{allowed + 1} of {total} videos .* data\.max_bad_share .* gone") as raised:
        left_out.add(problems(allowed + 1))
    assert str(raised.value).startswith(str(bars / "train"))
    assert "\n" not in str(raised.value)


def test_nothing_left_is_too_much_whatever_the_share(bars: Path) -> None:
    left_out = LeftOut(manifest_of(bars, 3), 1.0)
    assert len(left_out.add(problems(2))) == 2
    with pytest.raises(DataError, match="3 of 3 videos cannot be read") as raised:
        left_out.add(problems(3))
    assert "more than" not in str(raised.value)


def test_repeats_fill_a_batch_with_clips_of_fewer_videos(bars: Path) -> None:
    recipe = small_recipe("augmentation.repeats=2")
    clips = TrainingClips(read_manifest(bars, "train"), recipe.model, recipe.preprocessing, recipe.augmentation, 0)
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
