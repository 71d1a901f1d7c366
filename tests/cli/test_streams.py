"""Names that are not UTF-8, or that a terminal has no letters for, as they are printed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Command
from timesformer.cli.streams import prepare_streams

NAME = "caf\udce9 ä 日 😀"


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("encoding", "terminal", "printed"),
    [
        ("utf-8", False, b"caf\xe9 \xc3\xa4 \xe6\x97\xa5 \xf0\x9f\x98\x80"),
        ("utf-8", True, rb"caf\udce9 " + "ä 日 😀".encode()),
        ("latin-1", False, b"caf\xe9 \xe4 \\u65e5 \\ud83d\\ude00"),
        ("ascii", True, rb"caf\udce9 \u00e4 \u65e5 \ud83d\ude00"),
    ],
)
def test_standard_output(monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool, printed: bytes) -> None:
    medium = Terminal() if terminal else io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(medium, encoding, write_through=True))
    prepare_streams()
    print(NAME, end="")
    assert medium.getvalue() == printed


def test_standard_error_shows_escapes_and_standard_input_gives_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(medium, "utf-8", write_through=True))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), "utf-8"))
    prepare_streams()
    print(sys.stdin.read(), end="", file=sys.stderr)
    assert medium.getvalue() == b"caf\\udce9\n"


def test_streams_that_are_closed_or_not_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    prepare_streams()
    print(NAME, file=sys.stderr)
    assert sys.stderr.getvalue() == f"{NAME}\n"  # type: ignore[attr-defined]


def test_errors_name_such_a_file(command: Command) -> None:
    result = command("data", "check", "caf\udce9")
    assert (result.code, result.err) == (2, "timesformer: caf\\udce9: no such data folder\n")


def test_printed_bytes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesformer.cli.main.app", lambda **_: sys.exit(print(NAME)))
    assert command().out == f"{NAME}\n"


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "utf-8:strict"}], ids=["C", "strict"])
def test_errors_in_a_process_of_its_own(tmp_path: Path, variables: dict[str, str]) -> None:
    words = [sys.executable, "-m", "timesformer", "data", "check", b"caf\xe9"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | variables, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"timesformer: caf\\udce9: no such data folder\n")
