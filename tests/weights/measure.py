"""Largest differences from the original codes, as numbers: python tests/weights/measure.py [FOLDER OF DINOv2-small]

The tests assert bounds; this prints what docs/weights.md quotes. A minute, four of the seven models being ViT-B.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import save_as
from timesformer.weights.initialise import initialise_classifier
from timesformer.weights.resize import resize_classifier

PARITY = Path(__file__).parents[1] / "data" / "parity"
SCHEMES = ("space_only", "joint_space_time", "divided_space_time")
CONFIGS = {
    "small": {
        "image_size": 32,
        "patch_size": 8,
        "num_frames": 4,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 120,
        "num_labels": 7,
        "layer_norm_eps": 1e-5,
    },
    "base": {"num_labels": 400},
}


def parity() -> float:
    worst = 0.0
    for source, suffix, cases in (
        ("official", "pyth", ("native", "larger", "longer")),
        ("mmaction2", "pth", ("native",)),
    ):
        for scheme in SCHEMES:
            classifier = load_model(PARITY / f"{source}_{scheme}.{suffix}")
            expected = load_file(PARITY / f"{source}_{scheme}.expected.safetensors")
            for case in cases:
                clips = expected[f"{case}.video"]
                resized = resize_classifier(classifier, clips.shape[-1], clips.shape[2])
                for model in (classifier.model, resized.model):
                    features = model.forward_features(clips)
                    for name, found in (("features", features), ("logits", model.forward_head(features))):
                        worst = max(worst, (found - expected[f"{case}.{name}"]).abs().max().item())
    return worst


def against_transformers(size: str, scheme: str, folder: Path) -> tuple[float, bool]:
    """The largest difference of logits, and whether the tensors come back bit-equal."""
    torch.manual_seed(0)
    config = transformers.TimesformerConfig(**CONFIGS[size], attention_type=scheme)
    theirs = transformers.TimesformerForVideoClassification(config).eval()
    for name, parameter in theirs.named_parameters():
        if "temporal_dense" in name or "time_embeddings" in name or name.endswith("bias"):
            parameter.normal_(0, 0.05)
    theirs.save_pretrained(folder / "theirs")
    ours = load_model(folder / "theirs")
    clips = torch.randn(1, 3, config.num_frames, config.image_size, config.image_size)
    expected = theirs(clips.transpose(1, 2)).logits
    if scheme == "space_only":  # transformers gives its logits frame by frame
        clips = clips.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    difference = (ours.model(clips) - expected).abs().max().item()
    save_as(ours, folder / "back", "huggingface")
    back = transformers.AutoModelForVideoClassification.from_pretrained(folder / "back").state_dict()
    return difference, all(torch.equal(tensor, back[name]) for name, tensor in theirs.state_dict().items())


def against_videomae(folder: Path) -> float:
    torch.manual_seed(0)
    theirs = transformers.VideoMAEForVideoClassification(transformers.VideoMAEConfig(num_labels=400)).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, 0.05)
    theirs.save_pretrained(folder)
    clips = torch.randn(1, 3, 16, 224, 224)
    return (load_model(folder).model(clips) - theirs(clips.transpose(1, 2)).logits).abs().max().item()


def against_dinov2(folder: str) -> float:
    theirs = transformers.Dinov2Model.from_pretrained(folder).eval()
    side = theirs.config.image_size
    recipe = TimeSformerSettings(
        scheme="space_only", num_frames=1, image_size=side, patch_size=theirs.config.patch_size
    )
    ours = initialise_classifier(recipe, Preprocessing(), ("a", "b"), folder).classifier.model.eval()
    image = torch.randn(1, 3, side, side)
    expected = theirs(image).last_hidden_state[:, 0]
    return (ours.forward_features(image.unsqueeze(2)) - expected).abs().max().item()


def main() -> None:
    torch.set_grad_enabled(False)
    logging.disable()
    transformers.utils.logging.disable_progress_bar()
    print(f"parity, 12 cases, features and logits: {parity():.2g}")
    for size in CONFIGS:
        for scheme in SCHEMES:
            with tempfile.TemporaryDirectory() as folder:
                difference, equal = against_transformers(size, scheme, Path(folder))
            print(
                f"transformers {transformers.__version__}, {size}, {scheme}: {difference:.2g}, "
                f"back {'bit-equal' if equal else 'DIFFERENT'}"
            )
    with tempfile.TemporaryDirectory() as folder:
        print(f"transformers {transformers.__version__}, VideoMAE, base: {against_videomae(Path(folder)):.2g}")
    for folder in sys.argv[1:]:
        print(f"{folder}, class token of one frame: {against_dinov2(folder):.2g}")


if __name__ == "__main__":
    main()
