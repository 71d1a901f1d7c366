"""Draw the pictures of the README: python docs/make_pictures.py [RUN]   (after `make demo`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import timesformer
from timesformer.data.motion import CLASSES, FPS, FRAMES, motion_clip
from timesformer.video.encode import write_video

SEED = 10**12 + 5  # in no split of the demo
COLUMNS = range(1, FRAMES, 3)


def motion(run: Path, out: Path) -> None:
    """One clip of each class from one seed, some of its frames, and what the demo's model says of it."""
    predictor = timesformer.load(run)
    pairs = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "growing", "shrinking")
    assert sorted(pairs) == sorted(CLASSES)
    figure, axes = plt.subplots(8, len(COLUMNS), figsize=(9, 8.3), gridspec_kw={"wspace": 0.04, "hspace": 0.08})
    with tempfile.TemporaryDirectory() as folder:
        for row, label in zip(axes, pairs, strict=True):
            clip = motion_clip(label, SEED)
            video = Path(folder) / f"{label}.mp4"
            write_video(video, clip, FPS)
            best = predictor.predict(video, top=1)[0]
            for axis, frame in zip(row, COLUMNS, strict=True):
                axis.imshow(motion_clip(label, SEED, 96, 112)[:, frame].permute(1, 2, 0))
                axis.set_xticks([])
                axis.set_yticks([])
                for spine in axis.spines.values():
                    spine.set(visible=frame == FRAMES // 2, color="#f5f5f5", linewidth=2.5)
            row[0].set_ylabel(label.replace("_", "-\n"), rotation=0, ha="right", va="center", fontsize=10)
            row[-1].text(
                1.08,
                0.5,
                f"{best.label.replace('_', '-')}\n{best.score:.3f}",
                transform=row[-1].transAxes,
                va="center",
                fontsize=10,
                color="#2a7f3e" if best.label == label else "#b3261e",
            )
    for axis, frame in zip(axes[0], COLUMNS, strict=True):
        axis.set_title("the same frame\nin all eight" if frame == FRAMES // 2 else f"frame {frame}", fontsize=9)
    axes[0][0].text(-0.08, 1.12, "class", transform=axes[0][0].transAxes, ha="right", fontsize=10, weight="bold")
    axes[0][-1].text(1.08, 1.12, "predicted", transform=axes[0][-1].transAxes, fontsize=10, weight="bold")
    figure.savefig(out, dpi=90, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    motion(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/run"), Path(__file__).parent / "images" / "motion.png")
