"""Hostile uploads while good clients work: no good request fails, the service lives, memory and disk return.

    python benchmarks/serve_abuse.py WEIGHTS VIDEO|FOLDER... [--uploads 200] [--at-once 8] [--good 4] [--seed 0]

The uploads are, in turn: real files with bytes changed, and cut; pictures that are large when they are unpacked, and
headers that promise still larger ones; playlists that name files of the machine; bodies that do not end, or come one
byte at a time; forms that are none; and names that are paths. Prints how each kind was answered, what the good clients
got, and the service's memory and disk before and after. Exits with 1 where a good request was not answered with 200,
the service ended, its memory stayed more than 64 MiB higher, or uploads were left on the disk.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from serve_process import Served, ask, served, videos_of  # beside this file

ALLOWED = 64  # MiB that the service may keep
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: video/mp4\r\n"
LIMITS = ("--max-mb", "64", "--decode-seconds", "20", "--decode-mb", "512")
PATHS = ("../../../../etc/passwd", "/etc/shadow", "..\\..\\x", "a/../../b", "$(touch x)", "x" * 3000, "%2e%2e%2fx", "")


def png(side: int, rows: int) -> bytes:
    """A black picture, with so many of the rows that its header promises."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes((8, 2, 0, 0, 0))
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


class Abuse:
    """All kinds of hostile uploads, by name; each returns a status, 0 where there was no answer."""

    def __init__(self, service: Served, contents: list[bytes], seed: int) -> None:
        self.service, self.contents, self.random = service, contents, random.Random(seed)
        self.bomb = png(3000, 3000)
        self.kinds: dict[str, Callable[[], int]] = {
            "fuzzed": self.fuzzed,
            "cut": self.cut,
            "large picture": lambda: self.send(self.bomb),
            "huge header": lambda: self.send(self.random.choice((png(30000, 3), self.y4m()))),
            "playlist": lambda: self.send(self.random.choice(self.playlists())),
            "endless": self.endless,
            "slow": self.slow,
            "form": self.form,
            "path": self.path,
        }

    def send(self, content: bytes, name: str = "video.mp4") -> int:
        connection = self.service.connect()
        try:
            return ask(connection, content, name)[0]
        except OSError:
            return 0
        finally:
            connection.close()

    def fuzzed(self) -> int:
        content = bytearray(self.random.choice(self.contents))
        for _ in range(self.random.choice((1, 10, 100, 1000))):
            content[self.random.randrange(len(content))] = self.random.randrange(256)
        return self.send(bytes(content))

    def cut(self) -> int:
        content = self.random.choice(self.contents)
        return self.send(content[: self.random.randrange(1, len(content))])

    def y4m(self) -> bytes:
        return b"YUV4MPEG2 W16000 H16000 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1000)

    def playlists(self) -> list[bytes]:
        return [
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"<?xml version='1.0'?><MPD><Period><BaseURL>file:///etc/passwd</BaseURL></Period></MPD>",
        ]

    def raw(self, head: bytes, chunk: bytes, pause: float, seconds: float) -> int:
        """Send a chunk again and again until there is an answer, or the time is up."""
        try:
            with socket.create_connection(("127.0.0.1", self.service.port), timeout=seconds) as client:
                client.sendall(HEAD + head + b"\r\n")
                end, answer = time.monotonic() + seconds, b""
                while time.monotonic() < end and not answer:
                    client.sendall(chunk)
                    client.settimeout(pause)
                    try:
                        answer = client.recv(4096)
                    except TimeoutError:
                        continue
                    finally:
                        client.settimeout(seconds)
                return int(answer.split()[1]) if answer else 0
        except OSError:
            return 0

    def endless(self) -> int:
        return self.raw(b"Transfer-Encoding: chunked\r\n", b"100000\r\n" + bytes(0x100000) + b"\r\n", 0.001, 60)

    def slow(self) -> int:
        return self.raw(b"Content-Length: 1000000\r\n", b"x", 0.5, 5)  # and it leaves

    def form(self) -> int:
        connection = self.service.connect()
        kind = self.random.choice(("multipart/form-data", "multipart/form-data; boundary=x", "text/html", ""))
        try:
            connection.request("POST", "/v1/predict", self.random.randbytes(10_000), {"Content-Type": kind})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def path(self) -> int:
        return self.send(self.random.choice(self.contents), self.random.choice(PATHS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--good", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    contents = [file.read_bytes() for file in videos_of(given.videos)[:20]]
    good: Counter[int] = Counter()
    answers: dict[str, Counter[int]] = {}
    finished = threading.Event()

    with served(given.weights, *LIMITS) as service:

        def work(number: int) -> None:
            connection = service.connect()
            while not finished.is_set():
                number += 1
                try:
                    status = ask(connection, contents[number % len(contents)], "good.mp4")[0]
                except OSError:
                    status = 0
                    connection.close()
                good[status] += 1

        for content in contents[:4]:
            ask(service.connect(), content, "warm.mp4")
        before = service.resident()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(given.good)]
        for thread in threads:
            thread.start()
        abuse, start = Abuse(service, contents, given.seed), time.monotonic()
        with ThreadPoolExecutor(given.at_once) as pool:
            names = list(abuse.kinds)
            asked = [
                (name := names[number % len(names)], pool.submit(abuse.kinds[name])) for number in range(given.uploads)
            ]
            for name, answer in asked:
                answers.setdefault(name, Counter())[answer.result()] += 1
        seconds = time.monotonic() - start
        finished.set()
        for thread in threads:
            thread.join()
        time.sleep(2)
        alive = service.process.poll() is None
        after, peak, disk = service.resident(), service.resident("VmHWM"), service.on_disk()

    print(
        f"{given.uploads} hostile uploads, {given.at_once} at a time, in {seconds:.0f} s; status: count (0: no answer)"
    )
    for name, counts in answers.items():
        print(f"  {name:14}", ", ".join(f"{status}: {count}" for status, count in sorted(counts.items())))
    print(f"good requests of {given.good} clients:", dict(good))
    print(f"the service lives: {alive}; RSS {before:.0f} MiB before, {after:.0f} after, {peak:.0f} at its peak")
    print(f"bytes of uploads left: {disk}")
    sys.exit(set(good) != {200} or not alive or after > before + ALLOWED or disk > 0)


if __name__ == "__main__":
    main()
