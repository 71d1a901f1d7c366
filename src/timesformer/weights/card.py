"""The model card: what a folder of weights is, for people and for the hub."""

from __future__ import annotations

import json

from timesformer.weights.classifier import Classifier


def model_card(classifier: Classifier) -> str:
    """A README.md with the hub's fields, written from the classifier and the facts of its training; a "licence" among
    them becomes the hub's licence field."""
    settings, preprocessing = classifier.model.settings, classifier.preprocessing
    width, depth, heads = settings.dimensions
    sampling = preprocessing.sampling
    facts = classifier.facts
    licence = facts.get("licence", "unknown")
    rows = {
        "architecture": f"TimeSformer, {settings.scheme}, width {width}, {depth} blocks, {heads} heads, patch "
        f"{settings.patch_size}",
        "clip": f"{settings.num_frames} frames of {settings.image_size} x {settings.image_size} pixels, "
        f"{sampling.method}" + (f", rate {sampling.rate:g}" if sampling.method != "segments" else ""),
        "pixels": f"{preprocessing.channels.upper()}, mean {list(preprocessing.mean)}, std {list(preprocessing.std)}",
        "test": f"{preprocessing.test_clips} clips x {preprocessing.test_crops} crops, mean of softmax scores",
        **facts,
        "licence": licence,
    }
    table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())
    names = ", ".join(classifier.labels[:20]) + (", ..." if len(classifier.labels) > 20 else "")
    return f"""---
library_name: timesformer
pipeline_tag: video-classification
license: {json.dumps(licence)}
tags: [video-classification, timesformer]
---

# TimeSformer for {len(classifier.labels)} classes

| | |
|---|---|
{table}

Classes: {names}.

```python
import timesformer

timesformer.load("THIS_FOLDER_OR_HUB_ID").predict("video.mp4", top=5)
```
"""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
