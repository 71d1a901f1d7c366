"""Parts of videos, and whole videos: predictions of the frames that are meant, and what is said to be seen of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from conftest import moving_bar
from timesformer.config import Sampling
from timesformer.errors import SettingError, VideoError
from timesformer.inference.predictor import Predictor
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from timesformer.weights.classifier import load_model


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    """Clips of 4 frames that span 8."""
    return timesformer.load(run, "cpu", precision="fp32")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s at 10 frames a second."""
    path = tmp_path_factory.mktemp("parts") / "long.mp4"
    write_video(path, torch.cat([moving_bar(1, 0, 20), moving_bar(-1, 5, 20)], dim=1), 10)
    return path


def test_a_part_is_seen_as_if_the_video_were_cut_there(predictor: Predictor, video: Path) -> None:
    with open_video(video) as opened:
        frames = opened.read(range(40), 16)
    for start, end, first, stop in ((1.0, 3.2, 10, 32), (None, 0.55, 0, 6), (2.05, None, 21, 40)):
        expected = predictor.scores(frames[:, first:stop], fps=10)
        assert torch.equal(predictor.scores(video, start=start, end=end), expected)
        assert torch.equal(predictor.scores(frames, fps=10, start=start, end=end), expected)
        (answer,) = predictor.predict_all(video, start=start, end=end, workers=0)
        found = predictor.predict(video, start=start, end=end)
        assert answer.predictions == found
        assert {one.label: one.score for one in found} == pytest.approx(
            dict(zip(predictor.labels, expected.tolist(), strict=True))
        )
        assert answer.seen is not None
        seen = answer.seen.as_dict()
        assert (seen["frames"], seen["seconds"]) == (stop - first, pytest.approx((stop - first) / 10))
        assert seen["seen_frames"] == 4
        assert seen["seen_seconds"] == pytest.approx(min(0.8, (stop - first) / 10))


def test_whole_is_the_mean_over_windows_that_cover_it(predictor: Predictor, video: Path) -> None:
    """5 windows of 8 frames; of the part of 2 s round(2.5) = 2 of them, 12 frames apart."""
    windows = [predictor.scores(video, start=0.8 * k, end=0.8 * (k + 1)) for k in range(5)]
    torch.testing.assert_close(predictor.scores(video, whole=True), torch.stack(windows).mean(0), atol=1e-6, rtol=0)
    ends = [predictor.scores(video, start=1.0, end=1.8), predictor.scores(video, start=2.2, end=3.0)]
    part = predictor.scores(video, start=1.0, end=3.0, whole=True)
    torch.testing.assert_close(part, torch.stack(ends).mean(0), atol=1e-6, rtol=0)
    (answer,) = predictor.predict_all(video, whole=True, workers=0)
    assert answer.seen is not None
    assert answer.seen.spanned == pytest.approx(4.0)


@pytest.mark.parametrize("many", [False, True])
def test_whole_needs_a_frame_rate_where_windows_are_seconds(run: Path, video: Path, many: bool) -> None:
    """Not as many frames as seconds, without a word; of a single frame there is one window, whatever its rate."""
    model = load_model(run)
    made = model.preprocessing.model_copy(update={"sampling": Sampling(method="segments"), "window": 1.6})
    net = timesformer.load(dataclasses.replace(model, preprocessing=made), "cpu", precision="fp32")
    with open_video(video) as opened:
        frames = opened.read(range(40))

    def whole(images: torch.Tensor) -> Any:
        if not many:
            return net.predict(images, whole=True)
        (answer,) = net.predict_all([images], whole=True, workers=0)
        if answer.problem is not None:
            raise answer.problem
        return answer.predictions

    with pytest.raises(VideoError, match="its frame rate is unknown, so it has no windows and no parts in seconds"):
        whole(frames)
    assert whole(frames[:, :1])


def test_whole_with_segments_takes_windows_of_the_training_videos_length(run: Path, video: Path) -> None:
    trained = load_model(run)
    segments = trained.preprocessing.model_copy(update={"sampling": Sampling(method="segments"), "window": 2.0})
    predictor = timesformer.load(dataclasses.replace(trained, preprocessing=segments), "cpu", precision="fp32")
    cover = trained.preprocessing.model_copy(update={"sampling": Sampling(method="cover", rate=5)})
    expected = timesformer.load(dataclasses.replace(trained, preprocessing=cover), "cpu", precision="fp32")
    assert torch.equal(predictor.scores(video, whole=True), expected.scores(video))
    unknown = segments.model_copy(update={"window": None})
    predictor = timesformer.load(dataclasses.replace(trained, preprocessing=unknown), "cpu", precision="fp32")
    with pytest.raises(SettingError, match="whole: these weights spread a clip over a whole video and do not say"):
        predictor.predict(video, whole=True)


def test_parts_that_cannot_be(predictor: Predictor, video: Path) -> None:
    with pytest.raises(VideoError, match=r"long\.mp4: start is 4 s; the video ends after 4 s"):
        predictor.predict(video, start=4.0)
    (answer,) = predictor.predict_all(video, end=4.5, workers=0)
    assert answer.problem is not None
    assert answer.problem.reason == "end is 4.5 s; the video ends after 4 s"
    for function in (predictor.predict, predictor.predict_all):
        with pytest.raises(SettingError, match="end is 1; expected seconds after the start, which is 2"):
            list(function(video, start=2.0, end=1.0))  # type: ignore[operator]


def rows(command: Command, *words: object) -> list[Any]:
    result = command("predict", *words, "--device", "cpu", "--precision", "fp32", "--workers", 0, "--json")
    assert result.code == 0, result
    return list(json.loads(result.out))


def test_the_command(command: Command, run: Path, video: Path, predictor: Predictor, tmp_path: Path) -> None:
    (row,) = rows(command, run, video, "--start", "0:01.5", "--end", "00:00:03.25")
    assert row["predictions"][0]["score"] == pytest.approx(predictor.predict(video, start=1.5, end=3.25)[0].score)
    assert (row["seconds"], row["frames"]) == (1.8, 18)
    (row,) = rows(command, run, video, "--whole")
    assert row["seen_seconds"] == 4.0
    out = tmp_path / "rows.jsonl"
    words = ("predict", run, video, "--workers", 0, "--out", out, "--resume")
    assert command(*words, "--start", 1).code == 0
    assert command(*words, "--start", 1).code == 0
    assert_one_line(command(*words, "--start", 2), "made with start 1.0, not 2.0")
    assert_one_line(command(*words, "--start", 1, "--whole"), "made with whole None, not True")


def test_bad_input_of_the_command(command: Command, run: Path, video: Path) -> None:
    words = ("predict", run, video, "--workers", 0)
    assert_one_line(command(*words, "--start", "3", "--end", "2"), "end is 2; expected seconds after the start")
    assert_one_line(command(*words, "--end", "9"), "1 of 1 videos cannot be read")
    for time in ("soon", "1:2:3:4", "1:75", "61:00:00x", "-1"):
        result = command(*words, "--start", time)
        assert result.code == 2
        assert "expected seconds, or" in " ".join(result.err.split())
