"""Which list or folder of a data set holds a split; class folders.

    layout                       files in DATA
    class folders                train/CLASS/VIDEO, val/..., test/...
    CSV with a header            train.csv, val.csv, test.csv: path,label[,more] or path,labels[,more]
    Kinetics CSV, official code  the same names without a header: "path label-number" a line
    mmaction2 list               *train*.txt, *val*.txt, *test*.txt: "path label-number" or "folder frames label-number"
    Something-Something V2       *train.json, *validation.json and *labels.json, there or in labels/

Paths are relative to DATA. Lists with label numbers take their names from labels.txt or label_map*.txt, one a line.
A path may be a video file or a folder of image frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from timesformer.data.lists import (
    SPLITS,
    LabelledVideo,
    Listing,
    is_text_list,
    read_csv,
    read_something,
    read_text_list,
    words,
)
from timesformer.errors import DataError
from timesformer.video.images import IMAGE_SUFFIXES
from timesformer.video.source import VIDEO_SUFFIXES

Reader = Callable[[Path, Path], Listing]


def find_splits(data: str | Path) -> list[str]:
    """The splits that a data set folder has."""
    return [split for split in SPLITS if _sources(Path(data), split)]


def find_split(folder: Path, split: str) -> tuple[Path, Reader]:
    """The list or folder that holds a split, and what reads it. Raises DataError where it is none or several."""
    if folder.is_file():
        raise DataError(f"{folder}: a file; DATA is the folder that holds train.csv or the other lists")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder")
    sources = _sources(folder, split)
    if len(sources) > 1:
        names = ", ".join(source.name for source, _ in sources)
        raise DataError(f"{folder}: more than one list for {split}: {names}; keep one")
    if sources:
        return sources[0]
    present = find_splits(folder)
    if present:
        choose = "" if split == "train" else f"; --split {present[-1]} takes that one"
        raise DataError(f"{folder}: has no {split} split; it has {', '.join(present)}{choose}")
    if any(folder.resolve().name in names for names in SPLITS.values()) and find_splits(folder.resolve().parent):
        raise DataError(f"{folder}: no data set found, but a split of one; did you mean {folder.parent}?")
    classes = [entry.name for entry in _folders(folder) if find_videos(entry)]
    if classes:
        raise DataError(
            f"{folder}: no data set found, but folders of videos: {some(classes)}; if these are the "
            f"classes, move them into {folder / split}"
        )
    raise DataError(
        f"{folder}: no data set found; expected {split}/ with class folders, {split}.csv with columns "
        "path,label, an mmaction2 list or Something-Something JSON"
    )


def _sources(folder: Path, split: str) -> list[tuple[Path, Reader]]:
    """The lists or folders that may hold a split; the first kind of layout that is there wins.

    Text files that do not look like a list, such as notes_train.txt, come last: they are there to be named in an error.
    """
    names = SPLITS[split]
    texts = sorted(path for path in folder.glob("*.txt") if words(path.stem) & set(names))
    layouts: list[tuple[list[Path], Reader]] = [
        ([folder / f"{name}.csv" for name in names], read_csv),
        (
            sorted(p for root in (folder, folder / "labels") for name in names for p in root.glob(f"*{name}.json")),
            read_something,
        ),
        ([path for path in texts if is_text_list(path)], read_text_list),
        ([folder / name for name in names if (folder / name).is_dir()], read_folders),
        (texts, read_text_list),
    ]
    for paths, reader in layouts:
        found = [path for path in paths if path.exists()]
        if found:
            return [(path, reader) for path in found]
    return []


def read_folders(folder: Path, source: Path) -> Listing:
    """A folder of videos for each class."""
    found = {entry.name: find_videos(entry) for entry in _folders(source)}
    labels = tuple(name for name, paths in found.items() if paths)
    return Listing(
        labels, [LabelledVideo(path, (number,)) for number, name in enumerate(labels) for path in found[name]]
    )


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def find_videos(folder: Path) -> list[Path]:
    """All video files and folders of image frames below a folder, in order of their paths.

    Pictures beside video files are not frames; hidden files and folders are ignored.
    """
    videos, frames = set(), set()
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.add(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            frames.add(path.parent)
    return sorted(videos | frames - {path.parent for path in videos})


def some(names: list[str] | tuple[str, ...]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
