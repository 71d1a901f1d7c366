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

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from timesformer.data.folders import VIDEO_SUFFIXES, describe_ignored, find_videos, kind_of, scan_folder
from timesformer.data.labels import Spellings
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
    if is_one_split(folder):
        raise DataError(f"{folder}: no data set found, but a split of one; did you mean {folder.parent}?")
    classes = [entry.name for entry in _folders(folder) if find_videos(entry)]
    if classes:
        raise DataError(
            f"{folder}: no data set found, but folders of videos: {some(classes)}; if these are the "
            f"classes, `timesformer data split {folder}` writes lists"
        )
    raise DataError(
        f"{folder}: no data set found; expected {split}/ with class folders, {split}.csv with columns "
        "path,label, an mmaction2 list or Something-Something JSON"
    )


def is_one_split(folder: Path) -> bool:
    """Whether a folder is DATA/train or another split of a data set, not a data set."""
    folder = folder.resolve()
    return any(folder.name in names for names in SPLITS.values()) and bool(find_splits(folder.parent))


def split_of(file: Path) -> str | None:
    """The split that a file lists, such as train of DATA/train.csv; None where it lists none."""
    lists = ((split, source) for split in SPLITS for source, _ in _sources(file.parent, split))
    return next((split for split, source in lists if source.exists() and source.samefile(file)), None)


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
    spellings, found = Spellings(), dict[str, list[Path]]()
    ignored = Counter(kind_of(path) for path in source.iterdir() if path.name[0] != "." and not path.is_dir())
    outside = sum(count for kind, count in ignored.items() if kind in VIDEO_SUFFIXES)
    for entry in _folders(source):
        below = scan_folder(entry)
        found.setdefault(spellings.first(entry.name), []).extend(below.videos)
        ignored += below.ignored
    labels = tuple(name for name, paths in found.items() if paths)
    videos = [LabelledVideo(path, (number,)) for number, name in enumerate(labels) for path in found[name]]
    empty = [name for name, paths in found.items() if not paths]
    notes = [*spellings.notes]
    notes += [f"ignored: {describe_ignored(ignored)}"] if ignored else []
    notes += [f"{outside} of them are videos in no class folder"] if outside else []
    notes += [f"folders without a video, so no classes: {some(empty)}"] if empty else []
    return Listing(labels, videos, notes=tuple(notes))


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def some(names: list[str] | tuple[str, ...]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
