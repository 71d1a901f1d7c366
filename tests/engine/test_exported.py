"""OpenVINO beside signal handlers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from timesformer import Classifier, TimeSformer

PROGRAM = """
import gc, signal, subprocess, sys
import timesformer
engines = [timesformer.load_engine(sys.argv[1], "openvino", device="cpu") for _ in range(3)]
while engines:
    del engines[0]  # the oldest first
    gc.collect()
signal.signal(signal.SIGCHLD, lambda *given: None)
for _ in range(3):
    subprocess.run(["true"])
print("alive")
"""


def test_a_signal_after_engines_have_gone(tmp_path: Path) -> None:
    """A segmentation fault where each engine has an OpenVINO runtime of its own: a loader's workers end, say."""
    Classifier(
        TimeSformer(width=12, depth=1, heads=3, image_size=16, patch_size=8, num_frames=2, num_classes=2)
    ).save_pretrained(tmp_path / "net")
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "net")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
