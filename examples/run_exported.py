"""Classify a video with a file of `timesformer export --format onnx`, by onnxruntime, av and numpy alone.

python examples/run_exported.py NET.onnx VIDEO
"""

import itertools
import json
import sys

import av
import numpy as np
import onnxruntime


def numbers_of(clip: int, clips: int, length: int, fps: float) -> list[int]:
    """Which frames of a video of `length` frames make clip number `clip` of all that it is classified by."""
    if sampling["method"] == "segments":  # the same point of each of equal parts
        ends = [round((length - 1) / frames * part) for part in range(frames + 1)]
        return [a + (b - a) * (2 * clip + 1) // (2 * clips) for a, b in itertools.pairwise(ends)]
    span = frames * sampling["rate"] * (fps / sampling["fps"] if sampling["fps"] else 1)
    place = clip / (clips - 1) if clips > 1 else 0 if sampling["single_clip"] == "start" else 0.5
    start, gap = max(length - span, 0) * place, max(span - 1, 0) / max(frames - 1, 1)
    return [min(max(int(start + number * gap + 1e-6), 0), length - 1) for number in range(frames)]


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["timesformer"])
how, frames, side = about["preprocessing"], about["model"]["num_frames"], about["model"]["image_size"]
sampling, clips = how["sampling"], how["test_clips"]
with av.open(sys.argv[2]) as container:
    images = list(container.decode(video=0))  # all of them: for short videos
assert sampling["method"] != "cover", "this example is for sampling span and segments"
assert not images[0].rotation, "this example turns no videos"
fps = (len(images) - 1) / max(images[-1].time - images[0].time, 1e-9)
high, wide, short = images[0].height, images[0].width, how["short_side"] or side
high, wide = (short, short * wide // high) if high <= wide else (short * high // wide, short)
top, left = (high - side + 1) // 2, (wide - side + 1) // 2
corners = [(top, left)]
if how["test_crops"] == 3:  # along the longer side
    corners += [(top, 0), (top, wide - side)] if wide >= high else [(0, left), (high - side, left)]
scores = []
for clip in range(clips):
    shown = [images[number] for number in numbers_of(clip, clips, len(images), fps)]
    scaled = [image.reformat(wide, high, "rgb24", interpolation="BILINEAR").to_ndarray() for image in shown]
    pixels = np.stack(scaled).transpose(3, 0, 1, 2)[None]  # one clip; red, green, blue; frames; rows; columns
    for y, x in corners:
        crop = np.ascontiguousarray(pixels[..., y : y + side, x : x + side])
        scores.append(session.run(["scores"], {"clips": crop})[0][0])
mean = np.mean(scores, axis=0)
for number in np.argsort(-mean)[:5]:
    print(f"{about['labels'][number]}\t{mean[number]:.3f}")
