"""Folders of Hugging Face beyond their tensors: processors, class names, copies fine-tuned there, the pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import videos
from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as

TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "width": 48, "depth": 2, "heads": 3, "num_classes": 3}
CASES = Path(__file__).parents[1] / "data" / "cases"
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def random_classifier(**changes: Any) -> Classifier:
    torch.manual_seed(0)
    model = TimeSformer(**TINY | changes.pop("model", {})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return Classifier(model, Preprocessing(**changes), ("a", "b", "c"), {"data": "mine", "licence": "mit"})


def without_ours(folder: Path, **changes: Any) -> Path:
    """The folder as another program would have written it."""
    config = json.loads((folder / "config.json").read_text())
    del config["timesformer"]
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_the_pipeline_gives_our_scores(tmp_path: Path) -> None:
    """It needs Pillow and av, neither torchvision nor decord; its frames, resized as it does, through our model."""
    import transformers

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    save_as(classifier, tmp_path / "model", "huggingface")
    video = videos.write(tmp_path / "video.mp4", 20, size=(48, 64))
    pipeline = transformers.pipeline("video-classification", model=str(tmp_path / "model"))
    found = {entry["label"]: entry["score"] for entry in pipeline(str(video), frame_sampling_rate=5)}

    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    indices = np.linspace(0, 4 * 5 - 1, 4).astype(int)
    scaled = [np.array(Image.fromarray(frames[index]).resize((42, 32), Image.Resampling.BILINEAR)) for index in indices]
    clip_CTHW = torch.from_numpy(np.stack(scaled)[:, :, 5:37]).permute(3, 0, 1, 2)
    from timesformer.video.transforms import normalise

    with torch.no_grad():
        scores = classifier.model(normalise(clip_CTHW, classifier.preprocessing)[None]).softmax(1)[0]
    assert scores.std() > 0.05
    for label, score in zip(classifier.labels, scores.tolist(), strict=True):
        assert found[label] == pytest.approx(score, abs=1e-4)


@torch.no_grad()
def test_a_model_that_expects_bgr_is_written_for_rgb(tmp_path: Path) -> None:
    from transformers import AutoModelForVideoClassification

    from timesformer.video.transforms import normalise

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channels="bgr")
    save_as(classifier, tmp_path / "model", "huggingface")
    theirs = AutoModelForVideoClassification.from_pretrained(tmp_path / "model").eval()
    clips = torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    ours = classifier.model(normalise(clips, classifier.preprocessing))
    rgb = normalise(clips, classifier.preprocessing.model_copy(update={"channels": "rgb"}))
    assert (theirs(rgb.transpose(1, 2)).logits - ours).abs().max() <= 1e-4
    again = load_model(tmp_path / "model")
    assert again.preprocessing.channels == "bgr"
    assert torch.equal(again.model.embedding.projection.weight, classifier.model.embedding.projection.weight)


@torch.no_grad()
def test_a_copy_fine_tuned_by_transformers_comes_back(tmp_path: Path) -> None:
    from transformers import TimesformerForVideoClassification

    before = random_classifier(sampling=Sampling(rate=7), channels="bgr", model={"drop_path": 0.3})
    save_as(before, tmp_path / "model", "huggingface")
    names = {0: "v", 1: "w", 2: "x", 3: "y", 4: "z"}
    theirs = TimesformerForVideoClassification.from_pretrained(
        tmp_path / "model", num_labels=5, id2label=names, ignore_mismatched_sizes=True
    ).eval()
    theirs.timesformer.embeddings.patch_embeddings.projection.weight.add_(0.1)
    theirs.save_pretrained(tmp_path / "tuned")
    after = load_model(tmp_path / "tuned")
    assert after.labels == ("v", "w", "x", "y", "z")
    assert (after.preprocessing.sampling.rate, after.preprocessing.channels) == (7, "bgr")
    clips = torch.randn(2, 3, 4, 32, 32)
    assert (after.model(clips.flip(1)) - theirs(clips.transpose(1, 2)).logits).abs().max() <= 1e-4

    renamed = without_ours(
        tmp_path / "model",
        timesformer=json.loads((tmp_path / "model/config.json").read_text())["timesformer"],
        id2label={"0": "r", "1": "s", "2": "t"},
    )
    after = load_model(renamed)
    assert after.labels == ("r", "s", "t")
    assert after.model.settings == before.model.settings


def test_the_norms_epsilon_goes_both_ways(tmp_path: Path) -> None:
    before = random_classifier(model={"norm_epsilon": 1e-12})
    save_as(before, tmp_path / "model", "huggingface")
    assert load_model(without_ours(tmp_path / "model")).model.settings.norm_epsilon == 1e-12


def test_the_facts_of_the_training_go_along(tmp_path: Path) -> None:
    before = random_classifier()
    save_as(before, tmp_path / "model", "huggingface")
    card = (tmp_path / "model" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert "| data | mine |" in card
    for layout in ("official", "mmaction2", "huggingface", "native"):
        save_as(before, tmp_path / f"to-{layout}", layout)
        assert load_model(tmp_path / f"to-{layout}").facts == {"data": "mine", "licence": "mit"}


@torch.no_grad()
def test_weights_of_several_classes_a_video(tmp_path: Path) -> None:
    """problem_type decides, there and back; transformers then gives the same scores."""
    import transformers

    found = load_model(CASES / "hf_multilabel")
    assert found.model.settings.multilabel
    assert found.labels == ("a", "b", "c")
    save_as(found, tmp_path / "model", "huggingface")
    again = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    assert again.problem_type == "multi_label_classification"
    assert load_model(tmp_path / "model").model.settings == found.model.settings
    assert load_model(without_ours(tmp_path / "model")).model.settings.multilabel
    with pytest.raises(WeightsError, match="official layout cannot express multilabel True"):
        save_as(found, tmp_path / "model.pyth", "official")

    single = save_as(random_classifier(), tmp_path / "single", "huggingface")
    assert "problem_type" not in json.loads((single / "config.json").read_text())
    for kind, multilabel in ((None, False), ("single_label_classification", False)):
        assert (
            load_model(without_ours(copy_of(single, tmp_path), problem_type=kind)).model.settings.multilabel
            == multilabel
        )
    changed = copy_of(single, tmp_path)  # as fine-tuning there for several classes a video does
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    assert load_model(changed).model.settings.multilabel
    with pytest.raises(WeightsError, match=r"config\.json: problem_type is 'regression'; expected single_label_class"):
        load_model(without_ours(copy_of(single, tmp_path), problem_type="regression"))


def copy_of(folder: Path, parent: Path) -> Path:
    return Path(shutil.copytree(folder, parent / "copy", dirs_exist_ok=True))


def test_class_names_of_others(tmp_path: Path) -> None:
    folder = save_as(random_classifier(), tmp_path / "model", "huggingface")
    without_ours(folder)
    assert load_model(folder).labels == ("a", "b", "c")
    config = json.loads((folder / "config.json").read_text())
    for names in (None, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}):
        (folder / "config.json").write_text(json.dumps(config | {"id2label": names}))
        assert load_model(folder).labels == ("0", "1", "2")


def test_something_something_as_the_hub_has_it(tmp_path: Path) -> None:
    """The hub's folders hold the official tensors, which expect BGR and segments."""
    model = TimeSformer(**TINY | {"num_classes": 174})
    classifier = Classifier(model, Preprocessing(), tuple(str(number) for number in range(174)))
    found = load_model(without_ours(save_as(classifier, tmp_path / "model", "huggingface")))
    assert (found.preprocessing.channels, found.preprocessing.sampling.method) == ("bgr", "segments")
    assert torch.equal(found.model.embedding.projection.weight, model.embedding.projection.weight)


@torch.no_grad()
@pytest.mark.parametrize(("patch", "hidden"), [(4, 96), (12, 192), (24, 131)])
def test_any_patch_and_hidden_size_that_transformers_takes(patch: int, hidden: int, tmp_path: Path) -> None:
    """Also an MLP that is no multiple of the width: 1920 of 704 once became 1919."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    theirs = TimesformerForVideoClassification(
        TimesformerConfig(
            image_size=24,
            patch_size=patch,
            num_frames=2,
            hidden_size=48,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=hidden,
            num_labels=5,
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs").model
    clips = torch.randn(2, 3, 2, 24, 24)
    torch.testing.assert_close(ours(clips), theirs(clips.transpose(1, 2)).logits, rtol=0, atol=1e-5)


def test_a_hidden_size_that_rounding_down_would_lose() -> None:
    assert TimeSformer(width=704, depth=1, heads=11, mlp_ratio=1920 / 704, num_classes=2).settings.hidden == 1920
