"""One temperature: that it is the best, and that all that gives scores gives softmax(logits / temperature)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import timesformer
from timesformer.errors import DataError, SettingError, WeightsError
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.scores import mean_scores
from timesformer.evaluation.temperature import calibrate, fit_temperature, log_loss, with_temperature
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import save_as

CPU = {"device": "cpu", "precision": "fp32"}


def test_a_temperature_is_found_again() -> None:
    """Labels that are drawn from softmax(logits): three times the logits need a temperature of three."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    one = torch.ones(20_000, dtype=torch.long)
    assert fit_temperature(logits, one, labels) == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * logits, one, labels) == pytest.approx(3, abs=0.15)


def test_no_other_temperature_has_a_lower_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, counts = 4 * torch.randn(90, 3, generator=generator), torch.full((30,), 3)
    labels = mean_scores(logits, counts).argmax(1)
    labels[::4] = (labels[::4] + 1) % 3
    found = fit_temperature(logits, counts, labels)
    assert found is not None
    tried = torch.linspace(0.1, 15, 3000).tolist()
    losses = [log_loss(logits / value, counts, labels) for value in tried]
    assert found == pytest.approx(tried[losses.index(min(losses))], abs=0.006)
    scores = mean_scores(logits.double() / found, counts)
    literal = -sum(float(scores[row, label].log()) for row, label in enumerate(labels.tolist())) / 30
    assert log_loss(logits / found, counts, labels) == pytest.approx(literal)
    assert fit_temperature(logits, torch.ones(90, dtype=torch.long), logits.argmax(1)) is None  # all of them right


@pytest.fixture
def calibrated(run: Path, tmp_path: Path) -> Path:
    save_as(with_temperature(load_model(run), 2.5, "2.5, for a test"), tmp_path / "calibrated", "native")
    return tmp_path / "calibrated"


def test_all_scores_have_the_temperature(run: Path, bars: Path, calibrated: Path, tmp_path: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    plain, other = timesformer.load(run, "cpu", precision="fp32"), timesformer.load(calibrated, "cpu", precision="fp32")
    views = plain.preprocess(video)
    expected = (plain.engine(views) / 2.5).softmax(1).mean(0)
    torch.testing.assert_close(other.scores(video), expected)
    found = evaluate(calibrated, bars, workers=0, **CPU)
    torch.testing.assert_close(found.scores_BK[found.paths.index(video)], expected)
    ensemble = timesformer.save_ensemble({"plain": run, "calibrated": calibrated}, tmp_path / "ensemble")
    both = timesformer.load(ensemble, "cpu", precision="fp32").scores(video)
    torch.testing.assert_close(both, (expected + plain.scores(video)) / 2)
    assert torch.equal(evaluate(run, bars, workers=0, **CPU).scores_BK, evaluate(run, bars, workers=0, **CPU).scores_BK)


@pytest.mark.parametrize("layout", ["native", "official", "mmaction2", "huggingface"])
def test_conversions_keep_it(run: Path, calibrated: Path, tmp_path: Path, layout: str) -> None:
    out = save_as(load_model(calibrated), tmp_path / f"out.{layout}", layout)
    plain, again = load_model(run), load_model(out)
    assert again.facts["temperature"] == "2.5, for a test"
    clip = torch.randn(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(again.model(clip), plain.model(clip) / 2.5)
    with pytest.raises(WeightsError, match=r"has a temperature already \(2\.5, for a test\); calibrate the weights it"):
        calibrate(out, "nowhere")


def test_it_is_fitted_on_a_split(run: Path, bars: Path, tmp_path: Path) -> None:
    """One of four labels is wrong, so that scores must not be too sure."""
    videos = sorted((bars / "train").rglob("*.mp4"))
    labels = [video.parent.name for video in videos]
    labels[0], labels[-1] = "right", "left"
    rows = [f"{video},{label}\n" for video, label in zip(videos, labels, strict=True)]
    (tmp_path / "val.csv").write_text("path,label\n" + "".join(rows))
    before = load_model(run)
    kept = {name: tensor.clone() for name, tensor in before.model.state_dict().items()}
    found = calibrate(run, tmp_path, workers=0, **CPU)
    assert found.videos == 8
    assert found.loss[1] < found.loss[0]
    assert found.classifier.facts["temperature"] == f"{found.temperature:.4f}, fitted on 8 videos of val"
    result = evaluate(found.classifier, tmp_path, split="val", workers=0, **CPU)
    loss = -result.scores_BK[range(8), result.labels_B].log().mean()
    assert float(loss) == pytest.approx(found.loss[1], abs=1e-5)
    again = load_model(run).model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())
    for name, tensor in found.classifier.model.state_dict().items():
        scale = found.temperature if name.startswith("head.") else 1
        torch.testing.assert_close(tensor * scale, kept[name])


def test_what_cannot_be_calibrated(run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, source = load_model(run), bars / "test" / "left" / "0.mp4"
    best = timesformer.load(classifier, "cpu").predict(source, 1)[0].label
    (tmp_path / "val.csv").write_text(f"path,label\n{source},{best}\n")
    with pytest.raises(
        DataError, match=r"val\.csv: no temperature from 0\.05 to 20 is the best, 1 of 1 videos are righ"
    ):
        calibrate(run, tmp_path, workers=0, **CPU)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("TORCHELASTIC_RUN_ID", "x")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="calibrate: 2 processes; start it in one, without torchrun"):
        calibrate(run, bars)


def test_a_head_that_is_not_linear(run: Path) -> None:
    classifier = load_model(run)
    head = classifier.model.forward_head
    classifier.model.forward_head = lambda features: head(features).tanh()  # type: ignore[method-assign]
    with pytest.raises(SettingError, match="architecture timesformer has no linear last layer to divide"):
        with_temperature(classifier, 2.0, "")
