"""What one video costs on this machine: the defaults of `timesformer bench plan`.

    python benchmarks/scale_costs.py [--seconds 10] [--videos 8] [--views 3] [--size base]

Videos of 340 x 256 pixels at 30 frames a second are written: coloured blocks that move over others, h264 as
`write_video` makes it. Decoding is what a decoder of `--on ray` does for `predict`: a clip of 8 x 224 x 224, three
crops; the model is a network of random weights on one thread, in the engine and precision of `auto`. Times are of the
processor (time.process_time), so that other programs change them little; memory is PSS.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch

from timesformer import Classifier, build_model
from timesformer.config import TimeSformerSettings
from timesformer.inference.rows import write_parquet
from timesformer.scale.decoder import Decoder, End, Limits
from timesformer.scale.tasks import Loading, describe
from timesformer.scale.work import Prediction
from timesformer.video.encode import write_video

WIDTHS = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}


def film(frames: int, seed: int) -> torch.Tensor:
    """uint8 (3, T, 256, 340): a picture of coloured blocks that moves over a still one."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randint(0, 255, (3, 1, 16, 22), generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    clip = still[..., :340].repeat(1, frames, 1, 1)
    for frame in range(frames):
        column = frame * 2 % 240
        clip[:, frame, 80:180, column : column + 100] = still[:, 0, 20:120, 20:120].flip(1)
    return clip.to(torch.uint8)


def own_memory(process: int) -> float:
    """GB of a process, pages that several have divided among them (PSS)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--size", default="base", choices=WIDTHS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    width, depth, heads = WIDTHS[given.size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = TimeSformerSettings(width=width, depth=depth, heads=heads, num_classes=400)
        labels = tuple(f"class {number}" for number in range(400))
        Classifier(build_model(settings), labels=labels).save_pretrained(folder / "weights")
        files = [folder / f"{number}.mp4" for number in range(given.videos)]
        for number, file in enumerate(files):
            write_video(file, film(round(30 * given.seconds), number), 30)
        work, loading = Prediction(), Loading(weights=str(folder / "weights"), device="cpu")
        before = own_memory(os.getpid())
        about = describe(loading, 1, work)
        predictor = loading.load(1)
        decoder = Decoder(Limits())
        cpu, pieces = [], []
        for file in files:
            *views, end = decoder.read(pickle.dumps((work, about)), pickle.dumps((file, {})))
            assert isinstance(end, End)
            cpu.append(end.cpu / given.seconds)
            pieces.append(views[0])
        children = Path(f"/proc/{decoder._nursery.pid}/task/{decoder._nursery.pid}/children").read_text().split()
        memory = sum(own_memory(int(process)) for process in (*children, decoder._nursery.pid))
        took = []
        for piece in pieces[:3]:
            clips = torch.frombuffer(bytearray(piece.content), dtype=torch.uint8).reshape(piece.shape)
            began = time.process_time()
            for view in clips[: given.views]:
                predictor.engine(view[None])
            took.append((time.process_time() - began) / min(given.views, len(clips)))
        rows = [answer.as_dict() for answer in predictor.predict_all(list(map(str, files[:2])), workers=0)]
        draw = random.Random(0)
        for number in range(1000):  # other names and scores: equal ones would be written once
            best = [{"label": one["label"], "score": draw.random()} for one in rows[0]["predictions"]]
            rows.append({**rows[0], "video": f"s3://films/archive/{number:07}.mp4", "predictions": best})
        write_parquet(rows, folder / "rows.parquet")
        size = sum(file.stat().st_size for file in files) / given.videos / given.seconds
        print(f"engine       {about.description}")
        print(f"decode       {statistics.median(cpu):.4f} s of a core a second of video, median of {given.videos}")
        print(f"model        {statistics.median(took):.3f} s of a core a view")
        print(f"read         {size / 1e6:.3f} MB a second of video")
        print(f"write        {(folder / 'rows.parquet').stat().st_size / len(rows):.0f} bytes a video")
        print(f"decoder      {memory:.2f} GB, of its two processes")
        print(f"model        {own_memory(os.getpid()) - before:.2f} GB")
        decoder.close()


if __name__ == "__main__":
    main()
