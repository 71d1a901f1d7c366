"""Whether a converted Hugging Face folder agrees with `timesformer test` by the code of its model card, video by video.

    python benchmarks/huggingface_snippet.py WEIGHTS DATA

WEIGHTS are converted to a Hugging Face folder; the code block of its card is run as printed for each video of DATA's
test split, with the paths in it replaced. Printed: labels that agree, how far scores differ, top-1 both ways.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

import timesformer
from timesformer.weights.convert import convert


def card_scores(code: str, folder: Path, video: Path) -> torch.Tensor:
    """The scores (K,) that the card's code gives a video."""
    code = code.replace("THIS_FOLDER_OR_HUB_ID", str(folder)).replace("video.mp4", str(video))
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "README.md", "exec"), names)
    scores: torch.Tensor = names["scores"]
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    result = timesformer.evaluate(arguments.weights, arguments.data, precision="fp32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "huggingface"
        convert(arguments.weights, folder, "huggingface")
        blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        (code,) = (block for block in blocks if "from transformers" in block)
        theirs = torch.stack([card_scores(code, folder, Path(path)) for path in result.paths])
    ours = result.scores_BK
    agree = int((ours.argmax(1) == theirs.argmax(1)).sum())
    right = (theirs.argmax(1) == result.labels_B).float().mean()
    print(f"{agree} of {len(ours)} labels agree; scores within {float((ours - theirs).abs().max()):.1e}")
    print(f"top-1: timesformer test {result.summary()['top1']:.4f}, the card's code {float(right):.4f}")


if __name__ == "__main__":
    main()
