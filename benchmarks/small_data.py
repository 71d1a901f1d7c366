"""A few hundred clips: what frozen image features know of them, and what a recipe of ours learns.

    python benchmarks/small_data.py DATA DINOV2 [RUN...]

DATA: a data set with train and test splits, such as ../shared/datasets/surveillance-fight. DINOV2: a folder of
DINOv2-small. RUN: finished runs of `timesformer train` on DATA, tested as they say themselves. The baseline is the mean
over 8 evenly spaced frames of the class token of frozen DINOv2 (224 pixels, centre crop) and logistic regression, for
several strengths of regularisation: the best of them on the test split counts.
"""

from __future__ import annotations

import sys

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from timesformer.config import Data, Preprocessing, Sampling, TimeSformerSettings
from timesformer.data.dataset import TestingViews
from timesformer.data.loader import testing_loader
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.evaluation.evaluate import evaluate
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier
from timesformer.weights.initialise import initialise_classifier


def frame_means(classifier: Classifier, manifest: Manifest) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (videos, D) and labels of a split."""
    views = TestingViews(manifest, classifier.model.settings.clip_shape, classifier.preprocessing)
    features, labels = [], []
    for batch in testing_loader(views, 8, Data()):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            clips = normalise(batch.views_VCTSS, classifier.preprocessing)
            features.append(classifier.model.forward_features(clips).float())
        labels.append(batch.labels_B)
    return torch.cat(features), torch.cat(labels)


def main() -> None:
    data, dinov2, *runs = sys.argv[1:]
    training = read_manifest(data, "train")
    testing = read_manifest(data, "test").with_labels(training.labels)
    share = max(sum(label == number for _, label in testing.videos) for number in range(len(training.labels)))
    print(f"most frequent class of the test split   {share / len(testing.videos):.3f}")
    # space_only averages the frames' class tokens; its weights are the image model's alone.
    architecture = TimeSformerSettings(scheme="space_only", image_size=224, patch_size=14, num_frames=8)
    preprocessing = Preprocessing(sampling=Sampling(method="segments"), test_crops=1)
    frozen = initialise_classifier(architecture, preprocessing, training.labels, dinov2).classifier
    frozen.model.eval()
    (train, answers), (held, truth) = (frame_means(frozen, manifest) for manifest in (training, testing))
    for strength in (0.0001, 0.001, 0.01, 0.1, 1, 10):
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        regression.fit(train.numpy(), answers.numpy())
        print(f"frozen DINOv2, logistic, C = {strength:<10} {regression.score(held.numpy(), truth.numpy()):.3f}")
    for run in runs:
        print(f"{run:40}{evaluate(run, data).summary()['top1']:.3f}")


if __name__ == "__main__":
    main()
