"""The code on the card of a Hugging Face folder, run as it stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_huggingface import random_classifier

import videos
from timesformer.config import Sampling
from timesformer.weights.convert import save_as

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def code_of(card: Path) -> str:
    """The second example of a card: the one for transformers."""
    return card.read_text().split("```python\n")[2].split("```")[0]


@pytest.mark.parametrize(
    ("model", "preprocessing", "words"),
    [
        ({}, {"sampling": Sampling(rate=3)}, "take 1 x 3 views"),
        (
            {"multilabel": True},
            {"channels": "bgr", "test_clips": 2, "short_side": 40, "sampling": Sampling(rate=2)},
            "2 x 3",
        ),
        ({"scheme": "joint_space_time"}, {"test_crops": 1, "sampling": Sampling(method="segments")}, "1 x 1 views"),
        ({"scheme": "space_only"}, {"sampling": Sampling(method="cover", rate=2)}, "all clips x 3 crops"),
    ],
)
def test_the_code_of_the_card_gives_our_scores(
    tmp_path: Path, model: dict[str, Any], preprocessing: dict[str, Any], words: str
) -> None:
    """As the card has it, on a video that takes all of sampling, scaling and cropping."""
    from timesformer import read_views
    from timesformer.video.transforms import normalise

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), model=model, **preprocessing)
    folder = save_as(classifier, tmp_path / "model", "huggingface")
    video = videos.write(tmp_path / "video.mp4", 40, size=(48, 64))
    views = read_views(video, classifier.model.clip_shape, classifier.preprocessing)
    with torch.no_grad():
        logits = classifier.model(normalise(views, classifier.preprocessing))
    expected = (logits.sigmoid() if model.get("multilabel") else logits.softmax(1)).mean(0)
    assert expected.std() > 0.02

    card = folder / "README.md"
    code = code_of(card).replace("THIS_FOLDER_OR_HUB_ID", str(folder)).replace("video.mp4", str(video))
    names: dict[str, Any] = {}
    exec(code, names)
    assert (names["scores"] - expected).abs().max() <= 1e-5
    assert words in card.read_text()
    spans = classifier.preprocessing.sampling.method == "span"
    assert (f"frame_sampling_rate={classifier.preprocessing.sampling.rate:g}`" in card.read_text()) == spans
