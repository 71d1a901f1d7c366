"""How soon a video model learns motion from an image model, by how what the image model lacks starts.

    python benchmarks/motion_start.py DINOV2 [START ...]

DINOV2: a folder of DINOv2-small. A START is TIME,FC,FACTOR: the scale of the time table
(`timesformer.model.initialise.draw_time_table`), the deviation of temporal_fc's weights times sqrt(width),
and `optimizer.new_rate_factor`; 0,0,1 is the released code's, 0.46,0,1 that of initialisation motion. Trained are
the parts for video of the first `--depth` blocks, on clips of the motion data that never come twice, in bf16. A clip
is scored among its class and the same motion played backwards: a model that is blind to the order of frames stays at a
loss of ln 2 = 0.693. Printed: the mean loss of every ten steps.
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from timesformer.config import Optimizer, Preprocessing, TimeSformerSettings, Training
from timesformer.data.motion import CLASSES, motion_clip
from timesformer.model.initialise import draw_time_table
from timesformer.model.protocol import Blocks
from timesformer.training.optim import make_optimizer
from timesformer.training.trainable import find_trainable
from timesformer.video.transforms import normalise
from timesformer.weights.initialise import initialise_classifier

STARTS = ("0,0,1", "0,0.3,1", "0.46,0,1", "0.46,0.3,1", "0.46,0,3")
LINES = tuple(map(CLASSES.index, ("left", "right", "up", "down")))
BACKWARDS = dict(zip(LINES, (LINES[1], LINES[0], LINES[3], LINES[2]), strict=True))
WARMUP = 10  # steps


def draw(first: int, batch: int, side: int, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Clips number `first` on, six frames each, with their classes and those of the clips played backwards (B, 2)."""
    labels = [LINES[number % len(LINES)] for number in range(first, first + batch)]
    clips = [
        motion_clip(CLASSES[label], (first + row) * 1000, side, side)[:, 3:19:3] for row, label in enumerate(labels)
    ]
    return normalise(torch.stack(clips), preprocessing), torch.tensor([[label, BACKWARDS[label]] for label in labels])


def learn(arguments: argparse.Namespace, time_scale: float, fc_scale: float, factor: float) -> list[float]:
    """The loss of each step."""
    torch.manual_seed(arguments.seed)
    settings = TimeSformerSettings(image_size=arguments.side, patch_size=14, num_frames=6, drop_path=0.0)
    made = initialise_classifier(settings, Preprocessing(), CLASSES, arguments.weights)
    model = made.classifier.model
    model.blocks = Blocks(list(model.blocks())[: arguments.depth])
    draw_time_table(model, time_scale)
    for name, parameter in model.named_parameters():
        if fc_scale and name.endswith(".fc.weight"):
            torch.nn.init.trunc_normal_(parameter, std=fc_scale * parameter.shape[1] ** -0.5)
    new = frozenset(name for name, _ in model.named_parameters()) & made.new
    trainable = find_trainable(model, Training(trainable="video"), new)
    assert trainable is not None
    trainable.apply(model, seed=0)
    rate = Optimizer(
        name="adamw",
        learning_rate=3e-4,
        scale_learning_rate="none",
        weight_decay=0.05,
        decay_all=False,
        new_rate_factor=factor,
    )
    optimizer = make_optimizer(model, rate, arguments.batch, new=new, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    losses = []
    model.train()
    for step in range(arguments.steps):
        clips, labels_B2 = draw(step * arguments.batch, arguments.batch, arguments.side, made.classifier.preprocessing)
        with torch.autocast("cpu", torch.bfloat16):
            logits_BK = model(clips)
        loss = F.cross_entropy(logits_BK.float().gather(1, labels_B2), torch.zeros_like(labels_B2[:, 0]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("starts", nargs="*", default=STARTS, metavar="TIME,FC,FACTOR")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--side", type=int, default=42)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ends = [f"to {10 * (part + 1)}" for part in range(math.ceil(arguments.steps / 10))]
    table = Table("time table", "temporal_fc", "rate of new", *ends, title=f"loss; ln 2 is {math.log(2):.3f}")
    for start in arguments.starts:
        losses = torch.tensor(learn(arguments, *map(float, start.split(","))))
        table.add_row(*start.split(","), *(f"{part.mean():.3f}" for part in losses.split(10)))
        print(start, [round(float(part.mean()), 3) for part in losses.split(10)], flush=True)
    Console().print(table)


if __name__ == "__main__":
    main()
