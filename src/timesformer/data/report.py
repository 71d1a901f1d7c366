"""What a data set's check found: as JSON, and as text to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from timesformer.data.inspect import Facts
from timesformer.data.manifest import Manifest
from timesformer.data.quarantine import inside

SHOWN = 10  # lines of a long list in the text; the JSON has all


class _Listed(NamedTuple):
    """A file in a list: its split, its path as lists write it, the names of its classes."""

    split: str
    path: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A data set's check.

    folder: the data set; splits: those that could be read, quarantined videos included; broken: why the rest could not;
    facts: of the files that can be decoded; reasons: why the rest cannot; quarantine: where these are listed;
    seconds: what the check took; groups: videos of each group, by split, where groups were asked for; unchecked: how
    many more files the list names, which were not checked.
    """

    folder: Path
    splits: dict[str, Manifest]
    broken: dict[str, str]
    facts: dict[Path, Facts]
    reasons: dict[Path, str]
    quarantine: Path
    seconds: float
    groups: dict[str, Counter[str]] | None = None
    unchecked: int = 0

    @property
    def sound(self) -> bool:
        """Whether every list can be read and every file decoded."""
        return not self.broken and not self.reasons

    def summary(self) -> dict[str, Any]:
        """All findings, for JSON. Paths are relative to the data set; lengths are in seconds, sizes in pixels."""
        facts = self.facts.values()
        lengths = [facts.num_frames / facts.fps for facts in facts if facts.fps]
        duplicates, leaks = self._copies()
        return {
            "data": str(self.folder),
            "files": len(self.facts) + len(self.reasons),
            "checked_in": round(self.seconds, 1),
            "splits": {split: self._split(manifest) for split, manifest in self.splits.items()},
            "broken_splits": self.broken,
            "classes_in_one_split": self._lonely_classes(),
            "lengths": _spread(lengths),
            "frames": _spread([facts.num_frames for facts in facts]),
            "sizes": _counts(f"{facts.width}x{facts.height}" for facts in facts),
            "frame_rates": _counts(f"{round(facts.fps, 2):g}" if facts.fps else "unknown" for facts in facts),
            "codecs": _counts(facts.codec for facts in facts),
            "unreadable": [{"path": inside(self.folder, path), "reason": why} for path, why in self.reasons.items()],
            "size_changes": [
                {"path": inside(self.folder, path), "resized": facts.resized, "frames": facts.num_frames}
                for path, facts in self.facts.items()
                if facts.resized
            ],
            "duplicates": duplicates,
            "leaks": leaks,
            "crossing_groups": self._crossing_groups(),
            "quarantine": str(self.quarantine) if self.reasons or self.unchecked else None,
            "unchecked": self.unchecked,
        }

    def _split(self, manifest: Manifest) -> dict[str, Any]:
        """Counts of a split; those of classes are of videos that can be decoded."""
        good = [video for video in manifest.videos if video.path in self.facts]
        counts = Counter(dict.fromkeys(range(len(manifest.labels)), 0))
        counts.update(label for video in good for label in video.labels)
        classes = {manifest.labels[label]: count for label, count in sorted(counts.items())}
        some = {name: count for name, count in classes.items() if count}
        smallest, largest = (choose(some, key=some.__getitem__) if some else None for choose in (min, max))
        return {
            "list": manifest.source.name,
            "notes": list(manifest.notes),
            "multilabel": manifest.multilabel,
            "videos": len(manifest.videos),
            "unreadable": len(manifest.videos) - len(good),
            "without_class": sum(not video.labels for video in good),
            "classes": classes,
            "empty_classes": [name for name, count in classes.items() if not count],
            "smallest_class": smallest,
            "largest_class": largest,
            "imbalance": round(some[largest] / some[smallest], 2) if smallest and largest else None,
        }

    def _lonely_classes(self) -> dict[str, list[str]]:
        """Classes that videos of one split alone have, where there are several splits."""
        where = defaultdict(set)
        for split, manifest in self.splits.items():
            for video in manifest.videos:
                for label in video.labels:
                    where[manifest.labels[label]].add(split)
        lonely: dict[str, list[str]] = {}
        for name, splits in sorted(where.items()):
            if len(splits) == 1 < len(self.splits):
                lonely.setdefault(splits.pop(), []).append(name)
        return lonely

    def _crossing_groups(self) -> dict[str, dict[str, int]] | None:
        """Groups that have videos in several splits, with how many in each; None where none were asked for."""
        if self.groups is None:
            return None
        names = dict.fromkeys(name for counts in self.groups.values() for name in counts)
        where = {name: {split: part[name] for split, part in self.groups.items() if part[name]} for name in names}
        return {name: counts for name, counts in where.items() if len(counts) > 1}

    def _copies(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Groups of videos that show the same: within a split, and across splits."""
        groups: dict[str, list[_Listed]] = defaultdict(list)
        for split, manifest in self.splits.items():
            for video in manifest.videos:
                if video.path in self.facts:
                    classes = tuple(manifest.labels[label] for label in video.labels)
                    entry = _Listed(split, inside(self.folder, video.path), classes)
                    groups[self.facts[video.path].content].append(entry)
        duplicates, leaks = [], []
        for group in groups.values():
            parts = {split: [entry for entry in group if entry.split == split] for split in self.splits}
            duplicates += [_group(part) for part in parts.values() if len(part) > 1]
            if sum(map(bool, parts.values())) > 1:
                leaks.append(_group(group))
        return duplicates, leaks

    def __str__(self) -> str:
        return "\n".join(_text(self.summary()))


def _group(entries: Sequence[_Listed]) -> dict[str, Any]:
    classes_differ = len({entry.classes for entry in entries}) > 1
    return {"classes_differ": classes_differ, "videos": [entry._asdict() for entry in entries]}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = {"least": min(values), "median": median(values), "most": max(values), "total": sum(values)}
    return {name: round(value, 2) for name, value in found.items()}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _text(found: dict[str, Any]) -> list[str]:
    """The lines of a summary."""
    splits = found["splits"]
    lines = [f"{found['data']}: {found['files']} files, decoded in {_time(found['checked_in'])}", ""]
    rows = [("split", "videos", "unreadable", "classes", "smallest", "largest", "imbalance")]
    for split, part in splits.items():
        ends = (
            f"{name} {part['classes'][name]}" if name else "-"
            for name in (part["smallest_class"], part["largest_class"])
        )
        rows.append((split, part["videos"], part["unreadable"], len(part["classes"]), *ends, part["imbalance"] or "-"))
    lines += [*_table(rows), ""]
    totals: Counter[str] = Counter()
    for part in splits.values():
        totals.update(part["classes"])
    names = [name for name, _ in totals.most_common()]
    shown = names if len(names) <= 2 * SHOWN else names[:SHOWN] + names[-SHOWN:]
    rows = [("class", *splits), *((n, *(part["classes"].get(n, "-") for part in splits.values())) for n in shown)]
    none = [part["without_class"] for part in splits.values()]
    rows += [("(no class)", *none)] if any(none) else []
    lines += _table(rows)
    if len(shown) < len(names):
        lines.insert(len(lines) - SHOWN, f"... {len(names) - len(shown)} more")
    lines += ["", *_pictures(found), "", *_findings(found)]
    return lines


def _pictures(found: dict[str, Any]) -> list[str]:
    """Lengths, sizes, frame rates, codecs."""
    lines = []
    if found["lengths"]:
        least, middle, most, total = (_time(value) for value in found["lengths"].values())
        lines.append(f"length    {least} to {most}, median {middle}, {total} in all")
    if found["frames"]:
        least, middle, most, total = (f"{value:g}" for value in found["frames"].values())
        lines.append(f"frames    {least} to {most}, median {middle}")
    for title, key in (("size", "sizes"), ("frames/s", "frame_rates"), ("codec", "codecs")):
        counts = [f"{name} ({count})" for name, count in found[key].items()]
        more = f", {len(counts) - 5} more" if len(counts) > 5 else ""
        lines += [f"{title:10}{', '.join(counts[:5])}{more}"] if counts else []
    return lines


def _findings(found: dict[str, Any]) -> list[str]:
    """What is wrong, and what is not."""
    lines = [f"{split} cannot be read: {reason}" for split, reason in found["broken_splits"].items()]
    for split, part in found["splits"].items():
        lines += [f"{split}: {note}" for note in part["notes"]]
        if part["empty_classes"]:
            lines.append(f"classes of {split} without a video: {_few(part['empty_classes'])}")
    for split, names in found["classes_in_one_split"].items():
        lines.append(f"classes in {split} only: {_few(names)}")
    bad = [f"{problem['path']}: {problem['reason']}" for problem in found["unreadable"]]
    lines += _list("files that cannot be decoded", bad)
    resized = [f"{file['path']}: {file['resized']} of {file['frames']} frames" for file in found["size_changes"]]
    if resized:
        lines += _list("files whose picture changes its size, resized to that of the first frame", resized)
    lines += _list("duplicates within a split", [_copies(group) for group in found["duplicates"]])
    lines += _list("leaks between splits", [_copies(group) for group in found["leaks"]])
    if (crossing := found["crossing_groups"]) is not None:
        counts = {
            name: ", ".join(f"{split} {count}" for split, count in part.items()) for name, part in crossing.items()
        }
        lines += _list("groups that cross splits", [f"{name}: {text}" for name, text in counts.items()])
    if found["quarantine"]:
        lines += ["", f"{found['quarantine']} lists the files that cannot be decoded"]
    if count := found["unchecked"]:
        lines[-1] += f", and {count} that {'was' if count == 1 else 'were'} listed before and not checked now"
    return lines


def _copies(group: dict[str, Any]) -> str:
    many = [f"{entry['split']}: {entry['path']}" for entry in group["videos"]]
    if group["classes_differ"]:
        many = [f"{line} [{'; '.join(entry['classes'])}]" for line, entry in zip(many, group["videos"], strict=True)]
    more = f" = {len(many) - SHOWN} more" if len(many) > SHOWN else ""
    return f"{' = '.join(many[:SHOWN])}{more}{' (classes differ)' if group['classes_differ'] else ''}"


def _list(title: str, entries: list[str]) -> list[str]:
    more = [f"  ... {len(entries) - SHOWN} more; --json has all"] if len(entries) > SHOWN else []
    return [f"{title}: {len(entries) or 'none'}", *(f"  {entry}" for entry in entries[:SHOWN]), *more]


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _table(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Columns under their headings: words to the left, numbers to the right."""
    columns = [[str(cell) for cell in column] for column in zip(*rows, strict=True)]
    words = [any(cell[:1].isalpha() for cell in column[1:]) for column in columns]
    words[0] = True
    width = [max(map(len, column)) for column in columns]
    aligned = (
        [cell.ljust(w) if word else cell.rjust(w) for cell in column]
        for column, w, word in zip(columns, width, words, strict=True)
    )
    return ["  ".join(cells).rstrip() for cells in zip(*aligned, strict=True)]


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
