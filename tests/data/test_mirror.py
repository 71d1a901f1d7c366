"""The class of a mirrored clip: pairs by hand, pairs by their names, and samples whose label follows their pixels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from conftest import small_recipe
from timesformer.data.dataset import TrainingClips
from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.mirror import mirrored_classes, mirrored_videos
from timesformer.errors import DataError, SettingError
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit

LABELS = ("up", "swipe_left", "swipe_right", "SwingLeft", "SwingRight", "leftover", "bright")
PAIRS = (0, 2, 1, 4, 3, 5, 6)


def test_pairs() -> None:
    assert mirrored_classes(True, LABELS) == mirrored_classes(False, LABELS) == tuple(range(7))
    assert mirrored_classes({"swipe_left": "swipe_right"}, LABELS) == (0, 2, 1, 3, 4, 5, 6)
    both = {"swipe_left": "swipe_right", "swipe_right": "swipe_left", "SwingRight": "SwingLeft", "up": "up"}
    assert mirrored_classes(both, LABELS) == PAIRS
    assert mirrored_classes("left_right", LABELS) == PAIRS


def test_spellings_of_a_class_are_one() -> None:
    """An e with an accent, as one character and as two."""
    assert mirrored_classes({"e\u0301": "a"}, ("a", "\u00e9")) == (1, 0)


def test_pairs_of_something_something() -> None:
    labels = (
        "Pulling something from left to right",
        "Pulling something from right to left",
        "Putting something upright on the table",
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    )
    assert mirrored_classes("left_right", labels) == (1, 0, 2, 4, 3)


@pytest.mark.parametrize(
    ("flip", "labels", "message"),
    [
        (
            {"swipe_left": "swipe_rigth"},
            LABELS,
            "'swipe_rigth' is not a class; the classes are up, swipe_left, swipe_right, SwingLeft, SwingRight and 2",
        ),
        ({"left": "up"}, LABELS, "'left' is not a class"),
        (
            {"up": "leftover", "leftover": "bright"},
            LABELS,
            "'leftover' is paired with 'up' and with 'bright'; a class has one counterpart in a mirror",
        ),
        ({"up": "bright", "leftover": "bright"}, LABELS, "'bright' is paired with 'up' and with 'leftover'"),
        ("left_right", ("turn left", "up"), "'turn left' has no counterpart 'turn right' among the classes; name the"),
        ("left_right", ("up", "down"), "no class has left or right in its name; set true or false"),
    ],
)
def test_pairs_that_are_refused(flip: object, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)) as raised:
        mirrored_classes(flip, labels)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def listed(folder: Path, *lines: str) -> Manifest:
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder, "train")


def test_a_column_says_what_each_video_is_in_a_mirror(tmp_path: Path) -> None:
    """Nothing: it is never mirrored; its own class: it keeps it. A part of the list has what is said of its videos."""
    rows = ("a,left,right", "b,left,", "c,right,left", "d,up,up", "e,down,", "f,u\u0301p,", "g,left,right")
    manifest = listed(tmp_path, "path,label,mirrored", *rows)
    left, right, up = (manifest.labels.index(name) for name in ("left", "right", "up"))
    assert mirrored_videos("mirrored", manifest) == [(right,), None, (left,), (up,), None, None, (right,)]
    assert mirrored_videos("mirrored", manifest.part([6, 1, 2])) == [(right,), None, (left,)]
    others = listed(tmp_path, "path,label,mirrored", "a,e\u0301,o", "b,o,\u00e9")
    assert mirrored_videos("mirrored", others) == [(1 - video.label,) for video in others.videos]


def test_a_column_for_several_classes_a_video(tmp_path: Path) -> None:
    rows = ("a,man;left,right;man", "b,right;man,man; left", "c,man,man", "d,,", "e,left,right")
    manifest = listed(tmp_path, "path,labels,mirrored", *rows)
    assert manifest.labels == ("left", "man", "right")
    assert mirrored_videos("mirrored", manifest) == [(1, 2), (0, 1), (1,), None, (2,)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,label", "a,left", "b,right"), "train.csv: has no column mirrored; it has path, label"),
        (
            ("a 0", "b 1"),
            "train.csv: has no column mirrored: no header with path,label; classes of mirrored clips need CSV lists "
            "with the header",
        ),
        (
            ("path,label,mirrored", "a,left,rigth", "b,right,left"),
            "a is 'rigth': 'rigth' is not a class; the classes are left, right",
        ),
        (
            ("path,label,mirrored", "a,left,right", "b,right,right"),
            "train.csv: mirrored pairs 'right' with 'left' and with 'right'; a class has one counterpart in a mirror",
        ),
        (("path,label,mirrored", "a,left,right", "b,left,left", "c,right,"), "mirrored pairs 'left' with 'right' and"),
        (("path,label,mirrored", "a,left,right", "b,right,up", "c,up,"), "mirrored pairs 'right' with 'left' and with"),
        (("path,label,mirrored", "a,left,right", "a,left,", "b,right,"), "a has mirrored 'right' and ''; expected one"),
    ],
)
def test_columns_that_are_refused(bars: Path, tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    """Before a run has written anything."""
    listed(tmp_path, *lines)
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        fit(small_recipe("augmentation.flip=mirrored"), tmp_path, tmp_path / "run")
    assert str(raised.value).startswith(f"augmentation.flip is mirrored: {tmp_path / 'train.csv'}: ")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def clips(data: Path, flip: str, repeats: int = 1) -> TrainingClips:
    recipe = small_recipe(f"augmentation.flip={flip}", f"augmentation.repeats={repeats}")
    manifest = read_manifest(data, "train")
    return TrainingClips(manifest, recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, 0)


def test_labels_follow_the_pixels(bars: Path) -> None:
    """The same draws, once with the label of the class and once with its counterpart's where the clip is mirrored."""
    left, right = read_manifest(bars, "train").labels
    own, paired = clips(bars, f"{{{left}: {left}}}", repeats=2), clips(bars, f"{{{left}: {right}}}", repeats=2)
    plain = clips(bars, "false", repeats=2)
    mirrored = 0
    for epoch in range(12):
        for row in range(len(plain)):
            a, b, label = own[epoch, row, 0], paired[epoch, row, 0], plain[epoch, row, 0].label
            assert a.views_VCTSS is not None
            assert torch.equal(a.views_VCTSS, b.views_VCTSS)
            assert a.label == label
            mirrored += b.label != label
    assert 30 < mirrored < 66  # of 96


def test_labels_follow_the_pixels_where_a_column_says_so(bars: Path, tmp_path: Path) -> None:
    """The same draws as with pairs, but for the video that is never mirrored."""
    left, right = read_manifest(bars, "train").labels
    names = {left: right, right: left}
    rows = [
        f"{bars}/train/{name}/{number}.mp4,{name},{'' if (name, number) == (left, 2) else names[name]}"
        for name in names
        for number in range(4)
    ]
    listed(tmp_path, "path,label,mirrored", *rows)
    paired, column = clips(bars, f"{{{left}: {right}}}"), clips(tmp_path, "mirrored")
    never, changed = clips(bars, "false"), 0
    for epoch in range(6):
        for row in range(8):
            a, b = paired[epoch, row, 0], column[epoch, row, 0]
            if row == 2:
                assert b.label == never[epoch, row, 0].label
                changed += a.label != b.label
                continue
            assert b.label == a.label
            assert torch.equal(b.views_VCTSS, a.views_VCTSS)  # type: ignore[arg-type]
    assert 0 < changed < 6


def test_all_clips_of_a_sample_are_mirrored_or_none(tmp_path: Path) -> None:
    """A video whose left half is white and whose right half is black, in frames of exactly the clip's size."""
    import av

    side = small_recipe().model.image_size
    recipe = small_recipe(
        "augmentation.flip={l: r}", "augmentation.repeats=2", f"augmentation.short_side=[{side},{side}]"
    )
    folder = tmp_path / "frames"
    folder.mkdir()
    image = torch.zeros(side, side, 3, dtype=torch.uint8)
    image[:, : side // 2] = 255
    for number in range(8):
        av.VideoFrame.from_ndarray(image.numpy(), format="rgb24").save(str(folder / f"{number}.png"))
    videos = (LabelledVideo(folder, (0,)), LabelledVideo(folder, (1,)))
    for multilabel in (False, True):
        manifest = Manifest(tmp_path, tmp_path, "train", ("l", "r"), videos, multilabel)
        dataset = TrainingClips(manifest, recipe.model.clip_shape, recipe.preprocessing, recipe.augmentation, 0)
        seen = set()
        for epoch in range(20):
            for row in (0, 1):
                sample = dataset[epoch, row, 0]
                assert sample.views_VCTSS is not None
                dark = (sample.views_VCTSS[..., : side // 4].float().mean((1, 2, 3, 4)) < 128).tolist()
                assert len(set(dark)) == 1
                number = 1 - row if dark[0] else row
                assert sample.label == ([float(number == 0), float(number == 1)] if multilabel else number)
                seen.add(dark[0])
        assert seen == {False, True}


def test_a_recipe_with_pairs() -> None:
    assert load_recipe("demo", ["augmentation.flip={left: right}"]).augmentation.flip == {"left": "right"}  # type: ignore[union-attr]
    assert load_recipe("demo", ["augmentation.flip=mirrored"]).augmentation.flip == "mirrored"  # type: ignore[union-attr]
    assert load_recipe("demo", ["augmentation.flip=left_right"]).augmentation.flip == "left_right"  # type: ignore[union-attr]
