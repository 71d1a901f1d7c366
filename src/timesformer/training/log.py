"""RUN/log.txt: what a run says to the person who started it; and RUN/sessions.yaml: where and with what it ran."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.cells import cell_len
from rich.console import Console

from timesformer.config import AnyRecipe
from timesformer.device import peak_memory, processor, version_of
from timesformer.files import escape, open_text, replacing
from timesformer.training.launch import Launch

PACKAGES = ("timesformer", "torch", "lightning", "av", "kornia", "torchmetrics", "numpy")
INDENT = 8  # where the text of a line begins, after what it is about: "data", "model"


class Log:
    """Lines for the terminal and for RUN/log.txt; only the first process of a run speaks."""

    def __init__(self, folder: Path, console: Console, *, speaks: bool = True) -> None:
        self.folder, self.console, self.speaks = folder, console, speaks

    def say(self, line: str, style: str | None = None) -> None:
        """Print a line, on a terminal broken between words, and append it to the file with the time."""
        if not self.speaks:
            return
        shown = _broken(escape(line), self.console.width) if self.console.is_terminal else escape(line)
        self.console.print(shown, style=style, highlight=False, markup=False, soft_wrap=True)
        self._write(line)

    def note_stop(self, stop: KeyboardInterrupt, left: str) -> None:
        """Append to the file that the run was stopped, and to the exception, for whoever prints it, what is left."""
        if self.speaks:
            stop.add_note(left)
            self._write(f"stopped; {left}")

    def _write(self, line: str) -> None:
        if self.folder.is_dir():
            with open_text(self.folder / "log.txt", "a") as stream:
                stream.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {line}\n")


def _broken(line: str, columns: int) -> str:
    """A line with breaks between words, which rich would make inside of those that are longer than a line."""
    lines = [""]
    for word in re.findall(r"\S+\s*", line):
        if lines[-1].strip() and cell_len(lines[-1] + word.rstrip()) > columns:
            lines.append(" " * INDENT)
        lines[-1] += word
    return "\n".join(text.rstrip() for text in lines)


def describe_session(launch: Launch, seed: int, data: str, init: str | None) -> dict[str, Any]:
    """What a run depends on beside its recipe: command, data, weights, versions, commit of the code, hardware."""
    return {
        "started": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z",
        "command": shlex.join(sys.argv),
        "folder": os.getcwd(),
        "data": data,
        "init": init,
        "seed": seed,
        "processes": launch.process.world,
        "machines": launch.nodes,
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in PACKAGES},
        "code": _git_state(),
        "hardware": {
            "system": platform.platform(),
            "processor": processor().name,
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        },
    }


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions of a run, oldest first; none where there is no file that can be read."""
    try:
        sessions = yaml.safe_load((folder / "sessions.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return sessions if isinstance(sessions, list) else []


def write_session(folder: Path, recipe: AnyRecipe, session: dict[str, Any]) -> None:
    """Write recipe.yaml and append to sessions.yaml; each file is replaced when the new one is complete."""
    texts = {"recipe.yaml": recipe.model_dump(mode="json"), "sessions.yaml": [*read_sessions(folder), session]}
    for name, content in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def end_session(folder: Path, seconds: float, device: torch.device) -> None:
    """Add to the last of sessions.yaml when it ended, its seconds, and bytes of memory at the peak."""
    sessions = read_sessions(folder)
    if not sessions:
        return
    sessions[-1] |= {
        "ended": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z",
        "seconds": round(seconds, 1),
        "memory": peak_memory(device),
        "device": str(device),
    }
    with replacing(folder / "sessions.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(sessions, sort_keys=False), encoding="utf-8")


def epoch_seconds(folder: Path) -> dict[int, float]:
    """How long each epoch took, validation included, as log.txt says; of one that was run twice, the last time."""
    return {epoch: seconds for epoch, _, seconds in _epochs(folder)}


def last_epoch(folder: Path) -> tuple[int, int] | None:
    """The epoch that a run has ended last, and of how many, as log.txt says; None before the first."""
    return next(((epoch, count) for epoch, count, _ in reversed(_epochs(folder))), None)


def _epochs(folder: Path) -> list[tuple[int, int, float]]:
    """Number, count of all and seconds of each epoch, in the order of log.txt."""
    try:
        with open_text(folder / "log.txt") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return []
    found = (re.search(r"Z  epoch +(\d+)/(\d+)  .*?([\d.]+) s$", line) for line in lines)
    return [(int(one[1]), int(one[2]), float(one[3])) for one in found if one]


def _git_state() -> str:
    """Commit of the checkout this package runs from, and whether it was changed since; "" where there is none."""
    folder = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
        subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit.strip() + (", changed since" if status.strip() else "")
