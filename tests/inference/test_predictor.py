"""Predictions agree with the model, by hand and with the test, whatever the frames come from."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import timesformer
from timesformer.config import Sampling
from timesformer.evaluation.evaluate import evaluate
from timesformer.inference.predictor import Answer, Prediction, Predictor
from timesformer.video.seen import Seen
from timesformer.video.source import open_video
from timesformer.weights.classifier import load_model


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return timesformer.load(run, "cpu", precision="fp32")


@pytest.fixture(scope="module")
def videos(bars: Path) -> list[Path]:
    return sorted((bars / "test").rglob("*.mp4"))


def test_predict_is_the_mean_softmax_of_three_crops(run: Path, bars: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    classifier = load_model(run)
    with open_video(video) as opened:
        frames = opened.read([1, 3, 5, 8], 16)  # span of 8 frames in the middle of 10: 1 + 0, 7/3, 14/3, 7
    crops = torch.stack([frames[..., left : left + 16] for left in (0, 3, 5)])  # of 21 columns
    with torch.inference_mode():
        expected = classifier.model((crops / 255 - 0.45) / 0.225).softmax(1).mean(0)
    predictions = timesformer.load(run, "cpu", precision="fp32").predict(video)
    assert dict(predictions) == pytest.approx(dict(zip(("left", "right"), expected.tolist(), strict=True)), abs=1e-6)
    assert predictions[0].score > predictions[1].score


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_predict_agrees_with_test(run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    """By default too, whatever suits the machine."""
    for name in ("native_bf16", "fast_bf16"):
        monkeypatch.setattr(f"timesformer.engine.choose.{name}", lambda device: precision == "bf16")
    predictor, result = timesformer.load(run, "cpu"), evaluate(run, bars, device="cpu", workers=0)
    assert (result.engine, result.precision) == ("eager", precision)
    assert predictor.engine.precision == precision
    tolerance = {"rtol": 0, "atol": 1e-6 if precision == "fp32" else 1e-3}  # a batch of other videos rounds differently
    for path, scores in zip(result.paths, result.scores_BK, strict=True):
        torch.testing.assert_close(predictor.scores(path), scores, **tolerance)


def test_top(predictor: Predictor, bars: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    assert predictor.predict(video, top=1) == predictor.predict(video, top=9)[:1]
    with pytest.raises(timesformer.SettingError, match="top is 0"):
        predictor.predict(video, top=0)


def test_many_videos(predictor: Predictor, bars: Path, tmp_path: Path) -> None:
    good = bars / "test" / "left" / "0.mp4"
    (tmp_path / "empty.mp4").touch()
    empty, none = tmp_path / "empty.mp4", tmp_path / "none.mp4"
    for workers in (0, 2):
        first, second, third = predictor.predict_all([empty, str(good), none], top=1, workers=workers)
        assert second == (good, predictor.predict(good, top=1), None, Seen(4, 10, pytest.approx(0.8), 1.0))
        for answer, path, reason in ((first, empty, "the file is empty"), (third, none, "no such file")):
            assert (answer.video, answer.predictions) == (path, [])
            assert answer.problem is not None
            assert (answer.problem.path, answer.problem.reason) == (path, reason)


def test_what_cannot_be_opened_here_or_is_no_url(predictor: Predictor, bars: Path) -> None:
    """Is known before the workers start, or breaks the parser of URLs; neither stops the others."""
    good, closed = bars / "test" / "left" / "0.mp4", io.BytesIO()
    closed.close()
    bad = {
        "/dev/fd/987": "cannot be read: No such file or directory",
        "https://[cdn]/a.mp4": "not a URL: 'cdn' does not appear to be an IPv4 or IPv6 address",
        "<file object>": "cannot be read: I/O operation on closed file.",
    }
    for workers in (0, 2):
        answers = list(predictor.predict_all([good, *list(bad)[:2], closed, good], workers=workers))
        assert [answer.video for answer in answers] == [good, *bad, good]
        assert [answer.problem and answer.problem.reason for answer in answers] == [None, *bad.values(), None]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_video_that_kills_its_process_does_not_stop_the_others(
    predictor: Predictor, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(source: Any) -> Any:
        if source == videos[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return open_video(source)

    expected = [answer.as_dict() for answer in predictor.predict_all(videos, workers=2)]
    monkeypatch.setattr("timesformer.data.dataset.open_video", crash)
    reason = "the process that decodes it died, SIGKILL, perhaps of too little memory"
    expected[1] = {"video": str(videos[1]), "predictions": [], "problem": reason}
    found = list(predictor.predict_all(videos, workers=2))
    several = predictor.predict_all([videos[0], *[videos[1]] * 5, videos[2]], workers=2)
    assert [str(next(several).problem) for _ in range(5)] == ["None", *[f"{videos[1]}: {reason}"] * 4]
    with pytest.raises(timesformer.WorkerError, match=r"SIGKILL, perhaps of too little memory; 5 videos in a row"):
        next(several)
    assert [answer.video for answer in found] == videos
    for answer, row in zip(found, expected, strict=True):
        assert answer.as_dict().get("problem") == row.get("problem")
        assert [label for label, _ in answer.predictions] == [one["label"] for one in row["predictions"]]


def same(found: list[Prediction], expected: list[Prediction]) -> bool:
    """Videos that share a batch differ in the last bit from one alone."""
    scores = [score for _, score in expected]
    return [label for label, _ in found] == [label for label, _ in expected] and [
        score for _, score in found
    ] == pytest.approx(scores, abs=1e-5)


def frames_of(path: Path) -> torch.Tensor:
    """Every frame, uint8 (3, T, H, W)."""
    with open_video(path) as video:
        return video.read(range(video.num_frames))


class Image:
    """What is asked of a PIL image."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def convert(self, mode: str) -> np.ndarray:
        assert mode == "RGB"
        return self.pixels


# Each gives a source from a path, and what answers call it.
SOURCES: dict[str, Callable[[Path], tuple[Any, object]]] = {
    "path": lambda path: (path, path),
    "str": lambda path: (str(path), path),
    "URL": lambda path: (path.as_uri(), path),
    "bytes": lambda path: (path.read_bytes(), "<bytes>"),
    "file object": lambda path: (path.open("rb"), str(path)),
    "file object without a name": lambda path: (io.BytesIO(path.read_bytes()), "<file object>"),
    "array": lambda path: (frames_of(path).permute(1, 2, 3, 0).numpy(), "<array 10 x 24 x 32 x 3>"),
    "tensor": lambda path: (frames_of(path), "<tensor 3 x 10 x 24 x 32>"),
    "list of arrays": lambda path: (list(frames_of(path).permute(1, 2, 3, 0).numpy()), "<list of 10 images>"),
    "list of images": lambda path: (
        [Image(frame) for frame in frames_of(path).permute(1, 2, 3, 0).numpy()],
        "<list of 10 images>",
    ),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source(predictor: Predictor, videos: list[Path], kind: str) -> None:
    """What is decoded already has been scaled once less; frames of 24 x 32 scaled to 16 agree to a few grey levels."""
    source, name = SOURCES[kind](videos[0])
    expected = predictor.scores(videos[0])
    exact = {"rtol": 0, "atol": 0 if isinstance(name, Path) or "file" in kind or kind == "bytes" else 0.02}
    torch.testing.assert_close(predictor.scores(source), expected, **exact)
    assert predictor.predict(source, 1) == predictor.predict(source)[:1]
    for workers in (0, 1):
        first, second = predictor.predict_all([source, videos[1]], workers=workers)
        assert (first.video, first.problem, second.video) == (name, None, videos[1])
        assert same(first.predictions, predictor.predict(source))
        assert same(second.predictions, predictor.predict(videos[1]))
    if hasattr(source, "close"):
        source.close()


def test_one_video_or_many(predictor: Predictor, videos: list[Path]) -> None:
    """What is no list counts as one video; a list of arrays is a video to `predict`, videos to `predict_all`."""
    frames = frames_of(videos[0])
    array = frames.permute(1, 2, 3, 0).numpy()
    for source in (
        videos[0],
        str(videos[0]),
        videos[0].read_bytes(),
        io.BytesIO(videos[0].read_bytes()),
        frames,
        array,
    ):
        (answer,) = predictor.predict_all(source, top=1)
        assert answer.predictions == predictor.predict(source, top=1)
    (answer,) = predictor.predict_all([list(array)])
    assert answer.predictions == predictor.predict(list(array))
    assert [answer.video for answer in predictor.predict_all(path for path in videos)] == videos
    for answer in predictor.predict_all([array, array]):
        assert same(answer.predictions, predictor.predict(array))
    assert list(predictor.predict_all([])) == []


def test_frames_with_a_rate(run: Path, videos: list[Path]) -> None:
    """A clip whose span is stated in time takes other frames of a video that is twice as fast."""
    classifier = load_model(run)
    sampling = Sampling(rate=1, fps=10)
    preprocessing = classifier.preprocessing.model_copy(update={"sampling": sampling})
    timed = timesformer.load(dataclasses.replace(classifier, preprocessing=preprocessing), "cpu", precision="fp32")
    frames = frames_of(videos[0])
    for fps, numbers in ((10, [3, 4, 5, 6]), (20, [1, 3, 5, 8])):
        found = timed.scores(frames, fps=fps)
        assert torch.equal(found, timed.scores(frames[:, numbers], fps=10)), fps
        (answer,) = timed.predict_all(frames, fps=fps)
        assert same(answer.predictions, timed.predict(frames, fps=fps))
        assert dict(answer.predictions) == pytest.approx(dict(zip(timed.labels, found.tolist(), strict=True)), abs=1e-6)
    for call in (timed.scores, timed.predict, lambda video, fps: timed.predict_all([video], fps=fps)):
        with pytest.raises(timesformer.SettingError, match="fps is 10; only arrays and lists take a frame rate"):
            call(videos[0], fps=10)


def test_what_is_no_source(predictor: Predictor, videos: list[Path]) -> None:
    array = frames_of(videos[0]).permute(1, 2, 3, 0).numpy()
    for source, message in (
        (7, "video: int; expected a path, a URL"),
        ([7], "video: a list of int; expected"),
        ([], "video: an empty list; expected"),
        ([array], "expected a uint8 array"),  # a list of videos is for predict_all
        ([str(videos[0])], "video: a list of str; expected"),
        (array.astype(np.float32), "expected a uint8 array"),
        (array[0], "expected a uint8 array"),
        (frames_of(videos[0])[None], "expected a uint8 array"),
    ):
        with pytest.raises(timesformer.SettingError, match=message) as found:
            predictor.predict(source)
        assert "\n" not in str(found.value)
    with pytest.raises(timesformer.SettingError, match="videos: int; expected a list of videos, or one video"):
        predictor.predict_all(7)  # type: ignore[arg-type]
    # The frames of one video are no list of videos; known before anything is read.
    with pytest.raises(timesformer.SettingError, match="expected a uint8 array"):
        predictor.predict_all(list(array))


def test_an_answer_is_a_row() -> None:
    answer = Answer(Path("a.mp4"), [Prediction("left", 0.75), Prediction("right", 0.25)])
    row = {"video": "a.mp4", "predictions": [{"label": "left", "score": 0.75}, {"label": "right", "score": 0.25}]}
    assert answer.as_dict() == row
    assert json.loads(json.dumps(answer.as_dict())) == row
    seen = {"seconds": 1200.0, "frames": 36000, "seen_seconds": 8.533, "seen_frames": 12}
    assert answer._replace(seen=Seen(12, 36000, 8.53333, 1200.0)).as_dict() == {**row, **seen}
    problem = timesformer.VideoError("<bytes>", "the file is empty")
    assert Answer("<bytes>", [], problem).as_dict() == {
        "video": "<bytes>",
        "predictions": [],
        "problem": "the file is empty",
    }


def _predict_there(run: Path, videos: list[Path], answers: Any) -> None:
    torch.set_num_threads(1)
    predictor = timesformer.load(run, "cpu", precision="fp32")
    answers.put([answer.as_dict() for answer in predictor.predict_all(videos, workers=2)])


def test_in_a_daemonic_process(predictor: Predictor, run: Path, videos: list[Path]) -> None:
    """Such as a worker of a server: it may not start processes of its own."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_predict_there, args=(run, videos, answers), daemon=True)
    process.start()
    found = answers.get(timeout=120)
    process.join()
    expected = [answer.as_dict() for answer in predictor.predict_all(videos, workers=0)]
    assert [row["video"] for row in found] == [row["video"] for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        assert [one["label"] for one in row["predictions"]] == [one["label"] for one in wanted["predictions"]]
        assert [one["score"] for one in row["predictions"]] == pytest.approx(
            [one["score"] for one in wanted["predictions"]], abs=1e-5
        )


def test_threads_share_a_predictor(predictor: Predictor, videos: list[Path]) -> None:
    expected = {video: predictor.predict(video) for video in videos}
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(10):
            video = videos[(number + step) % len(videos)]
            if (found := predictor.predict(video)) != expected[video]:
                wrong.append((video, found))
        wrong.extend(answer for answer in predictor.predict_all(videos, workers=0) if answer.problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_below_the_threshold_is_unknown(run: Path, bars: Path, tmp_path: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    plain = timesformer.load(run, "cpu", precision="fp32").predict(video)
    best, second = plain
    between = (best.score + second.score) / 2
    over = (best.score + 1) / 2
    assert timesformer.load(run, "cpu", precision="fp32", threshold=between).predict(video) == [best]
    found = timesformer.load(run, "cpu", precision="fp32", threshold=over)
    assert found.predict(video) == [("unknown", best.score)]
    (answer,) = found.predict_all([video], workers=0)
    assert answer.as_dict()["predictions"] == [{"label": "unknown", "score": pytest.approx(best.score)}]
    assert timesformer.load(run, "cpu", precision="fp32", threshold=best.score).predict(video) == [best]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(timesformer.SettingError, match=f"threshold {wrong:g}: expected a score from 0 to 1"):
            timesformer.load(run, "cpu", threshold=wrong)
    (tmp_path / "names.txt").write_text("unknown\nright\n")
    with pytest.raises(
        timesformer.SettingError, match="there is a class 'unknown', which would be the answer below it"
    ):
        timesformer.load(run, "cpu", threshold=0.5, labels=tmp_path / "names.txt")
