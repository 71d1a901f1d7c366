"""What the folder of a training run says of it: settings, log, metrics, results; of one that has not ended, too."""

from __future__ import annotations

import json
import re
import shlex
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from timesformer.errors import SettingError, one_line
from timesformer.files import open_text
from timesformer.folds.parts import FoldsResult, read_parts
from timesformer.training.curves import read_metrics
from timesformer.training.log import epoch_seconds, read_sessions
from timesformer.training.resume import PARTS, resume_command

# What the first lines of a run's log are about, and what the page calls it.
ABOUT = {
    "data": "Data",
    "model": "Model",
    "init": "Initialised",
    "steps": "Training",
    "heads": "Heads",
    "trains": "Trained part",
    "note": "Note",
    "warning": "Warning",
}


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        recipe: its settings. sessions: each time it was started or resumed. result: RUN/result.json; None of a run that
            has not ended, and of folds and seeds.
        metrics: rows of metrics.csv. facts: pairs of what the log says first. seconds: of each epoch.
        folds: of a run of folds or seeds.
    """

    folder: Path
    recipe: dict[str, Any]
    sessions: list[dict[str, Any]]
    result: dict[str, Any] | None
    metrics: list[dict[str, str]]
    facts: list[tuple[str, str]]
    seconds: dict[int, float]
    folds: FoldsResult | None

    @property
    def ended(self) -> bool:
        """Whether it has a result."""
        if self.folds is not None:
            return "summary" in self.folds.as_dict()
        return self.result is not None

    @property
    def state(self) -> str | None:
        """Of a run that has not ended: how far it is."""
        if self.ended:
            return None
        if self.folds is not None:
            done = f"{len(self.folds.parts)} of {self.folds.count * len(self.folds.seeds)} parts have ended"
        else:
            epochs = self.recipe.get("training", {}).get("epochs")
            last = max((float(row["epoch"]) for row in self.metrics if row.get("epoch")), default=0.0)
            done = f"{int(last)} of {epochs} epochs are done" if epochs else "it has no result yet"
        return f"The run {self.folder} has not ended: {done}."

    @property
    def continues(self) -> str:
        """What continues a run that was stopped."""
        return resume_command(self.folder)

    @property
    def data(self) -> Path | None:
        """The folder of its data; None where it does not say."""
        return Path(self.sessions[-1]["folder"]) / self.sessions[-1]["data"] if self.sessions else None

    @property
    def floors(self) -> dict[str, Mapping[str, float]]:
        """The scores that it is held against, by what gives them."""
        return {} if self.result is None else self.result.get("floors", {})

    @property
    def speed(self) -> list[tuple[str, str]]:
        """Time and memory, as far as they are known."""
        found = []
        if self.seconds:
            found.append(("An epoch, validation included", _duration(statistics.median(self.seconds.values()))))
        timed = [session for session in self.sessions if "seconds" in session]
        if timed and len(timed) == len(self.sessions):
            found.append(("The run", _duration(sum(session["seconds"] for session in timed))))
        elif self.seconds:  # a session that was stopped does not say how long it took
            found.append(("All epochs", _duration(sum(self.seconds.values()))))
        elif timed:
            found.append(("The last session", _duration(timed[-1]["seconds"])))
        if timed:
            found.append(("Memory at the peak", size(max(session["memory"] for session in timed))))
        return found

    @property
    def machine(self) -> list[tuple[str, str]]:
        """Hardware and versions of the last session."""
        if not self.sessions:
            return []
        session = self.sessions[-1]
        hardware, versions = session.get("hardware", {}), session.get("versions", {})
        gpus = ", ".join(hardware.get("gpus", ()))
        where = f"{hardware.get('processor', 'unknown processor')}, {hardware.get('cores', '?')} cores"
        return [
            ("Hardware", f"{gpus}; {where}" if gpus else where),
            ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
            *([("Code", session["code"])] if session.get("code") else []),
        ]

    @property
    def commands(self) -> list[str]:
        """What was typed, each time, in which folder."""
        return [repeat(session["command"], session["folder"]) for session in self.sessions if "command" in session]

    @property
    def settings_text(self) -> str:
        """All settings, as YAML."""
        return without_secrets(yaml.safe_dump(self.recipe, sort_keys=False))


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / PARTS).exists() or (folder / "sessions.yaml").exists()


def run_of(weights: Path) -> Path | None:
    """The run whose weights these are: the folder of a run, or RUN/model; None for any other."""
    if is_run(weights):
        return weights
    return weights.parent if weights.name == "model" and is_run(weights.parent) else None


def describe_run(folder: Path) -> Run:
    """The run in a folder. Raises SettingError, in one line, where there is none or its files are damaged."""
    if not folder.exists():
        raise SettingError(f"{folder}: no such folder; expected a run of `timesformer train`")
    if not is_run(folder):
        raise SettingError(
            f"{folder}: holds no run; expected the folder of a run, or scores of `timesformer test --out`"
        )
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
        if not isinstance(recipe, dict):
            raise ValueError("recipe.yaml: holds no settings")
        result = folder / "result.json"
        metrics = folder / "logs" / "metrics.csv"
        return Run(
            folder,
            recipe,
            read_sessions(folder),
            json.loads(result.read_text("utf-8")) if result.exists() else None,
            read_metrics(metrics) if metrics.exists() else [],
            list(_facts(folder / "log.txt")),
            epoch_seconds(folder),
            read_parts(folder) if (folder / PARTS).exists() else None,
        )
    except FileNotFoundError as error:
        raise SettingError(f"{folder}: cannot be reported: {Path(error.filename).name} is missing") from None
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        raise SettingError(f"{folder}: cannot be reported: {one_line(error)[:200]}") from None


def _facts(log: Path) -> Iterator[tuple[str, str]]:
    """What the first lines of the last session say."""
    if not log.exists():
        return
    with open_text(log) as stream:
        found = [re.match(r"\S+ \S+Z  (\w+) +(.*)", line) for line in stream]
    lines = [(one[1], one[2]) for one in found if one]
    start = max((number for number, (about, _) in enumerate(lines) if about == "data"), default=0)
    for about, text in lines[start:]:
        if about in ABOUT:
            yield ABOUT[about], without_secrets(text)


def without_secrets(text: str) -> str:
    """A text whose URLs have no user, password, query string and fragment: those may give access."""
    text = re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"]*@", r"\1", text)
    return re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s?#'\"]*)[?#][^\s'\"]*", r"\1", text)


def repeat(command: str, folder: str) -> str:
    """A command with which anyone repeats what was done, in its folder; see `without_secrets`."""
    words = [without_secrets(word) for word in shlex.split(command)]
    if words and re.fullmatch(r"timesformer(\.exe)?|__main__\.py", Path(words[0]).name):
        words[0] = "timesformer"
    return f"cd {shlex.quote(folder)}\n{shlex.join(words)}"


def size(number: float) -> str:
    """Bytes in words."""
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def floor_rows(floors: Mapping[str, Mapping[str, float]], metric: str) -> list[tuple[str, float]]:
    """What each floor has of a metric; mean average precision is "map" there."""
    metric = "map" if metric == "mean_average_precision" else metric
    names = {"majority": "most frequent class", "probe": "linear probe on the initial weights"}
    return [(names.get(name, name), values[metric]) for name, values in floors.items() if metric in values]


def score_text(run: Run) -> str | None:
    """The score that the run ended with, in a line."""
    if run.result is None or run.result.get("score") is None:
        return None
    result = run.result
    text = f"{result['metric']} {result['score']:.3f} on {result['split']}"
    if result.get("interval"):
        low, high = result["interval"]
        text += f", 95% interval {low:.3f} to {high:.3f}, of {result['videos']} videos"
    return text + (f", epoch {result['epoch']}" if result.get("epoch") else "")
