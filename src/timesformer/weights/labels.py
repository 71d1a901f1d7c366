"""Class names: from a file, or built in where a number of classes tells the data set."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

from timesformer.errors import WeightsError


def read_labels(file: str | Path) -> tuple[str, ...]:
    """Class names of a text file, one a line, in the order of the logits."""
    path = Path(file)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: not a list of class names that can be read: {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise WeightsError(f"{path}: class {twice[0]} is there twice; expected each once")
    return names


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
