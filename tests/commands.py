"""`timesformer ...` in this process: what it prints, and its exit code."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from timesformer.cli.main import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """`timesformer ...` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, *words: object) -> Result:
        self.monkeypatch.setattr("sys.argv", ["timesformer", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = self.capfd.readouterr()
        return Result(int(stopped.value.code or 0), out, err)


def assert_one_line(result: Result, *parts: str) -> None:
    assert result.code == 2, result
    # What was chosen, what is of videos, how far it is, and the summary.
    expected = ("engine ", "skipped: ", "note: ", "resumed: ", "progress: ", "done: ")
    lines = [line for line in result.err.splitlines() if not line.startswith(expected)]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("timesformer: ")
    for part in parts:
        assert part in lines[0]
