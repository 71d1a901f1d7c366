"""Runs that begin with VideoMAE's weights: a classifier's, a pretrained encoder's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import timesformer
from conftest import small_recipe
from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import SettingError, WeightsError
from timesformer.training.fit import fit
from timesformer.weights.classifier import load_model
from timesformer.weights.initialise import initialise_classifier, own_patch_size
from timesformer.weights.resize import resize_classifier
from videomae_folders import CONFIG, SELF, change, write

RECIPE = TimeSformerSettings(image_size=32, num_frames=4, patch_size=16, drop_path=0.2)
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


@torch.no_grad()
def test_initialised_from_a_classifier(tmp_path: Path) -> None:
    write(tmp_path, id2label={number: f"class {number}" for number in range(7)})
    given = load_model(tmp_path)
    labels = ("one", "two", "three")
    made = initialise_classifier(RECIPE, Preprocessing(), labels, tmp_path)
    settings = made.classifier.model.settings
    assert (settings.num_classes, settings.tubelet, settings.patch_size, settings.drop_path) == (3, 2, 8, 0.2)
    tensors, old = made.classifier.model.state_dict(), given.model.state_dict()
    assert {name for name in old if not torch.equal(tensors[name], old[name])} == {"head.weight", "head.bias"}
    assert made.classifier.preprocessing.mean == (0.485, 0.456, 0.406)
    said = "; ".join(made.notes)
    assert "new head for 3 classes (the weights have 7 different ones)" in said
    assert "pooling mean: the weights have no class token" in said
    assert made.classifier.model.no_weight_decay() == frozenset()

    recipe = RECIPE.model_copy(update={"image_size": 48, "num_frames": 8, "pooling": "attentive"})
    made = initialise_classifier(recipe, Preprocessing(), labels, tmp_path)
    assert made.classifier.model.embedding.fixed_table.shape == (4, 36, 48)
    said = "; ".join(made.notes)
    assert "fixed table resized from 2 x 4 x 4 to 4 x 6 x 6 patches (bicubic)" in said
    assert "pooling attentive in place of mean" in said
    larger = resize_classifier(given, 48, 8)
    clips = torch.randn(1, 3, 8, 48, 48)
    assert (larger.model(clips) - given.model(clips)).abs().max() <= 1e-4
    tokens = made.classifier.model.eval().forward_layer(clips, tokens=True)
    assert (tokens - given.model.forward_layer(clips, tokens=True)).abs().max() <= 1e-4
    with pytest.raises(SettingError, match="num_frames 5 is not a multiple of tubelet 2"):
        initialise_classifier(RECIPE.model_copy(update={"num_frames": 5}), Preprocessing(), labels, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "mean"), [("VideoMAEForPreTraining", False), ("VideoMAEForPreTraining", True), ("VideoMAEModel", False)]
)
def test_initialised_from_a_pretrained_encoder(tmp_path: Path, kind: str, mean: bool) -> None:
    theirs = write(tmp_path, kind, use_mean_pooling=mean)
    made = initialise_classifier(RECIPE, Preprocessing(), ("a", "b"), tmp_path)
    model = made.classifier.model.eval()
    assert (model.settings.pooling, model.settings.num_classes) == ("mean", 2)
    assert own_patch_size(tmp_path) == CONFIG["patch_size"]
    clips = torch.randn(2, 3, 4, 32, 32)
    body = theirs.videomae if kind == "VideoMAEForPreTraining" else theirs
    expected = body(clips.transpose(1, 2)).last_hidden_state
    if mean:  # its tokens have no norm; ours is new
        expected = torch.nn.functional.layer_norm(expected, (48,))
    assert (model.forward_layer(clips, tokens=True) - expected).abs().max() <= 1e-4
    said = "; ".join(made.notes)
    assert "new head for 2 classes (the weights have no head)" in said
    assert ("the norm before the head is new" in said) == mean
    decoder = r"the 21 tensors of its decoder (decoder., encoder_to_decoder., mask_token) are not used"
    assert (decoder in said) == (kind == "VideoMAEForPreTraining")
    with pytest.raises(WeightsError, match="an encoder without a head; a video model can be initialised from it"):
        load_model(tmp_path)


def test_encoders_are_read_strictly(tmp_path: Path) -> None:
    write(tmp_path, "VideoMAEForPreTraining", use_mean_pooling=False)
    for tensors, message in (
        ({SELF + "q_bias": None}, r"1 missing \(.*q_bias\)"),
        ({SELF + "q_bias": torch.zeros(47)}, "misshapen"),
        ({SELF + "q_bias": torch.zeros(48), "videomae.extra": torch.zeros(1)}, r"1 unknown \(videomae\.extra\)"),
        ({"videomae.extra": None, "classifier.weight": torch.zeros(2, 48)}, r"1 unknown \(classifier\.weight\)"),
    ):
        with pytest.raises(WeightsError, match=message) as raised:
            initialise_classifier(RECIPE, Preprocessing(), ("a", "b"), change(tmp_path, tensors))
        assert "\n" not in str(raised.value)


def test_an_image_model_gives_none_of_it(tmp_path: Path) -> None:
    import transformers

    names = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    transformers.ViTModel(transformers.ViTConfig(**{name: CONFIG[name] for name in names})).save_pretrained(tmp_path)
    videomae = {"scheme": "joint_space_time", "class_token": False, "position": "sinusoidal", "pooling": "mean"}
    for changes, message in (
        ({"tubelet": 2}, "an image model can initialise a model of tubelet 1, not 2"),
        ({"position": "sinusoidal"}, "a model of position space_time or space or none, not sinusoidal"),
        (videomae, "a model of class_token True, not False"),
    ):
        recipe = TimeSformerSettings(**RECIPE.model_dump() | changes)
        with pytest.raises(SettingError, match=message):
            initialise_classifier(recipe, Preprocessing(), ("a", "b"), tmp_path)


@pytest.mark.parametrize("kind", ["VideoMAEForVideoClassification", "VideoMAEForPreTraining"])
def test_a_fine_tuning_then_test_and_predict(bars: Path, tmp_path: Path, kind: str) -> None:
    write(tmp_path / "weights", kind, num_frames=8)
    recipe = small_recipe("training.epochs=1", "optimizer.layer_decay=0.7", "augmentation.short_side=[32, 36]")
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"image_size": 32})})
    fit(recipe, bars, tmp_path / "run", init=tmp_path / "weights")
    classifier = load_model(tmp_path / "run")
    settings = classifier.model.settings
    assert (settings.tubelet, settings.num_frames, settings.class_token, classifier.labels) == (
        *(2, 4, False),
        ("left", "right"),
    )
    assert "fixed table resized from 4 x 4 x 4 to 2 x 4 x 4 patches" in (tmp_path / "run" / "log.txt").read_text()
    result = timesformer.evaluate(tmp_path / "run", bars, device="cpu", precision="fp32", workers=0)
    video = bars / "test" / "left" / "0.mp4"
    predictor = timesformer.load(tmp_path / "run", "cpu", precision="fp32")
    row = [path.parent.name + path.name for path in result.paths].index("left0.mp4")
    torch.testing.assert_close(result.scores_BK[row], predictor.scores(video), rtol=0, atol=1e-5)
