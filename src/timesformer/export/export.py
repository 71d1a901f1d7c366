"""A classifier in a file that other runtimes read: checked against the float32 model before it is written."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.engine.agreement import reference_logits, synthetic_clip
from timesformer.engine.build import portable_network
from timesformer.engine.engine import of_file
from timesformer.engine.file import FileRun, open_file
from timesformer.engine.graphs import Open
from timesformer.errors import EngineError, SettingError, VideoError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.scores import to_scores
from timesformer.export.check import (
    FILE_LIMITS,
    Checked,
    check_scores,
    of_few,
    other_shapes,
    some_of,
    synthetic_clips,
    video_clips,
)
from timesformer.export.formats import check_format, left_open, program_of, write_file, written_files
from timesformer.export.manifest import check_of, describe_file, files_of
from timesformer.files import as_json, flush, replacing
from timesformer.inference.listed import find_data
from timesformer.inference.sources import Sources, find_sources
from timesformer.video.source import Source
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.exports import Format

CPU = torch.device("cpu")


class ExportedModel(NamedTuple):
    """What was written.

    file, manifest: their paths. checked: how its scores compare with the float32 model's; other_shapes: the same on
    synthetic clips of other shapes, where it leaves any open. skipped: videos to check on that could not be read.
    bytes: of the file, or of both.
    """

    file: Path
    manifest: Path
    checked: Checked
    other_shapes: Checked | None
    skipped: tuple[VideoError, ...]
    bytes: int


def export_model(
    weights: str | Path | Classifier,
    out: str | Path,
    form: str,
    *,
    precision: str = "fp32",
    check: Sources | None = None,
    dynamic: Collection[str] = (),
    labels: str | Path | None = None,
    heads: int | None = None,
) -> ExportedModel:
    """Write a classifier as a file of ONNX, OpenVINO or torch.export; returns what was written.

    The file takes uint8 RGB clips (batch, 3, frames, rows, columns) named "clips", and gives "scores" and "logits"
    (batch, classes) and "features" (batch, channels). It says itself, and so does the manifest beside it (OUT.json),
    how a video becomes such clips, what the classes are called, and what it was made with. `timesformer.load`,
    `load_engine` and `evaluate` take it as weights.

    weights, labels, heads: as for `timesformer.load_model`, or a classifier. form: "onnx", "openvino" or "torch".
    precision: "fp32", "fp16", "bf16" or "int8". check: a data set or videos that the file is compared with the float32
    model on, and that int8 is calibrated on; without any, seeded synthetic clips. dynamic: what the file leaves open,
    of "batch", "frames" and "size"; the rest is as the weights have it, and the batch 1 (OpenVINO's is always open).

    Raises EngineError, and writes nothing, where the file's scores miss the limits of `timesformer.export.check`;
    SettingError for a format, precision or axis that is not possible and for OUT that exists or is no such file's name;
    WeightsError as `load_model` does; DataError where no video of `check` can be read.
    """
    out = Path(out)
    found = check_format(form, precision, out)
    manifest = out.with_name(f"{out.name}.json")
    for path in (*written_files(out, found), manifest):
        if path.exists():
            raise SettingError(f"{path}: exists already; name a new file")
    if not out.parent.is_dir():
        raise SettingError(f"{out}: there is no folder {out.parent}")
    if precision == "int8" and check is None:
        raise SettingError("precision int8 is calibrated on videos like those to come: --check DATA names some")
    if isinstance(weights, Classifier):
        classifier = weights if labels is None else weights.with_labels(labels)
    else:
        classifier = load_model(weights, labels=labels, heads=heads)
    opened = left_open(classifier.settings, dynamic, found)
    sources = None if check is None else some_of(_sources(check))
    with torch.inference_mode(False), torch.no_grad():
        return _export(classifier, out, manifest, found, precision, opened, sources, check)


def _export(
    classifier: Classifier,
    out: Path,
    manifest: Path,
    form: Format,
    precision: str,
    opened: Open,
    sources: Sequence[Source] | None,
    check: Sources | None,
) -> ExportedModel:
    settings = classifier.settings
    calibrating = calibration_clips(sources, classifier) if sources is not None and precision == "int8" else None
    any_shape = not {"frames", "size"}.isdisjoint(opened.axes)
    network = portable_network(classifier, precision, calibrating, any_shape=any_shape)
    program = program_of(network, settings, opened)
    clip = synthetic_clip(settings.clip_shape)
    describes = describe_file(classifier, form, precision, opened, _float32(classifier, clip), network(clip))
    del network
    skipped: list[VideoError] = []
    float32_scores = functools.partial(_float32_scores, classifier)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        file = Path(folder) / out.name
        write_file(program, form, precision, as_json(describes), file)
        opened_file = open_file(file)
        of_file(opened_file)  # as it will be loaded
        run = FileRun(opened_file, CPU)
        clips = (
            synthetic_clips(settings.clip_shape)
            if sources is None
            else video_clips(sources, classifier, skipped.append)
        )
        checked, others = check_scores(clips, run.scores, float32_scores, FILE_LIMITS[precision]), None
        if shapes := other_shapes(settings, opened):
            others = check_scores(shapes, run.scores, float32_scores, of_few(precision))
        for found, of in ((checked, ""), (others, " on clips of other shapes")):
            if found is not None and found.problem:
                raise EngineError(f"{out}: not written, {precision} misses its agreement{of}: {found.problem}")
        files = written_files(file, form)
        written = files_of(files)
        total = sum(one["bytes"] for one in written.values())
        on = None if sources is None else str(check) if isinstance(check, str | Path) else "a list"
        check_says = check_of(checked, on, len(skipped), others, shapes)
        manifested = {**describes, "check": check_says, "files": written}
        for path in files[:-1]:
            flush(path)
            path.replace(out.with_name(path.name))
        with replacing(manifest) as temporary:
            temporary.write_text(as_json(manifested, indent=2) + "\n", "utf-8")
        flush(file)
        file.replace(out)
        flush(out.parent)
    return ExportedModel(out, manifest, checked, others, tuple(skipped), total)


def _float32(classifier: Classifier, clips: Tensor) -> Tensor:
    return reference_logits(classifier, clips, CPU, lambda: None)


def _float32_scores(classifier: Classifier, clips: Tensor) -> Tensor:
    return to_scores(_float32(classifier, clips), multilabel=classifier.settings.multilabel)


def _sources(check: Sources) -> list[Source]:
    """The videos of a data set, of all its splits, or those that are named."""
    listed = find_data(check) if isinstance(check, str | Path) else None
    return listed.paths if listed is not None else find_sources(check)
