"""Every kind of source gives the views that the file gives; what is none of the kinds is one line."""

from __future__ import annotations

import functools
import http.server
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError, VideoError
from timesformer.video import container
from timesformer.video.source import MemoryFile, open_video, portable, source_name
from timesformer.video.views import read_views
from videos import write

SHAPE = ClipShape(frames=4, side=24)
COVER = Preprocessing(sampling=Sampling(method="cover", rate=3))
X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "3"}


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without ranges, so that FFmpeg cannot seek; of stops.mkv it sends a half."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/stops.mkv":
            return super().do_GET()
        content = Path(self.directory, "a.mkv").read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "a b.mp4", 40, options=X264)
    write(folder / "a.mkv", 40, options=X264)
    write(folder / "counted.avi", 40, options=X264)
    whole = (folder / "a.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(whole[:-9])
    (folder / "text.mp4").write_text("hello\n" * 100)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Address of a web server that serves `folder`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Pipe:
    """A file object that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


@pytest.mark.parametrize("file", ["a b.mp4", "a.mkv", "counted.avi"])
@pytest.mark.parametrize("kind", ["str", "file URL", "http", "bytes", "open file", "BytesIO", "pipe", "stdin", "moved"])
def test_every_kind_gives_the_views_of_the_file(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch, file: str, kind: str
) -> None:
    path = folder / file
    content = path.read_bytes()
    moved = io.BytesIO(content)
    moved.seek(1000)  # it is read from its start all the same
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with path.open("rb") as opened:
        sources: dict[str, tuple[Any, str]] = {
            "str": (str(path), str(path)),
            "file URL": (path.as_uri(), str(path)),
            "http": (f"{address}/{file.replace(' ', '%20')}", f"{address}/{file.replace(' ', '%20')}"),
            "bytes": (content, "<bytes>"),
            "open file": (opened, str(path)),
            "BytesIO": (io.BytesIO(content), "<file object>"),
            "pipe": (Pipe(content), "<file object>"),
            "stdin": ("-", "<stdin>"),
            "moved": (moved, "<file object>"),
        }
        source, name = sources[kind]
        with open_video(source) as video, open_video(path) as expected:
            assert str(video.name) == name
            assert (video.num_frames, video.fps, video.codec) == (40, expected.fps, "h264")
            views = read_views(video, SHAPE, COVER)
            assert torch.equal(views, read_views(path, SHAPE, COVER))
            numbers = [33, 5, 39, 21, 12, 0]
            assert torch.equal(video.read(numbers), expected.read(numbers))
        assert not opened.closed  # it is not ours
    assert views.shape == (9, 3, 4, 24, 24)


def test_a_folder_given_as_a_url(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(VideoError, match="holds no image frames") as raised:
        open_video((tmp_path / "images").as_uri())
    assert raised.value.path == tmp_path / "images"


class Unequal:
    """Cannot be compared, like an array or a table."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def refused(source: Any, error: type[Exception], because: str) -> None:
    with pytest.raises(error, match=because) as raised, open_video(source) as video:
        video.read([0])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", [None, 5, 2.5, object(), {"a.mp4"}, {"path": "a.mp4"}, Unequal()])
def test_what_is_no_source(source: Any) -> None:
    refused(source, SettingError, rf"^video: {type(source).__name__}; expected a path, a URL, '-' for standard input, ")
    with pytest.raises(SettingError, match="expected a path, a URL"):
        portable(source)


def test_bytes_and_file_objects_that_are_no_videos(folder: Path) -> None:
    refused(b"", VideoError, "^<bytes>: the file is empty$")
    refused(b"no video" * 100, VideoError, "^<bytes>: cannot be opened as a video or an image: Invalid data")
    refused(io.BytesIO(), VideoError, "^<file object>: the file is empty$")
    refused(io.StringIO("text"), SettingError, "the file object <file object> is in text mode; open it with mode 'rb'$")
    with (folder / "text.mp4").open() as text:
        refused(text, SettingError, r"text\.mp4 is in text mode; open it with mode 'rb'$")
    refused(text, VideoError, r"text\.mp4: cannot be read: I/O operation on closed file")
    whole = (folder / "a.mkv").read_bytes()
    refused(whole[:-9], VideoError, "^<bytes>: truncated: the file ends before its last frame$")
    refused(io.BytesIO(whole[:-9]), VideoError, "^<file object>: truncated")


def test_addresses_that_give_no_video(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(f"{address}/none.mp4", VideoError, rf"^{address}/none\.mp4: cannot be opened .*: Server returned 404")
    refused(f"{address}/text.mp4", VideoError, r"text\.mp4: cannot be opened .*: Invalid data")
    refused(f"{address}/cut.mkv", VideoError, r"cut\.mkv: truncated: the file ends before its last frame$")
    refused(f"{address}/stops.mkv", VideoError, r"stops\.mkv: (damaged|truncated): ")
    refused("nonsense://a.mp4", VideoError, "^nonsense://a.mp4: cannot be opened .*: Protocol not found$")
    refused((folder / "none.mp4").as_uri(), VideoError, r"/none\.mp4: no such file$")
    monkeypatch.setattr(container, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"
        refused(silent_address, VideoError, r"a\.mp4: cannot be opened .*: no answer within 0\.3 seconds$")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://[cdn]/a.mp4", "'cdn' does not appear to be an IPv4 or IPv6 address"),
        ("rtsp://[::1/a.mp4", "Invalid IPv6 URL"),
        ("file://[a/b.mp4", "Invalid IPv6 URL"),
        ("https://a\u2100b/c.mp4", "netloc 'a\u2100b' contains invalid characters under NFKC normalization"),
    ],
)
def test_what_only_looks_like_a_url(url: str, reason: str) -> None:
    refused(url, VideoError, f"^{re.escape(url)}: not a URL: {re.escape(reason)}$")
    assert (portable(url), source_name(url)) == (url, url)


def test_files_have_a_frame_rate_of_their_own(folder: Path) -> None:
    for source in (folder / "a.mkv", str(folder), b"", "-", io.BytesIO()):
        with pytest.raises(SettingError, match=r"^fps is 25; only arrays and lists take a frame rate, other videos"):
            open_video(source, fps=25)
    with open_video(folder / "a.mkv") as video, pytest.raises(SettingError, match="fps is 25; the video is open"):
        read_views(video, SHAPE, COVER, fps=25)


def test_what_other_processes_can_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.mkv"
    expected = read_views(path, SHAPE, COVER)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(path.open("rb")))
    with path.open("rb") as opened:
        opened.seek(100)
        sources: list[Any] = [path, str(path), path.read_bytes(), opened, "-"]
        sent = [pickle.loads(pickle.dumps(portable(source))) for source in sources]
    sys.stdin.close()
    assert [type(source) for source in sent[3:]] == [MemoryFile, MemoryFile]
    assert [str(open_video(source).name) for source in sent[3:]] == [str(path), "<stdin>"]
    for source in sent:
        assert torch.equal(read_views(source, SHAPE, COVER), expected)
    images = torch.zeros(3, 6, 32, 32, dtype=torch.uint8)
    sent_images = pickle.loads(pickle.dumps(portable(images, fps=5)))
    assert (sent_images.num_frames, sent_images.fps) == (6, 5)


def test_descriptors_are_read_whole(folder: Path) -> None:
    """A shell's <(cat a.mkv), /dev/stdin: pipes, that is. Other processes do not have them."""
    path = folder / "a.mkv"
    expected = read_views(path, SHAPE, COVER)
    for portably in (False, True):
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            name = f"/dev/fd/{process.stdout.fileno()}"
            source = pickle.loads(pickle.dumps(portable(name))) if portably else Path(name)
            with open_video(source) as video:
                assert str(video.name) == name
                assert torch.equal(read_views(video, SHAPE, COVER), expected)
    with path.open("rb") as file:  # a shell's 3< a.mkv
        assert torch.equal(read_views(f"/proc/self/fd/{file.fileno()}", SHAPE, COVER), expected)
    refused("/dev/fd/987", VideoError, "^/dev/fd/987: cannot be read: No such file or directory$")
    assert source_name("/dev/stdin") == Path("/dev/stdin")
    own = os.dup(0)
    try:
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            os.dup2(process.stdout.fileno(), 0)
            assert torch.equal(read_views("/dev/stdin", SHAPE, COVER), expected)
    finally:
        os.dup2(own, 0)
        os.close(own)


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    refused("-", VideoError, r"^<stdin>: cannot be read: ")


def test_streams_that_cannot_be_read_twice(tmp_path: Path, folder: Path, address: str) -> None:
    """A named pipe, which nobody need write to, a device, a camera, a broadcast: never a process that hangs."""
    os.mkfifo(tmp_path / "pipe.mp4")
    what = "a stream, which cannot be read twice; save the part that is meant as a file, or send it to standard input"
    refused(tmp_path / "pipe.mp4", VideoError, rf"pipe\.mp4: {what}, '-'$")
    refused("/dev/null", VideoError, f"^/dev/null: {what}")
    for url in ("rtsp://127.0.0.1/camera", "RTMPS://127.0.0.1/live/a", "udp://127.0.0.1:9", "pipe://0"):
        refused(url, VideoError, f"^{url}: {what}")
    write(folder / "part.ts", 40, options=X264)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\npart.ts\n"
    (folder / "live.m3u8").write_text(playlist)
    (folder / "over.m3u8").write_text(f"{playlist}#EXT-X-ENDLIST\n")
    refused(f"{address}/live.m3u8", VideoError, f"^{address}/live.m3u8: {what}")
    with open_video(f"{address}/over.m3u8") as video:
        assert video.num_frames == 40


def test_a_url_that_became_a_path() -> None:
    """As in a data set's list, or by Path: the two slashes are one."""
    for path in (Path("https://example.org/a.mp4"), "data/http:/example.org/a.mp4"):
        refused(
            path, VideoError, r"/a\.mp4: no such file; a URL is given as a string, and lists of a data set take files"
        )
