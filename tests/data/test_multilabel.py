"""Lists whose videos have several classes or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError

TEXT = "path,labels,subject\na.mp4,run;jump,1\nb.mp4,,2\nc.mp4, jump ,3\nd.mp4,swim; run,4\n"


def test_several_classes_in_a_cell(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    train = read_manifest(tmp_path, "train")
    assert (train.multilabel, train.labels) == (True, ("jump", "run", "swim"))
    assert [(video.path.name, video.labels) for video in train.videos] == [
        ("a.mp4", (0, 1)),
        ("b.mp4", ()),
        ("c.mp4", (0,)),
        ("d.mp4", (1, 2)),
    ]


def test_one_class_each_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label\na.mp4,run;jump\nb.mp4,run\n")
    train = read_manifest(tmp_path, "train")
    assert (train.multilabel, train.labels) == (False, ("run", "run;jump"))
    assert [video.label for video in train.videos] == [1, 0]
    assert [video.labels for video in train.videos] == [(1,), (0,)]
    path, label = train.videos[0]
    assert (path, label) == (tmp_path / "a.mp4", 1)


def test_one_class_of_several_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    videos = read_manifest(tmp_path, "train").videos
    assert videos[2].label == 0
    for video in videos[:2]:
        with pytest.raises(ValueError, match="unpack"):
            _ = video.label


def test_labels_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    train = read_manifest(tmp_path, "train")
    renumbered = train.with_labels(("swim", "climb", "run", "jump"))
    assert [video.labels for video in renumbered.videos] == [(2, 3), (), (3,), (0, 2)]
    assert renumbered.multilabel
    with pytest.raises(DataError, match=r"train\.csv: class swim is unknown; the classes are jump, run"):
        train.with_labels(("jump", "run"))
