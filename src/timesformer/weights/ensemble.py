"""Several classifiers of the same classes as one: the scores of a video are the mean of theirs.

An ensemble is a folder: config.json, {"format": "timesformer-ensemble", "version": 1, "members": ["fold1", "fold2"]},
and beside it a folder of each member's own weights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesformer.data.layouts import some
from timesformer.errors import WeightsError
from timesformer.files import as_json, flush
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.description import ENSEMBLE, is_ensemble
from timesformer.weights.native import FILES, is_native
from timesformer.weights.read import find_weights
from timesformer.weights.shards import is_name
from timesformer.weights.storage import new_folder, read_json

VERSION = 1
OWN = ("mean", "std", "channels", "window")  # of each member's preprocessing


def load_classifiers(
    weights: str | Path, *, labels: str | Path | None = None, heads: int | None = None
) -> tuple[Classifier, ...]:
    """The classifier that WEIGHTS names, or the members of an ensemble.

    weights, labels, heads: as for `timesformer.load_model`, and the same errors. Raises WeightsError for an ensemble
    whose members do not go together, see `check_members`.
    """
    folder = _find_ensemble(weights)
    if folder is None:
        return (load_model(weights, labels=labels, heads=heads),)
    members = [folder / name for name in _names(folder)]
    classifiers = tuple(load_model(member, labels=labels) for member in members)
    check_members(members, classifiers)
    return classifiers


def save_ensemble(members: Mapping[str, str | Path], folder: str | Path) -> Path:
    """Write a new folder that `timesformer.load`, `load_engine` and `evaluate` take as one classifier; returns it.

    members: folders of this package's weights, or of training runs, by the name that each gets in the ensemble. They
    may differ in architecture and size; their classes, clips and test protocol must be the same. Their files are
    linked where the file system can, and copied elsewhere.

    Raises WeightsError for members that do not go together or are of another layout, and where the folder exists or
    cannot be written.
    """
    target, sources = Path(folder), {name: find_weights(weights) for name, weights in members.items()}
    if target.exists():
        raise WeightsError(f"{target}: exists already; name a new folder")
    if not sources or not all(map(is_name, sources)):
        raise WeightsError(f"{target}: members {', '.join(sources) or 'none'}; expected one or more names of folders")
    for source in sources.values():
        if not (source.is_dir() and is_native(read_json(source / "config.json"))):
            raise WeightsError(f"{source}: weights of another layout; `timesformer convert` makes a folder of this one")
    check_members(list(sources.values()), [load_model(source) for source in sources.values()])
    with new_folder(target, FILES) as new:
        for name, source in sources.items():
            (new / name).mkdir()
            for file in filter(Path.is_file, (source / file for file in FILES)):
                _link(file, new / name / file.name)
        described = {"format": ENSEMBLE, "version": VERSION, "members": list(sources)}
        (new / "config.json").write_text(as_json(described, indent=2) + "\n", "utf-8")
    return target


def check_members(names: Sequence[str | Path], members: Sequence[Classifier]) -> None:
    """Raises WeightsError, in one line, unless all members have the classes of the first and are given its clips."""
    first = _traits(members[0])
    for name, member in zip(names, members, strict=True):
        for what, value in _traits(member).items():
            if value != first[what]:
                theirs, firsts = _shown(value, first[what]), _shown(first[what], value)
                raise WeightsError(
                    f"{name}: {what} {theirs}, but {names[0]} has {firsts}; the members of an ensemble have the same"
                )


def _traits(classifier: Classifier) -> dict[str, Any]:
    """What members share: classes, and all that makes clips of a video but what each does with their pixels.
    A timeline's windows are the first's."""
    settings, preprocessing = classifier.model.settings, classifier.preprocessing.model_dump()
    shared = {name: value for name, value in preprocessing.items() if name not in OWN}
    return {"classes": classifier.labels, "multilabel": settings.multilabel, "clips": settings.clip_shape, **shared}


def _shown(value: Any, other: Any) -> str:
    """A trait in a message; of classes those that the other does not have, or all in their order."""
    if isinstance(value, tuple) and all(isinstance(name, str) for name in value):
        return some([name for name in value if name not in other] or value)
    return str(value)


def _find_ensemble(weights: str | Path) -> Path | None:
    """The folder of an ensemble on this machine that WEIGHTS names; None for anything else."""
    if not Path(weights).exists():
        return None
    found = find_weights(weights)
    return found if found.is_dir() and is_ensemble(read_json(found / "config.json")) else None


def _names(folder: Path) -> list[str]:
    config = read_json(folder / "config.json")
    names = config.get("members")
    if config.get("version") != VERSION:
        raise WeightsError(f"{folder}: an ensemble of version {config.get('version')!r}; this package reads {VERSION}")
    if not (isinstance(names, list) and names and all(isinstance(name, str) and is_name(name) for name in names)):
        raise WeightsError(f"{folder}: an ensemble with members {names!r}; expected names of folders in it")
    return names


def _link(source: Path, target: Path) -> None:
    """The same file under another name, which costs no space; a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        flush(target)
