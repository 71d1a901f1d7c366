"""Configurations of Hugging Face that contradict their tensors, and those that only seem to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_huggingface import copy_of, random_classifier, without_ours

from timesformer.errors import WeightsError
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import save_as

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


@pytest.mark.parametrize("ours", [False, True])
def test_configurations_that_contradict_their_tensors(tmp_path: Path, ours: bool) -> None:
    """transformers makes the model that config.json describes, tables too: it resizes for clips, not on loading."""
    whole = save_as(random_classifier(), tmp_path / "whole", "huggingface")
    for changes, message in (
        ({"num_frames": 8}, "num_frames is 8, the tensors have 4"),
        ({"hidden_size": 96}, "hidden_size is 96, the tensors have 48"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, the tensors have 2"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, the tensors have 2"),
        ({"intermediate_size": 96}, "intermediate_size is 96, the tensors have 192"),
        ({"patch_size": 16}, "patch_size is 16, the tensors have 8"),
        ({"patch_size": [8, 4]}, r"patch_size is \[8, 4\], the tensors have 8"),
        ({"image_size": 64}, "image_size is 64, the tensors have 4 x 4 patches of 8 pixels"),
        ({"image_size": [16, 64]}, r"image_size is \[16, 64\], the tensors have 4 x 4 patches of 8 pixels"),
        ({"image_size": "32"}, "image_size is '32', the tensors have 4 x 4 patches"),
        (
            {"num_frames": 8, "hidden_size": 96},
            "num_frames is 8, the tensors have 4; hidden_size is 96, the tensors have 48",
        ),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "id2label has 2 names, the tensors 3 classes"),
        ({"id2label": None, "num_labels": 5}, "num_labels is 5, the tensors have 3"),
    ):
        folder = copy_of(whole, tmp_path)
        config = json.loads((folder / "config.json").read_text()) | changes
        if not ours:
            del config["timesformer"]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=rf"copy/config\.json: {message}") as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
        shutil.rmtree(folder)


@torch.no_grad()
def test_configurations_that_only_look_as_if_they_contradicted(tmp_path: Path) -> None:
    """A pair for a side, pixels beyond the last whole patch, no word at all, frames without a table."""
    from transformers import TimesformerForVideoClassification

    whole = save_as(random_classifier(), tmp_path / "whole", "huggingface")
    for changes in ({"image_size": [32, 32], "patch_size": [8, 8]}, {"image_size": 38}):
        folder = without_ours(copy_of(whole, tmp_path), **changes)
        assert load_model(folder).model.settings.image_size == 32
    theirs = TimesformerForVideoClassification.from_pretrained(
        folder
    ).eval()  # of a pair it makes a model, but no logits
    clips = torch.randn(1, 3, 4, 38, 38)
    found = load_model(folder).model(clips[..., :32, :32])
    assert (found - theirs(clips.transpose(1, 2)).logits).abs().max() <= 1e-4
    config = json.loads((folder / "config.json").read_text())
    names = ("image_size", "patch_size", "num_frames", "hidden_size", "num_hidden_layers", "intermediate_size")
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key not in names}))
    assert load_model(folder).model.settings.num_frames == 4
    frames = save_as(random_classifier(model={"scheme": "space_only"}), tmp_path / "space", "huggingface")
    assert load_model(without_ours(frames, num_frames=16)).model.settings.num_frames == 16
