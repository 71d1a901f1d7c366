"""Features of a split: those of the model, clip by clip, in the order of the videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from classifiers import classifier
from timesformer.config import Data
from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import read_manifest
from timesformer.engine.engine import Precision, load_engine
from timesformer.errors import DataError
from timesformer.evaluation.evaluate import Progress
from timesformer.features.extract import extract
from timesformer.video.transforms import normalise
from timesformer.video.views import read_views
from timesformer.weights.classifier import load_model


@pytest.mark.parametrize(
    ("pooling", "tokens", "workers"),
    [
        ("class_token", False, 2),
        ("class_token", True, 2),
        ("class_token", True, 0),
        ("first_patch", True, 0),
        ("mean", True, 0),
        ("attentive", True, 0),
    ],
)
def test_features_are_those_of_the_model(bars: Path, pooling: str, tokens: bool, workers: int) -> None:
    net = classifier(pooling=pooling, image_size=16, patch_size=8)
    engine, manifest = load_engine(net, precision="fp32", device="cpu"), read_manifest(bars, "train")
    views = TestingViews(manifest, net.model.clip_shape, net.preprocessing)
    said: list[Progress] = []
    found = extract(views, engine, Data(workers=workers), tokens=tokens, on_progress=said.append)
    read = [read_views(video.path, net.model.clip_shape, net.preprocessing) for video in manifest.videos]
    with torch.inference_mode():
        pixels = normalise(torch.cat(read), net.preprocessing)
        torch.testing.assert_close(found.features, net.model.forward_features(pixels), atol=1e-4, rtol=1e-4)
        assert (found.tokens is not None) == tokens
        if found.tokens is not None:
            assert found.tokens.dtype == torch.bfloat16
            expected = net.model.forward_layer(pixels, tokens=True)
            torch.testing.assert_close(found.tokens.float(), expected, atol=1e-4, rtol=2**-8)
    assert found.videos_N.tolist() == [row for row in range(8) for _ in range(3)]
    assert found.labels_N.tolist() == [video.labels[0] for video in manifest.videos for _ in range(3)]
    assert [progress.done for progress in said] == list(range(9))
    assert not found.skipped


def test_videos_that_cannot_be_read_are_skipped(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "1.mp4"
    bad.write_bytes(b"")
    net, engine = load_model(run), load_engine(run, device="cpu")
    manifest = read_manifest(tmp_path / "data", "train")
    views = TestingViews(manifest, net.model.clip_shape, net.preprocessing)
    said: list[Progress] = []
    found = extract(views, engine, Data(workers=0, max_bad_fraction=0.2), on_progress=said.append)
    assert [problem.path for problem in found.skipped] == [bad]
    assert [problem.path for progress in said for problem in progress.problems] == [bad]
    assert found.videos_N.unique().tolist() == [0, 2, 3, 4, 5, 6, 7]
    with pytest.raises(DataError, match=r"1 of 8 videos cannot be read, more than the fraction 0\.05"):
        extract(views, engine, Data(workers=0))


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("bf16", 0.03)])
def test_precision_of_frozen_features(bars: Path, precision: Precision, limit: float) -> None:
    """Root mean square of a dimension's difference from the float32 model, over its deviation across videos."""
    net, manifest = classifier(image_size=16, patch_size=8), read_manifest(bars, "train")
    views = TestingViews(manifest, net.model.clip_shape, net.preprocessing)
    found = extract(views, load_engine(net, precision=precision, device="cpu"), Data(workers=0)).features
    read = [read_views(video.path, net.model.clip_shape, net.preprocessing) for video in manifest.videos]
    with torch.inference_mode():
        expected = net.model.double().forward_features(normalise(torch.cat(read), net.preprocessing).double())
    difference = float(((found - expected) / expected.std(0)).square().mean().sqrt())
    assert difference < limit
    if precision == "bf16":
        assert difference > 1e-4  # it is bf16
