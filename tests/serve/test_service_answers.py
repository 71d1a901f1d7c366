"""What the service answers is what the commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import timesformer
from conftest import moving_bar
from serving import LABELS, Running, running, save_small, until
from timesformer.explain.explainer import Explainer
from timesformer.explain.save import save_explanation
from timesformer.inference.feature_job import FeatureJob
from timesformer.video.encode import write_video


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {"first": save_small(folder / "first"), "second": save_small(folder / "second", "space_only", 1)}


@pytest.fixture(scope="module")
def service(weights: dict[str, Path]) -> Iterator[Running]:
    with running(weights) as found:
        yield found
        until(lambda: not found.left)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for number, frames in enumerate((10, 25, 40)):
        write_video(folder / f"{number}.mp4", moving_bar(1 - 2 * (number % 2), number, frames), 10)
    return sorted(folder.iterdir())


def form(path: Path, name: str | None = None) -> Any:
    return {"video": (name or path.name, path.read_bytes(), "video/mp4")}


def test_predictions_are_those_of_predict(service: Running, weights: dict[str, Path], videos: list[Path]) -> None:
    for name, path in weights.items():
        predictor = timesformer.load(path, "cpu", precision="fp32")
        for answer in predictor.predict_all(videos, 2, workers=0):
            expected = answer.as_dict()
            assert isinstance(answer.video, Path)
            given = service.client.post("/v1/predict", params={"model": name, "top_k": 2}, files=form(answer.video))
            assert given.status_code == 200
            row = given.json()
            assert row.pop("video") == answer.video.name
            scores = [prediction.pop("score") for prediction in row["predictions"]]
            assert scores == pytest.approx([p.pop("score") for p in expected["predictions"]], abs=1e-6)
            del expected["video"]
            assert row == expected


def test_clients_at_once_get_their_own_answers(service: Running, videos: list[Path]) -> None:
    """Their clips go through the engine together."""

    def ask(path: Path) -> tuple[str, dict[str, float]]:
        row = httpx.post(f"{service.address}/v1/predict", files=form(path), timeout=240).json()
        return row["video"], {prediction["label"]: prediction["score"] for prediction in row["predictions"]}

    alone = dict(map(ask, videos))
    assert len({tuple(scores.values()) for scores in alone.values()}) == len(videos)
    with ThreadPoolExecutor(6) as threads:
        for name, scores in threads.map(ask, videos * 4):
            assert scores == pytest.approx(alone[name], abs=1e-5)


def test_all_ways_to_send_a_video(service: Running, videos: list[Path]) -> None:
    content = videos[0].read_bytes()
    answers = [service.client.post("/v1/predict", files=form(videos[0])).json()]
    for kind in ("video/mp4", "application/octet-stream", "video/x-whatever; a=b"):
        answers.append(service.client.post("/v1/predict", content=content, headers={"content-type": kind}).json())
        assert answers[-1]["video"] == "upload"
    assert [answer["predictions"] for answer in answers] == [answers[0]["predictions"]] * 4
    other = {"note": (None, "x" * 100_000), **form(videos[0], "../../etc/ü passwd\u2028.mp4")}
    named = service.client.post("/v1/predict", files=other)
    assert named.json()["predictions"] == answers[0]["predictions"]
    assert named.json()["video"].startswith("../../etc/ü passwd")  # said again, and used for nothing else


def test_a_timeline_is_that_of_timeline(service: Running, weights: dict[str, Path], videos: list[Path]) -> None:
    predictor = timesformer.load(weights["first"], "cpu", precision="fp32")
    answer = service.client.post("/v1/timeline", params={"window": 1, "stride": 0.25}, files=form(videos[2]))
    assert answer.headers["content-type"] == "application/x-ndjson"
    *rows, last = map(json.loads, answer.text.splitlines())
    expected = [row.as_dict() for row in predictor.timeline(videos[2], window=1, stride=0.25)]
    assert len(rows) == len(expected) == 13
    for row, other in zip(rows, expected, strict=True):
        assert row == {**other, "video": "2.mp4", "score": pytest.approx(other["score"], abs=1e-6)}
    assert last == {"video": "2.mp4", "done": True}


def test_features_are_those_of_features(
    service: Running, weights: dict[str, Path], videos: list[Path], tmp_path: Path
) -> None:
    predictor = timesformer.load(weights["second"], "cpu", precision="fp32")
    job = FeatureJob(videos[1], tmp_path / "features.parquet", dtype="float32")
    (row,) = job.run(predictor, workers=0)
    answer = service.client.post("/v1/features", params={"model": "second"}, files=form(videos[1])).json()
    assert answer["video"] == "1.mp4"
    assert answer["features"] == pytest.approx(row["vector"].flatten().tolist(), abs=1e-6)


def test_the_models(service: Running) -> None:
    first, second = service.client.get("/v1/models").json()["models"]
    assert first == {
        "name": "first",
        "architecture": "timesformer",
        "scheme": "divided_space_time",
        "classes": 3,
        "labels": list(LABELS),
        "frames": 4,
        "side": 16,
        "engine": "eager",
        "precision": "fp32",
        "default": True,
    }
    assert (second["name"], second["scheme"], second["default"]) == ("second", "space_only", False)
    assert service.client.post("/v1/predict", params={"model": "third"}).json() == {
        "error": "unknown_model",
        "detail": "no model of that name; there are first, second",
    }


def test_an_overlay_is_that_of_explain(
    service: Running, weights: dict[str, Path], videos: list[Path], tmp_path: Path
) -> None:
    classifier = timesformer.load_model(weights["first"])
    explainer = Explainer(classifier, timesformer.load_engine(classifier, precision="fp32", device="cpu"))
    save_explanation(explainer.explain(videos[0], "left", method="relevance"), videos[0], tmp_path)
    params = {"method": "relevance", "label": "left"}
    answer = service.client.post("/v1/explain", params=params, files=form(videos[0]))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.content == (tmp_path / "overlay.mp4").read_bytes()


def test_what_cannot_be_explained(service: Running, videos: list[Path]) -> None:
    def refused(**params: str) -> tuple[int, str]:
        answer = service.client.post("/v1/explain", params=params, files=form(videos[0]))
        return answer.status_code, answer.json()["error"]

    assert refused(label="up") == (400, "bad_parameter")
    assert refused(method="gradcam") == (400, "bad_parameter")


def test_a_mistyped_parameter_is_refused(service: Running, videos: list[Path]) -> None:
    """It says which one, and what there is; elsewhere than in the API nobody minds."""
    files = form(videos[0])
    answer = service.client.post("/v1/predict", params={"topk": 2, "model": "first"}, files=files)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "unknown_parameter",
            "detail": "'topk': not a parameter of /v1/predict; expected model, top_k",
        },
    )
    details = {
        path: service.client.post(f"/v1/{path}", params={"a\nb": 1}, files=files).json()["detail"]
        for path in ("timeline", "explain", "features")
    }
    assert details == {
        "timeline": "'a\\nb': not a parameter of /v1/timeline; expected model, window, stride",
        "explain": "'a\\nb': not a parameter of /v1/explain; expected model, method, label, plain",
        "features": "'a\\nb': not a parameter of /v1/features; expected model",
    }
    models = service.client.get("/v1/models", params={"name": "first"})
    assert models.json()["detail"] == "'name': not a parameter of /v1/models; expected none"
    assert service.client.get("/healthz", params={"name": "first"}).status_code == 200


def test_exported_files_are_models_too(weights: dict[str, Path], videos: list[Path], tmp_path: Path) -> None:
    timesformer.export_model(weights["first"], tmp_path / "exported.onnx", "onnx")
    with running({"exported": tmp_path / "exported.onnx"}) as exported:
        expected = timesformer.load(tmp_path / "exported.onnx", "cpu").predict(videos[0])
        answer = exported.client.post("/v1/predict", files=form(videos[0])).json()
        assert [(p["label"], p["score"]) for p in answer["predictions"]] == [
            (label, pytest.approx(score, abs=1e-6)) for label, score in expected
        ]
        overlay = exported.client.post("/v1/explain", params={"method": "occlusion"}, files=form(videos[0]))
        assert overlay.status_code == 200
        refused = exported.client.post("/v1/explain", files=form(videos[0]))
        assert (refused.status_code, refused.json()["error"]) == (422, "not_supported")
        assert str(tmp_path) not in refused.text
