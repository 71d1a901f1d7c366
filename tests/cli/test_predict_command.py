"""`timesformer predict` as its users meet it: tables, tabs, JSON, rows as soon as they are known."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import timesformer
from commands import Command, assert_one_line
from timesformer.config import TimeSformerSettings
from timesformer.weights.classifier import Classifier


def test_a_long_path_is_never_cut(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    shutil.copy(bars / "test" / "left" / "0.mp4", folder / "0.mp4")
    piped = command("predict", run, folder, "--top", 1)
    assert piped.out.splitlines()[1].split("\t")[0] == str(folder / "0.mp4")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    seen = command("predict", run, folder, "--top", 1).out.splitlines()
    assert len(seen) > 2  # the path goes on in the next line
    assert "".join(line.split()[0] for line in seen[1:]) == str(folder / "0.mp4")


def test_predict_goes_on_after_a_bad_video(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    result = command("predict", run, tmp_path, "--json")
    assert_one_line(result, "2 of 3 videos cannot be read")
    assert f"skipped: {tmp_path / 'empty.mp4'}: the file is empty" in result.err.splitlines()
    found = {Path(entry["video"]).name: entry for entry in json.loads(result.out)}
    assert "problem" not in found["good.mp4"]
    assert found["empty.mp4"] == {
        "video": str(tmp_path / "empty.mp4"),
        "predictions": [],
        "problem": "the file is empty",
    }
    assert "text.mp4" in found
    missing = command("predict", run, tmp_path / "none.mp4")
    assert_one_line(missing, "1 of 1 videos cannot be read")
    assert "none.mp4: no such file" in missing.err


def test_json_lines(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    words = ("predict", run, bars / "test", tmp_path / "empty.mp4", "--workers", 0)
    lines = command(*words, "--out", "-")
    assert_one_line(lines, "1 of 5 videos cannot be read")
    array = command(*words, "--json")
    assert array.out.count("\n") == 1
    assert [json.loads(line) for line in lines.out.splitlines()] == json.loads(array.out)
    assert_one_line(command(*words, "--out", "rows.jsonl"), "--out rows.jsonl: expected -")
    assert_one_line(command(*words, "--out", "-", "--json"), "--json and --out - both print on standard output")


def test_urls_and_standard_input(command: Command, run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = bars / "test" / "left" / "0.mp4"
    (expected,) = json.loads(command("predict", run, video, "--precision", "fp32", "--json").out)
    for precision in ("fp32", "int8"):  # calibration reads what is classified too
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(video.read_bytes())))
        found = command("predict", run, "-", video.as_uri(), "--precision", precision, "--json", "--workers", 0)
        piped, named = json.loads(found.out)
        assert (piped["video"], named["video"]) == ("<stdin>", str(video))
        for row in (piped, named):
            assert row["predictions"][0]["label"] == expected["predictions"][0]["label"]
            assert row["predictions"][0]["score"] == pytest.approx(expected["predictions"][0]["score"], abs=0.02)


@pytest.fixture
def one_video_at_a_time(tmp_path: Path) -> Path:
    """Weights whose three views of a video keep a processor busy: no view waits for those of the next video."""
    settings = TimeSformerSettings(
        width=24, depth=1, heads=2, num_frames=8, image_size=64, patch_size=8, num_classes=2, scheme="space_only"
    )
    classifier = Classifier(timesformer.build_model(settings), labels=("left", "right"))
    classifier.save_pretrained(tmp_path / "weights")
    assert timesformer.load_engine(tmp_path / "weights", device="cpu").views == 3
    return tmp_path / "weights"


def test_a_row_comes_as_soon_as_it_is_known(one_video_at_a_time: Path, bars: Path) -> None:
    """The second video comes from a server that does not send it before the first row is there."""
    video, seen = bars / "test" / "left" / "0.mp4", threading.Event()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert seen.wait(60)
            content = video.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/b.mp4"
    code = "from timesformer.cli.main import main; main()"
    words = ["predict", one_video_at_a_time, video, url, "--out", "-", "--workers", "0", "--device", "cpu"]
    environment = {**os.environ, "no_proxy": "127.0.0.1", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONUNBUFFERED", None)
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert process.poll() is None
        seen.set()
        second = json.loads(process.stdout.readline())
        assert process.stdout.read() == ""
    server.shutdown()
    server.server_close()
    assert process.returncode == 0
    assert (first["video"], second["video"]) == (str(video), url)
    assert first["predictions"] == second["predictions"]
    assert {row["label"] for row in first["predictions"]} == {"left", "right"}


@pytest.mark.parametrize("words", [("--out", "-"), ()])
def test_rows_go_to_a_file_while_a_terminal_shows_the_bar(run: Path, bars: Path, words: tuple[str, ...]) -> None:
    terminal, its_end = pty.openpty()
    code = "from timesformer.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(run), str(bars / "test"), *words, "--workers", "0"],
        stdout=subprocess.PIPE,
        stderr=its_end,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
        check=True,
    )
    os.close(its_end)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert b"4/4" in shown
    assert b"0.mp4" not in shown
    assert done.stdout.count(str(bars / "test" / "left" / "0.mp4")) == (1 if words else 2)  # a line a class


def test_a_reader_that_stops_early(run: Path, bars: Path) -> None:
    """As `head -1` does: no traceback."""
    code = "from timesformer.cli.main import main; main()"
    words = ["predict", run, bars / "test", bars / "train", "--out", "-", "--workers", "0", "--device", "cpu"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
