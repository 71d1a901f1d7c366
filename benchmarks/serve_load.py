"""Throughput and latency of the service, beside the rate of `timesformer predict` on the same files, measured in turn.

    python benchmarks/serve_load.py WEIGHTS VIDEO|FOLDER... [--seconds 60] [--clients 1 8 64] [--files 100]
        [--threads N] [--tolerance 1e-3]

`timesformer predict` classifies the files before the first and after each number of clients (its rate, without loading,
is its own last line's; the service waits meanwhile); a number of clients is compared with the mean of the rates before
and after it. Its answers are those that the service must give: the same class, scores within the tolerance. Clients ask
from this machine, each for one file after another over a connection of its own; since they take of the same cores, they
send requests that were made before, and answers are looked at when the time is up. Whatever is not 200 is a failure.

Prints, for each number of clients, requests a second and that as a part of predict's rate; p50, p95 and p99 of the
latency of what was answered; wrong answers and failures; the service's memory (RSS) after a tenth of the time and at
the end; and milliseconds of a core that the clients took for a request. Exits with 1 where there were wrong answers or
failures.

A large network takes seconds for a video: bound the files, and the clients, as in

    python benchmarks/serve_load.py WEIGHTS VIDEOS --files 6 --clients 1 8 --seconds 60
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import sys
import threading
import time
from typing import Any

from serve_process import Served, form, predict, served, videos_of  # beside this file


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], tolerance: float) -> bool:
    scores = {row["label"]: row["score"] for row in expected}
    near = all(abs(row["score"] - scores.get(row["label"], row["score"])) <= tolerance for row in found)
    first = found[0]["label"] == expected[0]["label"] or abs(found[0]["score"] - expected[0]["score"]) <= tolerance
    return near and first and len(found) == len(expected)


def request_of(content: bytes) -> bytes:
    """A prediction of this video, as it goes over the wire."""
    body, headers = form(content, "video")
    lines = ["POST /v1/predict HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    """Status and body. Raises OSError where none comes."""
    answer, size = bytearray(), 0
    while not size or len(answer) < size:
        chunk = client.recv(2**16)
        if not chunk:
            raise ConnectionError("closed")
        answer += chunk
        end = answer.find(b"\r\n\r\n")
        if end >= 0 and not size:
            length = bytes(answer[:end]).lower().partition(b"content-length:")[2].split()[0]
            size = end + 4 + int(length)
    return int(answer.split(maxsplit=2)[1]), bytes(answer.partition(b"\r\n\r\n")[2])


class Load:
    """Clients that ask until the time is up."""

    def __init__(self, service: Served, requests: list[bytes]) -> None:
        self.service, self.requests = service, requests
        self.seconds: list[float] = []
        self.answers: list[tuple[int, bytes]] = []  # of which request, and its body
        self.failures: list[int] = []  # of each client

    def client(self, number: int, until: float) -> None:
        client: socket.socket | None = None
        turn, failed = number, 0
        while time.monotonic() < until:
            which = turn % len(self.requests)
            turn += 1
            start = time.monotonic()
            try:
                if client is None:
                    client = socket.create_connection(("127.0.0.1", self.service.port), timeout=600)
                client.sendall(self.requests[which])
                status, body = answer_of(client)
            except OSError:
                status, body = 0, b""
            if status == 200:
                self.seconds.append(time.monotonic() - start)
                self.answers.append((which, body))
            else:  # after which the service closes the connection
                failed += 1
                if client is not None:
                    client.close()
                client = None
        self.failures.append(failed)
        if client is not None:
            client.close()

    def run(self, clients: int, seconds: float) -> tuple[float, float, float, float]:
        """Seconds until the last answer, MiB of the service early and late, and seconds of a core that clients took."""
        start, processor = time.monotonic(), time.process_time()
        threads = [
            threading.Thread(target=self.client, args=(number * 7, start + seconds)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 10)
        early = self.service.resident()
        for thread in threads:
            thread.join()
        took = time.process_time() - processor
        return time.monotonic() - start, early, self.service.resident(), took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    given = parser.parse_args()
    options = ["--threads", str(given.threads)] if given.threads else []
    files = videos_of(given.videos)[: given.files]
    expected, before = predict(given.weights, files, options)
    print(f"predict: {before:.2f} videos/s, {len(files)} files")
    requests = [request_of(file.read_bytes()) for file in files]
    print("clients  requests/s  of predict     p50     p95     p99  wrong  failed   RSS MiB  client ms")
    good = True
    with served(given.weights, *options) as service:
        warm = Load(service, requests[:3])
        warm.run(3, 1)
        for clients in given.clients:
            load = Load(service, requests)
            seconds, early, late, processor = load.run(clients, given.seconds)
            _, after = predict(given.weights, files, options)
            wrong = sum(
                not same(json.loads(body)["predictions"], expected[str(files[which])], given.tolerance)
                for which, body in load.answers
            )
            ordered = sorted(load.seconds) or [math.nan]
            p50, p95, p99 = (ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.95, 0.99))
            per_second = len(load.seconds) / seconds
            failed = sum(load.failures)
            good &= not wrong and not failed and bool(load.seconds)
            print(
                f"{clients:7}{per_second:12.2f}{2 * per_second / (before + after):12.2f}{p50:8.3f}{p95:8.3f}{p99:8.3f}"
                f"{wrong:7}{failed:8}{early:6.0f}{late:6.0f}{1000 * processor / max(len(ordered), 1):9.2f}"
                f"   predict {before:.2f}, then {after:.2f}",
                flush=True,
            )
            before = after
    sys.exit(not good)


if __name__ == "__main__":
    main()
