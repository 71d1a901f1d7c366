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
        self.monkeypatch.setattr("sys.argv", ["timesformer", *without_report(*words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = self.capfd.readouterr()
        return Result(int(stopped.value.code or 0), out, err)


def without_report(*words: object) -> list[str]:
    """The words of a command that writes a report at its end, without it unless they have --report: it takes longer
    than what most tests are of."""
    texts = list(map(str, words))
    if texts and texts[0] in ("train", "test", "demo") and "--report" not in texts:
        texts.insert(1, "--no-report")
    return texts


def assert_one_line(result: Result, *parts: str) -> None:
    assert result.code == 2, result
    # What was chosen, what is of videos, how far it is, and the summary.
    expected = ("engine ", "skipped: ", "note: ", "resumed: ", "progress: ", "done: ")
    lines = [line for line in result.err.splitlines() if not line.startswith(expected)]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("timesformer: ")
    for part in parts:
        assert part in lines[0]
