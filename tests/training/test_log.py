"""What a run says of itself: log.txt, sessions.yaml, recipe.yaml."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from conftest import small_recipe
from timesformer.data.loader import Process
from timesformer.training import log as module
from timesformer.training.launch import Launch
from timesformer.training.log import Log, describe_session, epoch_seconds, last_epoch, read_sessions, write_session


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_breaks_lines_between_words(tmp_path: Path, terminal: bool) -> None:
    """Names that are longer than a line stay whole, letters that take two columns count as two."""
    console = Console(file=io.StringIO(), width=20, force_terminal=terminal, color_system=None)
    line = "data    /a/folder/with/a/long/name: 8 training videos, \u8dd1\u6b65 \u8df3\u8dc3 \u6e38\u6cf3 seed 0"
    Log(tmp_path, console).say(line)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue().splitlines()
    if not terminal:
        assert printed == [line]
        return
    assert printed == [
        "data",
        "        /a/folder/with/a/long/name:",
        "        8 training",
        "        videos, \u8dd1\u6b65",
        "        \u8df3\u8dc3 \u6e38\u6cf3",
        "        seed 0",
    ]
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()[0].endswith(line)


def test_lines_are_printed_and_kept_with_their_time(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=20)
    log = Log(tmp_path, console)
    log.say("skipped: [bold]odd[/bold] \u00e9 name of more than twenty letters", style="yellow")
    log.say("second")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "skipped: [bold]odd[/bold] \u00e9 name of more than twenty letters\nsecond\n"
    kept = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  ", "", line) for line in kept] == [
        "skipped: [bold]odd[/bold] \u00e9 name of more than twenty letters",
        "second",
    ]
    assert all(line[0] == "2" for line in kept)
    Log(tmp_path, console, speaks=False).say("another process")
    assert len((tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()) == 2
    Log(tmp_path / "not there", console).say("third")
    assert console.file.getvalue().endswith("\nthird\n")


def test_sessions_are_added_and_the_recipe_is_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["timesformer", "train", "--data", "my clips", "augmentation.short_side=[16, 20]"])
    launch = Launch(Process(0, 2), 1, 2)
    for seed in (3, 4):
        session = describe_session(launch, seed, "data", None if seed == 3 else "weights")
        write_session(tmp_path, small_recipe(f"seed={seed}"), session)
    first, second = read_sessions(tmp_path)
    assert [first["seed"], second["seed"]] == [3, 4]
    assert [first["init"], second["init"]] == [None, "weights"]
    assert shlex.split(first["command"]) == sys.argv
    assert (first["data"], first["processes"], first["machines"]) == ("data", 2, 2)
    assert first["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert first["versions"]["python"] == sys.version.split()[0]
    assert first["hardware"]["cores"] > 0
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == small_recipe("seed=4").model_dump(mode="json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "sessions.yaml"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a: [", b"just: a dictionary"])
def test_sessions_that_cannot_be_read_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions.yaml").write_bytes(content)
    assert read_sessions(tmp_path) == []


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "log.py"))
    assert describe_session(Launch(Process(), 1, 1), 0, "data", None)["code"] == ""


def test_a_session_that_ended_says_how_long_and_how_large_it_was(run: Path) -> None:
    session = read_sessions(run)[-1]
    assert session["ended"] >= session["started"]
    assert 0 < session["seconds"] < 3600
    assert session["memory"] > 1e8
    assert session["device"] == "cpu"


def test_the_seconds_of_epochs_are_those_of_the_log(run: Path, tmp_path: Path) -> None:
    lines = [line for line in (run / "log.txt").read_text().splitlines() if "  epoch " in line]
    found = epoch_seconds(run)
    assert list(found) == [1, 2, 3, 4]
    assert last_epoch(run) == (4, 4)
    assert [f"{seconds} s" for seconds in found.values()] == [line.rpartition("  ")[2] for line in lines]
    lines = ("epoch 1/2  loss 1.0  9.5 s", "note    9 s", "epoch 1/2  loss 1.0  3.5 s")  # resumed inside the epoch
    (tmp_path / "log.txt").write_text("".join(f"2026-01-01 00:00:00Z  {line}\n" for line in lines))
    assert epoch_seconds(tmp_path) == {1: 3.5}
    assert last_epoch(tmp_path) == (1, 2)
    assert epoch_seconds(tmp_path / "none") == {}
    assert last_epoch(tmp_path / "none") is None
