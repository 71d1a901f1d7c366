"""Which class a mirrored clip is of: where classes are directions, what goes left goes right in a mirror."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from timesformer.config.training import Flip
from timesformer.data.labels import composed
from timesformer.data.layouts import some
from timesformer.data.manifest import Manifest
from timesformer.errors import DataError, SettingError

# "from left to right", "swipe_left", "SwipeLeft"; not "leftover" or "bright".
SIDE = re.compile(
    r"(?<![A-Za-z])(?:left|right)(?![a-z])|(?:(?<=[a-z])|(?<![A-Za-z]))(?:Left|Right|LEFT|RIGHT)(?![a-z])"
)
SWAPPED = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}


BY_NAME = "left_right"
Numbers = tuple[int, ...]  # of the classes of a video, in ascending order


def mirrored_videos(flip: Flip, manifest: Manifest) -> list[Numbers | None]:
    """The numbers of the classes of each video's mirrored clips; None for a video that is never mirrored.

    Raises SettingError as `mirrored_classes`. Of a column of the list, DataError where there is none, for a class that
    is unknown, and for two classes that are not each other's counterparts.
    """
    if isinstance(flip, str) and flip != BY_NAME:
        try:
            return _by_column(flip, manifest)
        except DataError as error:
            raise DataError(f"augmentation.flip is {flip}: {error}") from None
    counterparts = mirrored_classes(flip, manifest.labels)
    return [tuple(sorted(counterparts[label] for label in video.labels)) for video in manifest.videos]


def _by_column(column: str, manifest: Manifest) -> list[Numbers | None]:
    numbers = {composed(name): number for number, name in enumerate(manifest.labels)}
    partner: dict[Numbers, Numbers] = {}
    mirrored: list[Numbers | None] = []

    def named(labels: Numbers) -> str:
        return repr(";".join(manifest.labels[label] for label in labels))

    cells = manifest.cells(column, "classes of mirrored clips")
    for video, cell in zip(manifest.videos, cells, strict=True):
        names = [name.strip() for name in cell.split(";")] if manifest.multilabel else [cell]
        if not cell:
            mirrored.append(None)
            continue
        if unknown := [name for name in names if composed(name) not in numbers]:
            raise DataError(
                f"{manifest.source}: {column} of {video.path} is {cell!r}: {unknown[0]!r} is not a class; the classes "
                f"are {some(manifest.labels)}"
            )
        other = tuple(sorted(numbers[composed(name)] for name in names))
        for one, another in ((video.labels, other), (other, video.labels)):
            if partner.setdefault(one, another) != another:
                raise DataError(
                    f"{manifest.source}: {column} pairs {named(one)} with {named(partner[one])} and with "
                    f"{named(another)}; a class has one counterpart in a mirror"
                )
        mirrored.append(other)
    return mirrored


def mirrored_classes(flip: Flip, labels: tuple[str, ...]) -> tuple[int, ...]:
    """The number of the class of a mirrored clip, for each class; its own where `flip` says nothing of it.

    `flip`: any but a column, which says it of each video.

    Raises SettingError for a class that is not among the labels, for a class in two pairs, and with "left_right" for a
    class of a side without a counterpart.
    """
    pairs = _pairs_by_name(labels) if flip == BY_NAME else flip if isinstance(flip, Mapping) else {}
    numbers = {composed(name): number for number, name in enumerate(labels)}
    partner: dict[str, str] = {}
    for pair in pairs.items():
        one, another = map(composed, pair)
        for name, other in ((one, another), (another, one)):
            if name not in numbers:
                raise SettingError(f"augmentation.flip: {name!r} is not a class; the classes are {some(labels)}")
            if partner.setdefault(name, other) != other:
                raise SettingError(
                    f"augmentation.flip: {name!r} is paired with {partner[name]!r} and with {other!r}; "
                    "a class has one counterpart in a mirror"
                )
    return tuple(numbers[partner.get(name, name)] for name in map(composed, labels))


def _pairs_by_name(labels: Sequence[str]) -> dict[str, str]:
    """Classes with a side in their name, and those with the other side in its place."""
    pairs = {name: SIDE.sub(lambda side: SWAPPED[side[0]], name) for name in labels if SIDE.search(name)}
    alone = next((name for name in pairs if pairs[name] not in labels), None)
    if alone is not None:
        raise SettingError(
            f"augmentation.flip is left_right: {alone!r} has no counterpart {pairs[alone]!r} among the classes; "
            "name the pairs, as in {swipe_left: swipe_right}, or set it to false"
        )
    if not pairs:
        raise SettingError("augmentation.flip is left_right: no class has left or right in its name; set true or false")
    return pairs
