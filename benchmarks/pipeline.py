"""From video files to labels: `timesformer predict` against the video-classification pipeline of transformers.

    python benchmarks/pipeline.py [--videos 12] [--rounds 3] [--size base]

Both name the same 10-second h264 files of 340 x 256 pixels, 30 frames a second, with the same random weights and the
same views: 8 frames over 256, short side 224, three crops, mean of softmax scores. The pipeline sees one view only, so
its `preprocess` is replaced by one that cuts three crops out of what its processor makes, and its `postprocess` by the
mean. Each runs in a process of its own, in turn; both are warmed by one video, and timed over the rest. Memory is the
largest sum of the proportional set sizes of the process and its children, looked at ten times a second from its start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDE, FRAMES, RATE = 224, 8, 32


def peer(weights: str, videos: list[str]) -> dict[str, Any]:
    """transformers' pipeline."""
    import av
    import numpy as np
    import torch
    from transformers import VideoClassificationPipeline, pipeline
    from transformers.pipelines.video_classification import read_video_pyav

    class ThreeCrops(VideoClassificationPipeline):
        def preprocess(self, video: str, num_frames: int = FRAMES, frame_sampling_rate: int = RATE) -> Any:
            with av.open(video) as container:
                total = container.streams.video[0].frames
                start = (total - num_frames * frame_sampling_rate) // 2
                indices = np.linspace(start, start + num_frames * frame_sampling_rate - 1, num_frames, dtype=np.int64)
                frames = list(read_video_pyav(container, indices))
            made = self.image_processor(frames, return_tensors="pt", do_center_crop=False)["pixel_values"]
            gap = (made.shape[-1] - SIDE) // 2
            crops = [made[..., :SIDE, left : left + SIDE] for left in (0, gap, made.shape[-1] - SIDE)]
            return {"pixel_values": torch.cat(crops)}

        def postprocess(self, outputs: Any, top_k: int = 5, function_to_apply: Any = None) -> Any:
            scores, numbers = outputs.logits.softmax(1).mean(0).topk(top_k)
            return [
                (self.model.config.id2label[number], score)
                for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
            ]

    name = pipeline("video-classification", model=weights, pipeline_class=ThreeCrops, device="cpu")
    name(videos[0])
    began = time.perf_counter()
    answers = [name(video) for video in videos[1:]]
    return {"seconds": time.perf_counter() - began, "answers": answers}


def ours(weights: str, videos: list[str]) -> dict[str, Any]:
    """This package, as `timesformer predict` does it."""
    from timesformer import load

    predictor = load(weights)
    list(predictor.predict_all(videos[:1]))
    began = time.perf_counter()
    answers = [answer.predictions for answer in predictor.predict_all(videos[1:])]
    return {"seconds": time.perf_counter() - began, "engine": str(predictor.engine), "answers": answers}


def measured(which: str, weights: Path, videos: list[Path]) -> dict[str, Any]:
    """Run one in a process of its own; adds `memory` in bytes."""
    words = [sys.executable, __file__, "--child", which, str(weights), *map(str, videos)]
    most = 0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(words, stdout=printed, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, proportional(process.pid))
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
        printed.seek(0)
        return {**json.loads(printed.read().splitlines()[-1]), "memory": most}


def proportional(process: int) -> int:
    """Bytes of a process and all that come from it; what they share counts once."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0
    own = next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return own + sum(proportional(int(child)) for child in children)


def write_videos(folder: Path, count: int) -> list[Path]:
    """Files of drifting, textured colours: 300 frames of 256 x 340."""
    import torch
    import torch.nn.functional as F

    from timesformer.video.encode import write_video

    paths = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        coarse = torch.rand(1, 3, 30, 12, 16, generator=generator)
        grain = torch.randn(3, 1, 256, 340, generator=generator) * 12
        clip = F.interpolate(coarse, size=(300, 256, 340), mode="trilinear")[0] * 255 + grain
        paths.append(folder / f"{number}.mp4")
        write_video(paths[-1], clip.clamp(0, 255).to(torch.uint8), 30, crf=23)
    return paths


def save(folder: Path, size: Any) -> dict[str, Path]:
    """The same random weights for both."""
    from timesformer.bench.model import random_classifier
    from timesformer.config import TimeSformerSettings
    from timesformer.weights.convert import save_as

    classifier = random_classifier(TimeSformerSettings(size=size, num_frames=FRAMES, image_size=SIDE, num_classes=400))
    places = {
        which: save_as(classifier, folder / which, kind)
        for which, kind in (("peer", "huggingface"), ("ours", "native"))
    }
    processor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.45] * 3,
        "image_std": [0.225] * 3,
    }
    (folder / "peer" / "preprocessor_config.json").write_text(json.dumps(processor))
    return places


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps({"peer": peer, "ours": ours}[sys.argv[2]](sys.argv[3], sys.argv[4:])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="base")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # In a child, so that what makes the videos does not stay in this process's memory.
        if os.fork() == 0:
            save(Path(folder), arguments.size)
            write_videos(Path(folder), arguments.videos + 1)
            os._exit(0)
        if os.wait()[1]:
            raise SystemExit("the videos could not be made")
        videos = [Path(folder) / f"{number}.mp4" for number in range(arguments.videos + 1)]
        rows: dict[str, list[dict[str, Any]]] = {"peer": [], "ours": []}
        for number in range(arguments.rounds):
            for which in rows:
                rows[which].append(measured(which, Path(folder) / which, videos))
                found = rows[which][-1]
                print(
                    f"round {number + 1}, {which}: {arguments.videos / found['seconds']:.3f} videos/s, "
                    f"{found['memory'] / 2**20:.0f} MiB {found.get('engine', '')}",
                    flush=True,
                )
    pairs = list(zip(rows["peer"], rows["ours"], strict=True))
    same = statistics.mean(
        a[0][0] == b[0][0] for one, two in pairs for a, b in zip(one["answers"], two["answers"], strict=True)
    )
    print(f"videos a second: {statistics.median(one['seconds'] / two['seconds'] for one, two in pairs):.2f} times")
    print(f"peak memory: {statistics.median(two['memory'] / one['memory'] for one, two in pairs):.2f} times")
    print(f"the same first label: {same:.0%}")


if __name__ == "__main__":
    main()
