"""Clips a second of the loader alone against the training step of a model: which of the two limits a run here.

    python benchmarks/loading.py DATA [WORKERS]

DATA: a data set, such as ../shared/datasets/surveillance-fight. The clips are those of the recipe k400-base: 8 frames
of 224 x 224 out of a random short side of 256 to 320, without and with the augmentation of the recipe finetune. The
step is forward, backward and optimiser of the base model in bf16 with 4 clips; the median of 3 steps.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.nn.functional as F

from timesformer import TimeSformer
from timesformer.config import Data
from timesformer.data.dataset import TrainingClips
from timesformer.data.loader import training_loader
from timesformer.data.manifest import read_manifest
from timesformer.recipes import load_recipe
from timesformer.training.optim import make_optimizer

BATCH = 4
CLIPS = 120


def loading_rate(data: str, recipe_name: str, workers: int) -> float:
    """Clips a second, from the second batch on."""
    base, other = load_recipe("k400-base"), load_recipe(recipe_name)
    clips = TrainingClips(
        read_manifest(data, "train"), base.model.clip_shape, base.preprocessing, other.augmentation, 0
    )
    batches = iter(training_loader(clips, BATCH, Data(workers=workers)))
    next(batches)
    began, seen = time.perf_counter(), 0
    for batch in batches:
        seen += len(batch.views_VCTSS)
        if seen >= CLIPS:
            break
    return seen / (time.perf_counter() - began)


def step_rate() -> float:
    """Clips a second of training steps on clips that are there already."""
    recipe = load_recipe("k400-base")
    model = TimeSformer(**recipe.model.model_dump(), num_classes=400).train()
    optimizer = make_optimizer(model, recipe.optimizer, BATCH, fused=True)
    clips, labels = torch.randn(BATCH, 3, 8, 224, 224), torch.randint(400, (BATCH,))
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(clips)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    return BATCH / statistics.median(seconds[1:])


def main() -> None:
    data = sys.argv[1]
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    steps = step_rate()
    print(f"step of the base model, bf16, {BATCH} clips     {steps:8.3f} clips a second")
    for recipe in ("k400-base", "finetune"):
        rate = loading_rate(data, recipe, workers)
        times = rate / steps
        print(f"loader, {workers} workers, augmentation of {recipe:10} {rate:8.3f} clips a second, {times:.0f} times")


if __name__ == "__main__":
    main()
