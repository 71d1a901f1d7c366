"""The parts of a report, against what they are of."""

from __future__ import annotations

import base64
import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from timesformer.errors import EngineError, SettingError, one_line
from timesformer.evaluation.analysis import Analysis, analyse
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.metrics import measure
from timesformer.explain.explainer import Explainer
from timesformer.report.clips import Clips
from timesformer.report.confusion import SHOWN, confusion_table
from timesformer.report.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, chart, learning_curves
from timesformer.report.run import describe_run, repeat, without_secrets
from timesformer.weights.classifier import load_model


def analysed(said: list[int], labels: list[int], classes: int) -> Analysis:
    scores_BK = torch.eye(classes)[said]
    labels_B = torch.tensor(labels)
    names = tuple(f"class {number}" for number in range(classes))
    paths = tuple(Path(f"{row}.mp4") for row in range(len(said)))
    return analyse(EvaluationResult(measure(scores_BK, labels_B), scores_BK, labels_B, paths, names, (), "", ""))


def test_a_small_confusion_matrix_is_whole() -> None:
    table = confusion_table(analysed([0, 1, 1, 1, 2], [0, 0, 1, 1, 1], 3))
    assert table is not None
    assert [(row.label, row.videos, row.cells) for row in table.rows] == [
        ("class 0", 2, [(1, 50), (1, 50), (0, 0)]),
        ("class 1", 3, [(0, 0), (2, 67), (1, 33)]),
        ("class 2", 0, [(0, 0), (0, 0), (0, 0)]),
    ]
    assert (table.hidden, table.picture) == (0, None)


def test_of_many_classes_the_most_confused_are_shown_and_all_are_in_a_picture() -> None:
    """Class 398 is taken for 399 three times, 5 for 7 once and for 100 once, all else is right."""
    labels = [*list(range(400)), 398, 398, 398, 5, 5]
    said = [*list(range(400)), 399, 399, 399, 7, 100]
    table = confusion_table(analysed(said, labels, 400))
    assert table is not None
    assert table.labels == [f"class {number}" for number in (5, 7, 100, 398, 399)]
    assert table.hidden == 395
    assert table.rows[0].cells == [(1, 33), (1, 33), (1, 33), (0, 0), (0, 0), (0, 0)]
    assert table.rows[3].cells == [(0, 0), (0, 0), (0, 0), (1, 25), (3, 75), (0, 0)]
    assert table.picture is not None
    image = Image.open(io.BytesIO(base64.b64decode(table.picture.partition(",")[2])))
    opacity = np.asarray(image)[..., 3]
    assert opacity.shape == (400, 400)
    assert (opacity[0, 0], opacity[398, 399], opacity[0, 1]) == (255, round(255 * 0.75**0.5), 0)


def test_what_falls_into_hidden_classes_has_a_column() -> None:
    """Of 2 x SHOWN classes each is taken for the next one; one more falls outside of what is shown."""
    classes = 2 * SHOWN
    labels = [*range(0, classes, 2), *range(0, classes, 2), 0]
    said = [*range(1, classes, 2), *range(1, classes, 2), classes - 1]
    table = confusion_table(analysed(said, labels, classes))
    assert table is not None
    assert len(table.rows) == SHOWN
    assert table.rows[0].cells[1] == (2, 67)
    assert table.rows[0].cells[-1] == (1, 33)


def test_a_chart_has_its_points_where_they_belong() -> None:
    found = chart("Score", [Line("a", [(0, 0.0), (5, 0.5), (10, 1.0)], 1)], (0.0, 1.0), [("floor", 0.25)])
    assert found is not None
    path = re.search(r'<path class="line" d="M([^"]*)"', found.drawing)
    assert path is not None
    points = [tuple(map(float, point.split())) for point in path[1].split("L")]
    bottom = HEIGHT - 32
    assert points == [
        (LEFT, bottom),
        (pytest.approx((LEFT + WIDTH - RIGHT) / 2), pytest.approx((TOP + bottom) / 2)),
        (WIDTH - RIGHT, TOP),
    ]
    assert "Score over epochs: a ends at 1" in found.drawing
    floor = re.search(r'class="floor"[^>]* y1="([\d.]+)"', found.drawing)
    assert floor is not None
    assert float(floor[1]) == pytest.approx(bottom - 0.25 * (bottom - TOP))
    assert chart("Score", [Line("a", [], 1)]) is None


def test_the_curves_of_a_run_are_its_metrics(run: Path) -> None:
    charts = learning_curves([describe_run(run)])
    assert [one.title for one in charts] == ["Loss", "Score", "Learning rate"]
    lines = {line.name: line.points for one in charts for line in one.lines}
    assert [x for x, _ in lines["validation, top-1"]] == [1, 2, 3, 4]
    assert lines["training"][-1][1] == float(describe_run(run).metrics[-1]["train_loss"])
    assert charts[1].floors == [("most frequent class", 0.5)]


def test_a_clip_plays_the_video_beside_its_map(run: Path, bars: Path) -> None:
    clips = Clips(run)
    clip = clips.clip(bars / "test" / "left" / "0.mp4", "left")
    assert clip is not None
    assert (clip.width, clip.height, clip.both, clips.notes) == (32, 24, True, [])
    with av.open(io.BytesIO(base64.b64decode(clip.video.partition(",")[2]))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert frames[0].shape == (24, 64, 3)
    assert len(frames) == 4
    # Left is the video itself, whose bar is bright; right the same under colours.
    bright = [frame[:, :32].mean(2).max() > 200 for frame in frames]
    assert all(bright)
    assert any(np.ptp(frame[:, 32:].astype(int), axis=2).max() > 60 for frame in frames)
    assert clips.clip(bars / "test" / "left" / "0.mp4", "left") is clip


def test_clips_without_weights_play_without_a_map(bars: Path, tmp_path: Path) -> None:
    clips = Clips(None)
    clip = clips.clip(bars / "test" / "left" / "0.mp4", "left")
    assert clip is not None
    assert not clip.both
    assert "there are no maps" in clips.notes[0]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert clips.clip(tmp_path / "broken.mp4", "left") is None
    assert clips.still(tmp_path / "broken.mp4") is None
    assert "no such file" in Clips(tmp_path / "gone").notes[0]


def test_maps_and_pictures_stop_after_a_while_and_say_so(
    run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timesformer.report.clips.MAPS", 0.0)
    monkeypatch.setattr("timesformer.report.clips.STILLS", 0.0)
    first, second = (bars / "test" / "left" / f"{number}.mp4" for number in range(2))
    clips = Clips(run)
    found = [clips.clip(first, "left"), clips.clip(second, "left")]
    assert [clip.both for clip in found if clip] == [True, False]
    assert [clips.still(first) is None, clips.still(second) is None] == [False, True]
    assert clips.notes == [
        "Maps of where the model looked took 0 s; the clips after that have none.",
        "Still pictures took 0 s; the rows after that have none.",
    ]


@pytest.mark.parametrize("error", [EngineError("logits differ"), RuntimeError("CUDA out of memory"), MemoryError()])
def test_a_failure_of_maps_is_a_note_and_ends_them(
    run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise error

    clips = Clips(run)
    monkeypatch.setattr("timesformer.explain.explainer.Explainer.explain", fail)
    for number in range(2):
        clip = clips.clip(bars / "test" / "left" / f"{number}.mp4", "left")
        assert clip is not None
        assert not clip.both
    assert len(tries) == 1
    assert clips.notes == [f"The maps of where the model looked end here: {one_line(error)}."]


def test_weights_that_no_engine_runs_are_a_note(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EngineError("logits differ")

    monkeypatch.setattr("timesformer.explain.explainer.make_engine", fail)
    assert Clips(run).notes == ["There are no maps of where the model looked: logits differ."]


def test_other_errors_of_maps_are_no_notes(run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("timesformer.explain.explainer.Explainer.explain", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        Clips(run).clip(bars / "test" / "left" / "0.mp4", "left")


def test_maps_are_of_one_view_and_what_fails_takes_time_too(
    run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = []

    def fail(explainer: Explainer, *_: object, **__: object) -> None:
        views.append((explainer.preprocessing.test_clips, explainer.preprocessing.test_crops))
        raise SettingError("nothing speaks for it")

    monkeypatch.setattr("timesformer.report.clips.MAPS", 0.0)
    monkeypatch.setattr("timesformer.explain.explainer.Explainer.explain", fail)
    weights = load_model(run)
    clips = Clips(run)
    for number in range(2):
        clips.clip(bars / "test" / "left" / f"{number}.mp4", "left")
    assert (weights.preprocessing.test_clips, weights.preprocessing.test_crops) != (1, 1)
    assert views == [(1, 1)]
    assert clips.notes == [
        "Some clips have no map of where the model looked: nothing speaks for it.",
        "Maps of where the model looked took 0 s; the clips after that have none.",
    ]


def test_commands_are_what_a_person_types() -> None:
    assert repeat("/venv/bin/timesformer train 'a b'", "/data/my runs") == "cd '/data/my runs'\ntimesformer train 'a b'"
    assert repeat("/src/timesformer/__main__.py test x", "/w") == "cd /w\ntimesformer test x"
    assert repeat("my_script.py", "/w") == "cd /w\nmy_script.py"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("https://me:secret@host/a.mp4", "https://host/a.mp4"),
        ("https://me:p@ss@host/a.mp4", "https://host/a.mp4"),
        ("--data=s3://host/b?X-Signature=secret&b=c", "--data=s3://host/b"),
        ("rtsp://me@10.0.0.1:554/live#secret", "rtsp://10.0.0.1:554/live"),
        ("https://host?token=secret", "https://host"),
        ("https://host/a@b.mp4", "https://host/a@b.mp4"),
        ("what? a@b", "what? a@b"),
    ],
)
def test_addresses_on_pages_have_no_secrets(typed: str, shown: str) -> None:
    assert without_secrets(typed) == shown
    assert (
        repeat(shlex.join(["timesformer", "test", typed]), "/w")
        == f"cd /w\n{shlex.join(['timesformer', 'test', shown])}"
    )


def test_the_time_of_a_run_that_was_stopped_is_that_of_all_its_epochs(run: Path) -> None:
    """Of a session that was stopped nobody knows how long it took."""
    found = replace(describe_run(run), seconds={1: 10.0, 2: 20.0, 3: 30.5})
    ended = {**found.sessions[-1], "seconds": 31.0, "memory": 5_000_000}
    assert dict(replace(found, sessions=[ended, ended]).speed)["The run"] == "1 min 2 s"
    stopped = {name: value for name, value in ended.items() if name not in ("seconds", "memory")}
    speed = dict(replace(found, sessions=[stopped, ended]).speed)
    assert (speed["All epochs"], "The run" in speed) == ("1 min 0 s", False)
    speed = dict(replace(found, sessions=[stopped, ended], seconds={}).speed)
    assert speed["The last session"] == "31.0 s"
