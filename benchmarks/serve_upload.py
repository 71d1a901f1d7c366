"""How much a large upload grows the service.

    python benchmarks/serve_upload.py WEIGHTS [--mb 2048]

Sends a body of so many MiB that is no video, once as it is and once in a form, and prints the peak of the service's
memory (VmHWM) before and after, and the seconds it took. Exits with 1 where the peak rises by more than 64 MiB, or the
answer is not 415.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from serve_process import MIB, served  # beside this file

HEAD = b'--x\r\nContent-Disposition: form-data; name="video"; filename="large.mp4"\r\n\r\n'
TAIL = b"\r\n--x--\r\n"
ALLOWED = 64  # MiB of growth


def body(megabytes: int, form: bool) -> Iterator[bytes]:
    if form:
        yield HEAD
    chunk = bytes(MIB)
    for _ in range(megabytes):
        yield chunk
    if form:
        yield TAIL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--mb", type=int, default=2048)
    given = parser.parse_args()
    failed = False
    with served(given.weights, "--max-mb", str(given.mb + 1)) as service:
        print(f"{given.mb} MiB as   status   seconds   peak before   after   grown by (MiB)")
        for form in (False, True):
            size = given.mb * MIB + (len(HEAD) + len(TAIL) if form else 0)
            kind = "multipart/form-data; boundary=x" if form else "video/mp4"
            before, start = service.resident("VmHWM"), time.monotonic()
            connection = service.connect()
            headers = {"Content-Type": kind, "Content-Length": str(size)}
            connection.request("POST", "/v1/predict", body(given.mb, form), headers)
            status = connection.getresponse().status
            seconds, after = time.monotonic() - start, service.resident("VmHWM")
            name = "a form" if form else "it is"
            print(f"{name:>14}{status:9}{seconds:10.1f}{before:14.0f}{after:8.0f}{after - before:10.1f}")
            failed |= status != 415 or after - before > ALLOWED
            connection.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
