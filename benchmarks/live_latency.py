"""A live stream for measuring latency: MPEG-TS of 640 x 480 pixels, 25 frames a second, in real time.

    python benchmarks/live_latency.py SECONDS | timesformer timeline WEIGHTS - --out FILE.jsonl

Its last line says the latency. H.264 without frames that wait for later ones, of random blocks that drift.
"""

from __future__ import annotations

import sys
import time

import av
import numpy as np

RATE, BLOCK = 25, 16


def main() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (480 // BLOCK, 640 // BLOCK, 3), dtype=np.uint8)
    picture = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)
    with av.open(sys.stdout.buffer, "w", format="mpegts", options={"flush_packets": "1"}) as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(RATE)}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = 480, 640, "yuv420p"
        begun = time.monotonic()
        for number in range(round(RATE * float(sys.argv[1]))):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * number, 1), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


main()
