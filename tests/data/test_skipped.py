"""Videos that cannot be read: skipped by loaders, counted once, too many of them an error."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import small_recipe
from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews, TrainingClips
from timesformer.data.lists import LabelledVideo
from timesformer.data.loader import testing_loader, training_loader
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError, VideoError

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
def test_unreadable_videos_are_skipped_and_the_others_are_as_ever(bars: Path, damaged: Path, workers: int) -> None:
    whole, clips = clips_of(bars), clips_of(damaged)
    skipped = SkippedVideos(clips.manifest, 0.4)
    new: list[VideoError] = []
    for epoch in range(3):
        loader = training_loader(clips, 4, Data(workers=workers))
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen = set()
        for batch in loader:
            new += skipped.add(batch.problems)
            assert len(batch.rows_B) + len(batch.problems) == 4
            seen |= set(batch.rows_B.tolist())
            for row, view in zip(batch.rows_B.tolist(), batch.views_VCTSS, strict=True):
                assert torch.equal(view, view_of(whole, epoch, row)[0])
        assert seen == {0, 2, 5, 6, 7}
    new.sort(key=str)
    reasons = {Path(error.path).relative_to(damaged / "train").as_posix(): error.reason for error in new}
    assert list(reasons) == ["left/1.mp4", "left/3.mp4", "right/0.mp4"]  # each once
    whys = ("no such file", "cannot be opened", "no image frames")
    for (name, reason), why in zip(reasons.items(), whys, strict=True):
        assert why in reason
        assert name not in reason


def test_a_batch_of_unreadable_videos_alone_is_empty(damaged: Path) -> None:
    for name in ("left/0.mp4", "left/2.mp4"):
        (damaged / "train" / name).unlink()
    first, second = testing_loader(views_of(damaged, "train"), 4, Data(workers=0))
    assert first.views_VCTSS.shape[0] == len(first.counts_B) == len(first.labels_B) == len(first.rows_B) == 0
    assert (first.views_VCTSS.dtype, first.rows_B.dtype, first.labels_B.dtype) == (torch.uint8, torch.long, torch.long)
    assert [Path(problem.path).name for problem in first.problems] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert second.rows_B.tolist() == [5, 6, 7]


def problems(count: int) -> list[VideoError]:
    return [VideoError(Path(f"{number}.mp4"), "no such file") for number in range(count)]


def manifest_of(bars: Path, count: int) -> Manifest:
    manifest = read_manifest(bars, "train")
    videos = tuple(LabelledVideo(Path(f"{number}.mp4"), (0,)) for number in range(count))
    return Manifest(manifest.folder, manifest.source, "train", manifest.labels, videos)


@pytest.mark.parametrize(("total", "fraction"), [(100, 0.29), (25, 0.28), (20, 0.05), (3, 1 / 3), (50, 0.58), (7, 0.0)])
def test_exactly_the_fraction_is_allowed(bars: Path, total: int, fraction: float) -> None:
    """29 of 100 is not more than 0.29, though 0.29 * 100 is 28.999999999999996."""
    allowed = round(total * fraction)
    skipped = SkippedVideos(manifest_of(bars, total), fraction)
    assert len(skipped.add(problems(allowed))) == allowed
    with pytest.raises(
        DataError, match=rf"{allowed + 1} of {total} videos .* data\.max_bad_fraction .* no such file"
    ) as raised:
        skipped.add(problems(allowed + 1))
    assert str(raised.value).startswith(str(bars / "train"))
    assert "\n" not in str(raised.value)


def test_nothing_left_is_too_much_whatever_the_fraction(bars: Path) -> None:
    skipped = SkippedVideos(manifest_of(bars, 3), 1.0)
    assert len(skipped.add(problems(2))) == 2
    with pytest.raises(DataError, match="3 of 3 videos cannot be read") as raised:
        skipped.add(problems(3))
    assert "more than" not in str(raised.value)


def test_a_video_that_is_listed_twice_is_one_video(bars: Path) -> None:
    manifest = manifest_of(bars, 2)
    skipped = SkippedVideos(replace(manifest, videos=manifest.videos * 3), 0.5)
    first, second = problems(2)
    assert skipped.add([first]) == [first]
    assert skipped.add([first, first]) == []
    with pytest.raises(DataError, match="2 of 2 videos cannot be read"):
        skipped.add([first, second])
    assert SkippedVideos(manifest, 1.0).add([first, first]) == [first]


def test_a_part_counts_with_what_it_was_cut_off(bars: Path) -> None:
    """One of the two that validate is no tenth of all twenty, and both of them are too many whatever the fraction."""
    whole = manifest_of(bars, 20)
    rest, part = whole.part(range(2, 20)), whole.part(range(2))
    bad = problems(3)
    skipped = SkippedVideos(rest, 0.1, part)
    assert [len(skipped.add([bad[0]])), len(skipped.add([bad[2]]))] == [1, 1]
    with pytest.raises(DataError, match=r"3 of 20 videos cannot be read, more than the fraction 0\.1"):
        skipped.add([bad[1]])
    with pytest.raises(DataError, match="none of the 2 videos that were cut off to validate on can be read; the last"):
        SkippedVideos(rest, 1.0, part).add(bad[:2])
    with pytest.raises(DataError, match="2 of 3 videos cannot be read; the last"):
        SkippedVideos(whole.part(range(2)), 1.0, whole.part([2])).add(bad[:2])
