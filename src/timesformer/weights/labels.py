"""Class names of weights that bring none: built in where the number of classes implies the data set."""

from __future__ import annotations

from importlib import resources


def named_or_default(names: object, classes: int) -> tuple[str, ...]:
    """Class names as a file has them where they are one a class; `default_labels` otherwise."""
    if isinstance(names, list | tuple) and len(names) == classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return default_labels(classes)


def default_labels(classes: int) -> tuple[str, ...]:
    """Kinetics-400's names for 400 classes, numbers for any other number of classes."""
    if classes == 400:
        text = resources.files("timesformer.weights").joinpath("kinetics400.txt").read_text(encoding="utf-8")
        return tuple(text.splitlines())
    return tuple(str(number) for number in range(classes))
