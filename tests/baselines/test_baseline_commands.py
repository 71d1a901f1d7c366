"""Every architecture in every command: trained, tested, predicted with, its features and timelines, explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import timesformer
from baselines_small import SMALL
from commands import Command, assert_one_line
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import load_model

RECIPE = {
    "preprocessing": {"sampling": {"method": "span", "rate": 1}, "test_clips": 2, "test_crops": 3},
    "augmentation": {"short_side": [16, 20], "flip": False},
    "optimizer": {"name": "adamw", "learning_rate": 0.002, "scale_learning_rate": "none", "schedule": "constant"},
    "training": {"epochs": 2, "batch_size": 4, "device": "cpu", "ema": 0.9},
    "data": {"workers": 0},
}


@pytest.fixture(scope="module", params=SMALL)
def trained(request: pytest.FixtureRequest, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small network of each architecture, two epochs."""
    folder = tmp_path_factory.mktemp(request.param)
    model: dict[str, Any] = SMALL[request.param] | {"architecture": request.param, "image_size": 16}
    values = RECIPE | {
        "model": {name: list(value) if isinstance(value, tuple) else value for name, value in model.items()}
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    timesformer.fit(folder / "recipe.yaml", bars, folder / "run")
    return folder / "run"


def test_a_run_is_tested_and_predicts(trained: Path, bars: Path) -> None:
    classifier = load_model(trained)
    new = timesformer.build_model(classifier.model.settings).state_dict()
    tensors = classifier.model.state_dict()
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    assert [name for name in new if name.startswith("blocks.") and torch.equal(new[name], tensors[name])] == []
    video = bars / "test" / "left" / "0.mp4"
    clips = timesformer.read_views(video, classifier.model.clip_shape, classifier.preprocessing)
    assert len(clips) == 6  # two clips of three crops, as the recipe says and the weights keep
    with torch.no_grad():
        scores = classifier.model(normalise(clips, classifier.preprocessing)).softmax(1).mean(0)
    predictor = timesformer.load(trained, "cpu", precision="fp32")
    torch.testing.assert_close(predictor.scores(video), scores, rtol=0, atol=1e-5)
    result = timesformer.evaluate(trained, bars, device="cpu", precision="fp32", workers=0)
    row = [path.parent.name + path.name for path in result.paths].index("left0.mp4")
    torch.testing.assert_close(result.scores_BK[row], scores, rtol=0, atol=1e-5)


def test_features_timelines_and_explanations(trained: Path, bars: Path) -> None:
    classifier = load_model(trained)
    video = bars / "test" / "right" / "1.mp4"
    clips = timesformer.read_views(video, classifier.model.clip_shape, classifier.preprocessing)
    engine = timesformer.load_engine(trained, precision="fp32", device="cpu")
    with torch.no_grad():
        expected = classifier.model.forward_features(normalise(clips, classifier.preprocessing))
    torch.testing.assert_close(engine.features(clips), expected, rtol=1e-4, atol=1e-4)
    predictor = timesformer.load(trained, "cpu", precision="fp32")
    rows = list(predictor.timeline(video, window=0.5, stride=0.25))
    assert len(rows) == 3
    found = timesformer.load_explainer(trained, "cpu").explain(video, method="occlusion")
    assert found.label == predictor.predict(video)[0].label
    assert bool(found.map_NHW.isfinite().all())
    assert float(found.map_NHW.abs().max()) > 0


def test_commands(trained: Path, bars: Path, tmp_path: Path, command: Command) -> None:
    video = bars / "test" / "left" / "1.mp4"
    assert "top-1" in command("test", trained, "--data", bars, "--device", "cpu", "--workers", 0).out
    assert "left" in command("predict", trained, video, "--device", "cpu", "--workers", 0).out
    out = tmp_path / "features.parquet"
    command("features", trained, bars, "--split", "test", "--out", out, "--device", "cpu", "--workers", 0)
    assert len(timesformer.read_feature_table(out)) == 4
    refused = command("explain", trained, video, "--method", "rollout", "--out", tmp_path / "map", "--device", "cpu")
    assert_one_line(refused, "has no attention")
    refused = command("test", trained, "--data", bars, "--device", "cpu", "--precision", "int8")
    assert_one_line(refused, "precision int8 is not for architecture", "fp32 or bf16")
