"""The videos that a run trains on and those that validate it, checked; where the data have no `val` split, these are
cut off the former."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from timesformer.config import AnyRecipe, ProbeRecipe, Recipe
from timesformer.data.layouts import find_splits, some
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.mirror import mirrored_videos
from timesformer.data.partition import partition
from timesformer.data.quarantine import inside
from timesformer.errors import DataError, SettingError
from timesformer.training.log import Log

MOST_PROBED = 2000  # training videos of a linear probe on initial weights; of more, a fine-tuned network is above it
OtherSplit = Callable[[str], Manifest | None]  # val or test of the data, with their training split's classes


class Videos(NamedTuple):
    """What a run trains on, and what validates it. part: the paths of the latter where they were cut off the former."""

    training: Manifest
    validation: Manifest | None
    part: list[str] | None = None


def read_training(recipe: AnyRecipe, data: str | Path) -> tuple[Manifest, OtherSplit]:
    """The train split of a data set, whole, and what reads its others. Both raise DataError as `read_manifest`."""
    training = read_manifest(data, "train", quarantine=recipe.data.quarantine or True)

    def other(split: str) -> Manifest | None:
        if split not in find_splits(data):
            return None
        found = read_manifest(data, split, quarantine=recipe.data.quarantine or True)
        if found.multilabel != training.multilabel:
            kinds = ("one class a video", "several classes a video")
            has, expected = kinds[found.multilabel], kinds[training.multilabel]
            raise DataError(f"{found.source}: has {has}, but {training.source} has {expected}")
        return found.with_labels(training.labels)

    return training, other


def choose_videos(
    recipe: AnyRecipe, training: Manifest, other: OtherSplit, kept: Collection[str] | None = None
) -> Videos:
    """The videos of a run on a train split, see `read_training`; nothing is written, and no weights are needed.

    A probe is validated on `val` alone: the split chooses its head, which `test` must not. kept: as for
    `cut_validation_part`. Raises SettingError and DataError for all in the recipe and the lists that does not fit.
    """
    if len(training.labels) < 2 and not training.multilabel:
        raise DataError(
            f"{training.source}: {len(training.labels)} class ({training.labels[0]}); a classifier needs at least 2"
        )
    group = recipe.data.group
    if group is not None:
        training.groups(group)
    training = training.subset(recipe.data.fraction, recipe.seed)
    if isinstance(recipe, ProbeRecipe):
        return _of_probe(training, other, group)
    mirrored_videos(recipe.augmentation.flip, training)
    smoothing = recipe.training.label_smoothing
    if training.multilabel and smoothing:
        raise SettingError(f"training.label_smoothing is {smoothing:g}; data with several classes a video need 0")
    validation, part = other("val"), None
    if validation is None:
        training, validation = cut_validation_part(recipe, training, kept)
        part = sorted({inside(validation.folder, video.path) for video in validation.videos}) if validation else None
    if validation is None and recipe.training.patience is not None:
        raise SettingError(
            f"training.patience is {recipe.training.patience}, but there is no val split to stop by: add one, set "
            "training.validation_fraction, or set training.patience to null"
        )
    if recipe.training.initial_head == "probe":
        _check_probed(training, group)
    return Videos(training, validation or other("test"), part)


def _check_probed(training: Manifest, group: str | None) -> None:
    """Whether a linear probe, which a run's head starts as, can be fitted to these videos."""
    given = "training.initial_head is probe"
    if training.multilabel:
        raise SettingError(f"{given}, which needs data with one class a video; data with several classes need new")
    if (count := len(training.videos)) > MOST_PROBED:
        raise SettingError(f"{given}, for at most {MOST_PROBED:,} training videos, not {count:,}; set it to new")
    if (count := len(set(training.groups(group)))) < 2:
        what = f"groups in column {group}" if group else "videos"
        raise DataError(f"{training.source}: {given}, which needs at least 2 {what} to train on; has {count}")


def _of_probe(training: Manifest, other: OtherSplit, group: str | None) -> Videos:
    """Without `val`, two folds to choose in, and one to estimate with."""
    if training.multilabel:
        raise SettingError(f"{training.source}: has several classes a video; a probe needs data with one")
    validation = other("val")
    count = len(set(training.groups(group)))
    if validation is None and count < 3:
        what = f"groups in column {group}" if group else "videos"
        raise DataError(f"{training.source}: has {count} {what}; a probe without a val split needs at least 3")
    return Videos(training, validation)


def cut_validation_part(
    recipe: Recipe, training: Manifest, kept: Collection[str] | None = None
) -> tuple[Manifest, Manifest | None]:
    """The videos that are left to train on, and those that validate: `training.validation_fraction` of them.

    Groups of `data.group`, or else all rows of a path, stay together; a group that alone has a class is trained on. The
    recipe's seed decides which are cut. The notes of what is returned say what was cut, or why nothing was: there is no
    part where the fraction is 0, or too small for the videos or groups that there are. kept: the paths of the part that
    a resumed run has; of these, what is still in the list is cut, although another part would be drawn now.

    Raises DataError for a single group, where training would be left without a class, and where nothing of the part
    that is kept is left.
    """
    if kept is not None:
        return _cut_again(training, set(kept))
    fraction, column = recipe.training.validation_fraction, recipe.data.group
    if not fraction:
        return training, None
    groups = training.groups(column)
    whole, setting = len(groups), f"training.validation_fraction is {fraction:g}"
    if column is not None and len(set(groups)) == 1:
        raise DataError(
            f"{training.source}: all videos are of {column} {groups[0]}, but {setting}; set it to 0, or add a val split"
        )
    cut = _choose(training, groups, fraction, recipe.seed)
    if not cut:
        why = f"each group of {column} alone has a class or is too large" if column else f"{whole} videos are too few"
        note = f"no validation part is cut off ({setting}): {why}"
        return replace(training, notes=(*training.notes, note)), None
    rest, part = _divided(training, cut)
    if missing := sorted(_classes(training) - _classes(rest)):
        raise DataError(
            f"{training.source}: {setting}, which takes all videos of class {some(missing)}; take another fraction or "
            "seed"
        )
    names = sorted({groups[row] for row in cut})
    which = (
        f"{len(names)} of {len(set(groups))} groups of {column}: {some(names)}"
        if column
        else "drawn at random; data.group=COLUMN keeps a person or a recording whole"
    )
    note = f"{len(cut)} of {whole} training videos are cut off to validate on ({setting}), {which}"
    return rest, replace(part, split="val", quarantined=(), notes=(note,))


def _cut_again(training: Manifest, kept: set[str]) -> tuple[Manifest, Manifest]:
    cut = {row for row, video in enumerate(training.videos) if inside(training.folder, video.path) in kept}
    if not cut:
        raise DataError(f"{training.source}: none of the {len(kept)} videos that the run is validated on are left")
    rest, part = _divided(training, cut)
    note = f"the run's {len(cut)} of {len(training.videos)} training videos stay cut off to validate on"
    return rest, replace(part, split="val", quarantined=(), notes=(note,))


def _divided(training: Manifest, cut: set[int]) -> tuple[Manifest, Manifest]:
    rows = range(len(training.videos))
    return training.part(row for row in rows if row not in cut), training.part(row for row in rows if row in cut)


def _choose(training: Manifest, groups: list[str], fraction: float, seed: int) -> set[int]:
    """The rows to cut, of groups none of which is the only one with a class."""
    holders: dict[int, set[str]] = {}
    for video, group in zip(training.videos, groups, strict=True):
        for label in video.labels:
            holders.setdefault(label, set()).add(group)
    alone = {group for having in holders.values() if len(having) == 1 for group in having}
    rows = [row for row, group in enumerate(groups) if group not in alone]
    classes = [[training.labels[label] for label in training.videos[row].labels] for row in rows]
    parts = partition(classes, [groups[row] for row in rows], [1 - fraction, fraction], seed)
    return {row for row, part in zip(rows, parts, strict=True) if part == 1}


def _classes(manifest: Manifest) -> set[str]:
    return {manifest.labels[label] for video in manifest.videos for label in video.labels}


def validation_groups(validation: Manifest, column: str | None, log: Log) -> tuple[list[str], bool]:
    """The group of each video, and whether it is that of the column: a list that has none counts each path for itself,
    and a note says so."""
    if column is not None:
        try:
            return validation.groups(column), True
        except DataError as error:
            log.say(f"note    the interval takes validated videos for independent: {error}")
    return validation.groups(None), False
