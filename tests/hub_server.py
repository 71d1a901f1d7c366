"""A small server on this machine that speaks the hub's file protocol, and programs that load from it."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Serves one folder as the model me/tiny, at revisions main, v1 and COMMIT, and records what was asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.failure = ""
        self.commit = COMMIT
        self.address = f"http://127.0.0.1:{self.server_port}"

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002  (its name in the standard library)
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:4] == ["api", "models", "me", "tiny"]:
            revision = parts[5] if len(parts) > 5 else "main"
            if revision not in ("main", "v1", self.server.commit):
                self.refuse("RevisionNotFound")
            elif parts[4:5] == ["tree"]:
                entries = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": self.tag(path)}
                    for path in self.server.files()
                ]
                self.answer(json.dumps(entries).encode(), {"Content-Type": "application/json"})
            else:
                siblings = [{"rfilename": path.name} for path in self.server.files()]
                info = {
                    "_id": "1",
                    "id": "me/tiny",
                    "modelId": "me/tiny",
                    "sha": self.server.commit,
                    "siblings": siblings,
                    "private": False,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                }
                self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif parts[:2] == ["me", "tiny"] and parts[2:3] == ["resolve"]:
            path = self.server.folder / parts[-1]
            if not path.is_file():
                self.refuse("EntryNotFound")
            elif self.command == "GET" and path.suffix == ".safetensors" and self.server.failure:
                self.fail(path.stat().st_size)
            else:
                self.answer(path.read_bytes(), {"ETag": f'"{self.tag(path)}"', "X-Repo-Commit": self.server.commit})
        else:
            self.refuse("RepoNotFound")

    @staticmethod
    def tag(path: Path) -> str:
        return hashlib.sha1(path.read_bytes()).hexdigest()

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "not here")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def fail(self, size: int) -> None:
        """Give up before, or in the middle of, a file's content."""
        self.send_response(500 if self.server.failure == "error" else 200)
        self.send_header("Content-Length", str(0 if self.server.failure == "error" else size))
        self.end_headers()
        self.wfile.write(b"" if self.server.failure == "error" else bytes(1000))
        self.close_connection = True

    def answer(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


OPEN = """from timesformer.weights.classifier import load_model
print(' '.join(load_model(sys.argv[1]).labels))"""


# Imports what all programs do, once: that takes longer than what they do. huggingface_hub, which reads its variables
# when it is imported, each of them imports itself.
FORKS = """
import json, os, sys
import timesformer.weights.initialise
assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    code, words, variables = json.loads(line)
    reader, writer = os.pipe()
    if not os.fork():
        os.environ.clear()
        os.environ.update(variables)
        os.dup2(writer, 1)
        sys.argv = words
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        said = stream.read()
    print(json.dumps([said, os.wait()[1]]), flush=True)
"""


@cache
def _forks() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def load(hub_id: str, address: str, cache: Path, program: str = OPEN, **environment: str) -> str:
    """What a program of its own prints that loads a hub id: labels, or the error."""
    code = (
        "import sys\n"
        "from timesformer.errors import WeightsError\n"
        "try:\n" + textwrap.indent(program, "    ") + "\n"
        "except WeightsError as error:\n    print(f'refused: {error}')\n"
    )
    variables = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "60",
        "HF_HUB_ETAG_TIMEOUT": "60",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    forks = _forks()
    assert forks.stdin is not None
    assert forks.stdout is not None
    print(json.dumps([code, ["-c", hub_id], variables]), file=forks.stdin, flush=True)
    said, status = json.loads(forks.stdout.readline())
    assert status == 0, said
    return str(said).strip()


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if ".no_exist" not in str(path)}
