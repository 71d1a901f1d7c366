"""A program of test_engine.py: what the engine `compile` computes of two networks."""

from __future__ import annotations

import torch

from classifiers import classifier, expected, some_clips


def check_timesformer() -> None:
    """Logits and features, with a step that engines know nothing of. The one clip that is compared at load is compiled
    for that shape alone, two for any number of clips."""
    from test_features import check, forward_layer
    from test_steps import first_frame, first_frame_keys

    from timesformer.engine.engine import load_engine
    from timesformer.model.schemes import register_step

    register_step("first_frame", first_frame, first_frame_keys)
    net, clips = classifier(scheme=("time", "first_frame"), depth=1), some_clips(2, 3, 4, 32, 32)
    engine = load_engine(net, "compile", "fp32", device="cpu")
    check(engine(clips), expected(net, clips), "fp32")
    check(engine.features(clips, tokens=True), forward_layer(net, clips, -1, True), "fp32")


def check_another_architecture() -> None:
    """A model that is not TimeSformer."""
    from test_sharing import MeanPixels, MeanSettings

    from timesformer.config import Preprocessing
    from timesformer.engine.engine import load_engine
    from timesformer.weights.classifier import Classifier

    net = Classifier(
        MeanPixels(MeanSettings(num_frames=5, image_size=30, num_classes=3)), Preprocessing(), tuple("abc")
    )
    engine, clips = load_engine(net, "compile", "fp32", device="cpu"), some_clips(1, 3, 5, 30, 30)
    torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)


if __name__ == "__main__":
    check_timesformer()
    check_another_architecture()
    print("checked")
