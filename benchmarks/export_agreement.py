"""Write networks of all schemes in ONNX and OpenVINO, in every precision, and print how the files compare with float32.

    python benchmarks/export_agreement.py DATA [--schemes ...] [--precisions ...] [--clips N]

DATA: class folders of videos. The networks are those of recipe finetune-small, trained for STEPS steps on one view of
N videos; files are held against the float32 model on these clips, by the code of `timesformer export --check`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from timesformer.baselines.architectures import build_model
from timesformer.config import SCHEMES
from timesformer.data.folders import find_videos
from timesformer.engine.agreement import reference_logits
from timesformer.engine.build import portable_network
from timesformer.engine.file import FileRun, open_file
from timesformer.errors import EngineError
from timesformer.evaluation.calibration import CALIBRATION_VIDEOS
from timesformer.export.check import FILE_LIMITS, check_scores
from timesformer.export.formats import PRECISIONS, left_open, program_of, write_file, written_files
from timesformer.export.manifest import describe_file
from timesformer.files import as_json
from timesformer.recipes import load_recipe
from timesformer.video.transforms import normalise
from timesformer.video.views import read_views
from timesformer.weights.classifier import Classifier
from timesformer.weights.exports import SUFFIXES

CPU = torch.device("cpu")
STEPS, BATCH, RATE = 150, 16, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    parser.add_argument("--precisions", nargs="+", choices=FILE_LIMITS, default=list(FILE_LIMITS))
    parser.add_argument("--clips", type=int, default=200)
    asked = parser.parse_args()
    torch.manual_seed(0)
    found = find_videos(asked.data)
    videos = [found[number * len(found) // asked.clips] for number in range(asked.clips)]
    names = sorted({video.parent.name for video in videos})
    labels = torch.tensor([names.index(video.parent.name) for video in videos])
    clips: torch.Tensor | None = None
    classifiers: dict[str, Classifier] = {}
    for scheme in asked.schemes:
        changes = (f"model.scheme={scheme}", f"model.class_token_in_time={str('time' in SCHEMES[scheme]).lower()}")
        recipe: Any = load_recipe("finetune-small", changes)
        settings = recipe.model.model_copy(update={"num_classes": len(names)})
        if clips is None:
            clips = torch.cat([read_views(video, settings.clip_shape, recipe.preprocessing) for video in videos])
        classifiers[scheme] = Classifier(build_model(settings), recipe.preprocessing, tuple(names))
        right = train(classifiers[scheme], clips, labels)
        print(f"{scheme}: {len(clips)} clips, {right:.0%} of them right after {STEPS} steps", flush=True)
    assert clips is not None
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for precision in asked.precisions:
            for scheme, classifier in classifiers.items():
                classifier.model.eval()
                for line in check(classifier, clips, precision, Path(folder)):
                    print(f"{scheme}, {line}", flush=True)


def check(classifier: Classifier, clips: torch.Tensor, precision: str, folder: Path) -> Iterator[str]:
    """The files of a precision against the model."""
    settings, opened = classifier.settings, left_open(classifier.settings, ("batch",), "onnx")
    calibrating = clips[:: len(clips) // CALIBRATION_VIDEOS][:CALIBRATION_VIDEOS]
    network = portable_network(classifier, precision, calibrating, any_shape=False)
    program = program_of(network, settings, opened)
    some = torch.zeros(1, settings.num_classes)
    expected = reference_logits(classifier, clips, CPU, lambda: None).softmax(1)
    for form in ("onnx", "openvino"):
        if precision not in PRECISIONS[form]:
            continue
        file = folder / f"{precision}{SUFFIXES[form]}"
        says = as_json(describe_file(classifier, form, precision, opened, some, some))
        write_file(program, form, precision, says, file)
        try:
            run = FileRun(open_file(file), CPU)
        except EngineError as error:
            yield f"{form} {precision}: {error}"
            continue
        found = check_scores([clips], run.scores, lambda batch: expected, FILE_LIMITS[precision])
        size = sum(part.stat().st_size for part in written_files(file, form))
        yield f"{form} {precision}, {size / 1e6:.2f} MB: {found.problem or found}"


def train(classifier: Classifier, clips: torch.Tensor, labels: torch.Tensor) -> float:
    """Train a classifier on clips as they are; the fraction of them that are then classified rightly."""
    model = classifier.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    for _ in range(STEPS):
        rows = torch.randint(len(clips), (BATCH,))
        loss = F.cross_entropy(model(normalise(clips[rows], classifier.preprocessing)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = torch.cat([model(normalise(some, classifier.preprocessing)) for some in clips.split(BATCH)])
    return float((logits.argmax(1) == labels).float().mean())


if __name__ == "__main__":
    main()
