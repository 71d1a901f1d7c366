"""Hugging Face's processor files under all their names, read and written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_huggingface import CASES, random_classifier, without_ours

from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import save_as

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def test_what_of_sampling_the_processors_can_say(tmp_path: Path) -> None:
    for method, spread in (("segments", True), ("span", False), ("cover", False)):
        folder = save_as(random_classifier(sampling=Sampling(method=method)), tmp_path / method, "huggingface")
        old, new = (
            json.loads((folder / name).read_text())
            for name in ("preprocessor_config.json", "video_preprocessor_config.json")
        )
        assert old.pop("image_processor_type") == "VideoMAEImageProcessor"
        assert new.pop("video_processor_type") == "TimesformerVideoProcessor"
        assert new == old | {"num_frames": 4, "do_sample_frames": spread}


def test_processors_of_others(tmp_path: Path) -> None:
    """Pixels as ((x * rescale_factor) - mean) / std; sizes; no file at all."""
    folder = save_as(random_classifier(), tmp_path / "model", "huggingface")
    without_ours(folder)
    (folder / "video_preprocessor_config.json").unlink()
    file = folder / "preprocessor_config.json"
    whole = json.loads(file.read_text())
    for change, mean, std, side in (
        ({"image_mean": [0.1, 0.2, 0.3]}, (0.1, 0.2, 0.3), (0.225,) * 3, None),
        ({"rescale_factor": 1 / 127.5}, (0.225,) * 3, (0.1125,) * 3, None),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51] * 3}, (0.5,) * 3, (0.2,) * 3, None),
        ({"do_normalize": False}, (0.0,) * 3, (1.0,) * 3, None),
        ({"size": {"shortest_edge": 40}}, (0.45,) * 3, (0.225,) * 3, 40),
        ({"size": 40}, (0.45,) * 3, (0.225,) * 3, 40),
        ({"size": {"shortest_edge": 8}}, (0.45,) * 3, (0.225,) * 3, 32),  # no crop of 32 fits in 8
        ({"size": {"height": 32, "width": 32}}, (0.45,) * 3, (0.225,) * 3, None),
    ):
        file.write_text(json.dumps(whole | change))
        found = load_model(folder).preprocessing
        assert found.mean == pytest.approx(mean)
        assert found.std == pytest.approx(std)
        assert found.short_side == side
    file.unlink()
    assert load_model(folder).preprocessing == Preprocessing(sampling=Sampling(rate=64))


def test_processors_by_all_their_names(tmp_path: Path) -> None:
    """transformers 5 writes video_preprocessor_config.json; processor_config.json nests it: as it finds them."""
    case = CASES / "hf_video_preprocessor"
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    found = load_model(case).preprocessing
    assert (found.mean, found.std) == imagenet
    new = json.loads((case / "video_preprocessor_config.json").read_text())
    old = new | {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"shortest_edge": 20}}
    for number, (files, first) in enumerate(
        (
            ({"processor_config.json": {"video_processor": new}}, True),
            ({"processor_config.json": {"image_processor": new}}, True),
            ({"processor_config.json": {"video_processor": new, "image_processor": old}}, True),
            ({"processor_config.json": {"video_processor": new}, "video_preprocessor_config.json": old}, True),
            ({"processor_config.json": {"image_processor": new}, "preprocessor_config.json": old}, True),
            ({"processor_config.json": {"image_processor": old}, "video_preprocessor_config.json": new}, True),
            ({"video_preprocessor_config.json": new, "preprocessor_config.json": old}, True),
            ({"processor_config.json": {"processor_class": "X"}, "preprocessor_config.json": new}, True),
            ({"preprocessor_config.json": old}, False),
            ({"preprocessor_config.json": new | {"do_rescale": None, "do_normalize": None}}, True),
        )
    ):
        folder = Path(shutil.copytree(case, tmp_path / str(number)))
        (folder / "video_preprocessor_config.json").unlink()
        for name, values in files.items():
            (folder / name).write_text(json.dumps(values))
        found = load_model(folder).preprocessing
        assert (found.mean, found.std) == (imagenet if first else ((0.1,) * 3, (0.2,) * 3)), files
        assert found.short_side == (None if first else 20)
    broken = {"video_processor": new | {"rescale_factor": 0}}
    (folder / "processor_config.json").write_text(json.dumps(broken))
    with pytest.raises(WeightsError, match=r"processor_config\.json: pixel scale cannot be read: rescale_factor 0"):
        load_model(folder)
    (folder / "processor_config.json").write_text(json.dumps({"video_processor": 3}))
    with pytest.raises(WeightsError, match=r"processor_config\.json: video_processor is 3; expected values by name"):
        load_model(folder)
