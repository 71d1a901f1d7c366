"""A predictor from weights."""

from __future__ import annotations

from pathlib import Path

from timesformer.engine.engine import EngineName, Precision, make_engine
from timesformer.engine.file import ExportedFile
from timesformer.engine.fingerprint import fingerprint_of
from timesformer.errors import SettingError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.protocol import as_classifiers
from timesformer.inference.predictor import UNKNOWN, Predictor
from timesformer.inference.sources import Sources, list_sources
from timesformer.weights.classifier import Classifier


def load(
    weights: str | Path | Classifier,
    device: str = "auto",
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    calibration: Sources = (),
    labels: str | Path | None = None,
    heads: int | None = None,
    threshold: float = 0.0,
) -> Predictor:
    """A predictor from weights of any layout: a folder, a file, the folder of a training run, or a hub id.

    weights: these, an ensemble of them (`timesformer.save_ensemble`), or a classifier. device: "cpu", "cuda", "mps", or
    "auto", which takes a GPU where there is one. engine, precision: as for `timesformer.load_engine`. calibration:
    videos like those to come, which precision "int8" needs, better 16 than 1; any engine given some is compared with
    the float32 model on them. labels: a file of class names, one a line, in place of those that come with the weights.
    heads: attention heads, for files that do not say. threshold: the lowest score, 0 to 1, of a class that is an
    answer; where none has it the answer is "unknown", with the score of the best class. It is of `predict` and
    `predict_all` alone: rows of `timeline` have the best class whatever its score.

    Raises WeightsError for what is no weights; SettingError for a device, engine or precision that is not available,
    for a threshold that is no score, and for one beside a class "unknown"; EngineError for an engine that misses its
    agreement; DataError where no video of `calibration` can be read.
    """
    return load_members(
        weights,
        device,
        engine=engine,
        precision=precision,
        calibration=calibration,
        labels=labels,
        heads=heads,
        threshold=threshold,
    )[1]


def load_members(
    weights: str | Path | Classifier,
    device: str = "auto",
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    calibration: Sources = (),
    labels: str | Path | None = None,
    heads: int | None = None,
    threshold: float = 0.0,
) -> tuple[tuple[Classifier | ExportedFile, ...], Predictor]:
    """As `load`, with the classifiers that the predictor is made of, several for an ensemble."""
    if not 0 <= threshold <= 1:
        raise SettingError(f"threshold {threshold:g}: expected a score from 0 to 1")
    members = as_classifiers(weights, labels, heads)
    classifier = members[0]
    if threshold and UNKNOWN in classifier.labels:
        raise SettingError(f"threshold {threshold:g}: there is a class {UNKNOWN!r}, which would be the answer below it")
    fingerprints = fingerprint_of(members), fingerprint_of(members, head=False)
    clips = calibration_clips(list_sources(calibration), classifier)
    # What was just read and is seen by nobody else can let go of its memory.
    made = make_engine(members, engine, precision, device, clips, forget=not isinstance(weights, Classifier))
    settings, preprocessing = classifier.settings, classifier.preprocessing
    return members, Predictor(made, settings, preprocessing, classifier.labels, *fingerprints, threshold)
