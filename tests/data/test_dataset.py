"""Samples, batches and loaders: repeatable to the bit, and honest about what cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from conftest import small_recipe
from timesformer.config import Data, Preprocessing, Sampling
from timesformer.data.dataset import Batch, Sample, SkippedVideos, TestingViews, TrainingClips, collate
from timesformer.data.loader import testing_loader, training_loader
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, VideoError
from timesformer.video.source import open_video


def clips_of(data: Path, seed: int = 0) -> TrainingClips:
    recipe = small_recipe()
    manifest = read_manifest(data, "train")
    return TrainingClips(manifest, recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, seed)


def epochs_of(data: Path, workers: int, seed: int = 0) -> list[list[Batch]]:
    loader = training_loader(clips_of(data, seed), 3, Data(workers=workers))
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        epochs.append(list(loader))
    return epochs


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_bit(bars: Path, workers: int) -> None:
    for alone, together in zip(epochs_of(bars, 0), epochs_of(bars, workers), strict=True):
        for one, other in zip(alone, together, strict=True):
            assert torch.equal(one.views_VCTSS, other.views_VCTSS)
            assert torch.equal(one.rows_B, other.rows_B)


def test_epochs_and_seeds_differ(bars: Path) -> None:
    first, second = epochs_of(bars, 0)
    other_seed = epochs_of(bars, 0, seed=1)[0]
    rows = [torch.cat([batch.rows_B for batch in batches]).tolist() for batches in (first, second, other_seed)]
    assert len({tuple(row) for row in rows}) == 3
    clips = clips_of(bars)
    views = [clips[epoch, 5, 0].views_VCTSS for epoch in range(6)]
    assert len({view.numpy().tobytes() for view in views if view is not None}) > 3


def test_an_epoch_is_every_row_once(bars: Path) -> None:
    loader = training_loader(clips_of(bars), 3, Data(workers=0))
    batches = [batch.rows_B.tolist() for batch in loader]
    assert sorted(row for rows in batches for row in rows) == list(range(8))
    assert sorted(map(len, batches)) == [2, 3, 3]
    assert [len(batch.rows_B) for batch in training_loader(clips_of(bars), 20, Data(workers=0))] == [8]


def test_labels_follow_their_videos(bars: Path) -> None:
    manifest = read_manifest(bars, "train")
    for batch in epochs_of(bars, 0)[0]:
        assert batch.labels_B.tolist() == [manifest.videos[row].label for row in batch.rows_B.tolist()]


def test_testing_views_are_the_hand_cut_ones(bars: Path) -> None:
    recipe = small_recipe()
    preprocessing = Preprocessing(sampling=Sampling(rate=1), test_clips=2, test_crops=3, short_side=18)
    manifest = read_manifest(bars, "test")
    sample = TestingViews(manifest, recipe.model.clip_shape, preprocessing)[1]
    with open_video(manifest.videos[1].path) as video:
        # spans of 4 of 10 frames: the first and the last; 18 x 24 pixels, crops of 16 from row 1, columns 0, 4, 8
        expected = [
            video.read(frames, 18)[:, :, 1:17, left : left + 16]
            for frames in ([0, 1, 2, 3], [6, 7, 8, 9])
            for left in (0, 4, 8)
        ]
    assert sample.views_VCTSS is not None
    assert torch.equal(sample.views_VCTSS, torch.stack(expected))


def test_collate_joins_videos_of_any_number_of_views() -> None:
    views = [torch.full((count, 3, 2, 4, 4), count, dtype=torch.uint8) for count in (1, 3)]
    problem = VideoError(Path("x.mp4"), "no such file")
    batch = collate([Sample(views[0], 5, 10), Sample(None, 1, 11, problem), Sample(views[1], 6, 12)])
    assert torch.equal(batch.views_VCTSS, torch.cat(views))
    assert (batch.counts_B.tolist(), batch.labels_B.tolist(), batch.rows_B.tolist()) == ([1, 3], [5, 6], [10, 12])
    assert batch.problems == [problem]
    empty = collate([Sample(None, 1, 11, problem)])
    assert (len(empty.views_VCTSS), len(empty.labels_B), empty.problems) == (0, 0, [problem])


def test_a_bad_video_is_skipped_and_named_never_swapped(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "2.mp4"
    bad.unlink()
    touched = tmp_path / "data" / "train" / "left" / "2.avi"
    touched.write_text("text")
    batches = epochs_of(tmp_path / "data", 0)[0]
    problems = [problem for batch in batches for problem in batch.problems]
    assert all(problem.path == touched for problem in problems)
    loader = testing_loader(
        TestingViews(
            read_manifest(tmp_path / "data", "train"), small_recipe().model.clip_shape, small_recipe().preprocessing
        ),
        3,
        Data(workers=0),
    )
    seen = list(loader)
    rows = torch.cat([batch.rows_B for batch in seen]).tolist()
    assert rows == [0, 1, 3, 4, 5, 6, 7]
    assert [problem.path for batch in seen for problem in batch.problems] == [touched]
    problem = seen[0].problems[0]
    assert problem.reason == "cannot be opened as a video or an image: Invalid data found when processing input"
    assert str(problem) == f"{touched}: {problem.reason}"


def test_skipped_videos_are_counted_once_and_have_a_limit(bars: Path) -> None:
    manifest = read_manifest(bars, "train")  # 8 videos
    skipped = SkippedVideos(manifest, 0.25)
    first, second, third = (VideoError(Path(name), "no such file") for name in "abc")
    assert skipped.add([first]) == [first]
    assert skipped.add([first, second]) == [second]
    assert skipped.add([first]) == []
    with pytest.raises(
        DataError, match=r"3 of 8 videos cannot be read, more than the fraction 0\.25 .* c: no such file"
    ):
        skipped.add([third])


def test_two_damaged_frames_of_a_folder_are_one_video(bars: Path, tmp_path: Path) -> None:
    """A problem is the video's, whichever of its images cannot be read."""
    folder = tmp_path / "train" / "x" / "frames"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(b"no image")
    recipe = small_recipe()
    clips = TrainingClips(
        read_manifest(tmp_path, "train"), recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, 0
    )
    problems = [clips[epoch, 0, 0].problem for epoch in range(20)]
    assert {problem.path for problem in problems if problem} == {folder}
    assert {problem.reason.split(":")[0] for problem in problems if problem} <= {f"{number}.png" for number in range(4)}
    assert all(problem is not None and problem.__traceback__ is None for problem in problems)
