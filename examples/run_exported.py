"""Classify a short video with a file of `timesformer export --format onnx`, by onnxruntime, av and numpy alone.

python examples/run_exported.py NET.onnx VIDEO
"""

import json
import sys

import av
import numpy as np
import onnxruntime

net, video = sys.argv[1:]
session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["timesformer"])
how, frames, side = about["preprocessing"], about["model"]["num_frames"], about["model"]["image_size"]
sampling, clips = how["sampling"], how["test_clips"]
with av.open(video) as container:
    images = list(container.decode(video=0))
if images[0].rotation:
    sys.exit(f"{video}: rotated by {images[0].rotation} degrees; this example takes upright videos")
last, high, wide, short = len(images) - 1, images[0].height, images[0].width, how["short_side"] or side
if sampling["method"] == "span":  # clips of neighbouring frames, evenly over the video
    fps = last / max(images[-1].time - images[0].time, 1e-9)
    span = frames * sampling["rate"] * (fps / sampling["fps"] if sampling["fps"] else 1)
    places = np.linspace(0, 1, clips) if clips > 1 else np.array([0 if sampling["single_clip"] == "start" else 0.5])
    starts = max(len(images) - span, 0) * places[:, None]
    numbers = (starts + np.linspace(0, max(span - 1, 0), frames) + 1e-6).astype(int).clip(0, last)
elif sampling["method"] == "segments":  # the same point of each of equal parts
    ends = np.linspace(0, last, frames + 1).round().astype(int)
    numbers = ends[:-1] + np.diff(ends) * (2 * np.arange(clips)[:, None] + 1) // (2 * clips)
else:
    sys.exit(f"{net}: sampling {sampling['method']}; this example has span and segments")
high, wide = (short, short * wide // high) if high <= wide else (short * high // wide, short)
top, left = (high - side + 1) // 2, (wide - side + 1) // 2
corners = [(top, left)]
if how["test_crops"] == 3:  # along the longer side
    corners += [(top, 0), (top, wide - side)] if wide >= high else [(0, left), (high - side, left)]
scores = []
for clip in numbers:
    scaled = [images[number].reformat(wide, high, "rgb24", interpolation="BILINEAR").to_ndarray() for number in clip]
    pixels = np.stack(scaled).transpose(3, 0, 1, 2)[None]  # one clip; red, green, blue; frames; rows; columns
    scores += [session.run(["scores"], {"clips": pixels[..., y : y + side, x : x + side]})[0][0] for y, x in corners]
mean = np.mean(scores, axis=0)
for number in np.argsort(-mean)[:5]:
    print(f"{about['labels'][number]}\t{mean[number]:.3f}")
