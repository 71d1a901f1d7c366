"""`timesformer serve` as a process, and clients of it, for the benchmarks serve_*.py."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 2**20


class Served:
    """A service that answers. spool: the folder of its uploads."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, spool: Path, log: Path) -> None:
        self.process, self.port, self.spool, self.log = process, port, spool, log

    def resident(self, what: str = "VmRSS") -> float:
        """MiB of the service's own process; VmHWM is its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    def on_disk(self) -> int:
        """Bytes of uploads."""
        return sum(path.stat().st_size for path in self.spool.rglob("*") if path.is_file())

    def connect(self, timeout: float = 600) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)


def form(content: bytes, name: str) -> tuple[bytes, dict[str, str]]:
    """A body with this video, and its headers."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def ask(connection: http.client.HTTPConnection, content: bytes, name: str, top: int = 5) -> tuple[int, Any]:
    """Status and body of a prediction."""
    body, headers = form(content, name)
    connection.request("POST", f"/v1/predict?top_k={top}", body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@contextmanager
def served(weights: str, *options: str) -> Iterator[Served]:
    """A service of these weights, until the block ends. Exits where it ends badly, or leaves uploads behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        spool, log = Path(scratch).resolve() / "spool", Path(scratch) / "log"
        spool.mkdir()
        command = [sys.executable, "-m", "timesformer", "serve", weights, "--port", str(port), *options]
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stderr=errors, env=os.environ | {"TMPDIR": str(spool)})
        try:
            while b" at http://" not in log.read_bytes():
                if process.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.1)
            yield Served(process, port, spool, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        if process.returncode:
            sys.exit(f"the service ended with {process.returncode}: {log.read_text()[-2000:]}")
        # Beside uploads: the cache of torch, and what ONNX Runtime keeps of its session.
        left = [path for path in spool.iterdir() if not path.name.startswith(("torchinductor_", ".ses"))]
        if left:
            sys.exit(f"left behind: {' '.join(map(str, left))}")


def predict(weights: str, files: list[Path], options: list[str]) -> tuple[dict[str, Any], float]:
    """The answers of `timesformer predict`, by path, and its videos a second."""
    command = [sys.executable, "-m", "timesformer", "predict", weights, *map(str, files), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate = re.search(r"([0-9.]+) videos/s", done.stderr)
    assert rate, "give at least two files"
    return {row["video"]: row["predictions"] for row in json.loads(done.stdout)}, float(rate[1])


def videos_of(given: list[str]) -> list[Path]:
    """Files, and those in folders."""
    paths = [Path(name) for name in given]
    found = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [file for file in found if file.suffix.lower() in (".mp4", ".webm", ".avi", ".mkv", ".mov")]
