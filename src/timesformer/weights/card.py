"""The model card: what a folder of weights is, for people and for the hub."""

from __future__ import annotations

import json

from timesformer.config import TimeSformerSettings
from timesformer.files import escape
from timesformer.weights.description import Contents


def model_card(contents: Contents) -> str:
    """A README.md with the hub's fields, written from what the weights hold; a "licence" among the facts of the
    training becomes the hub's licence field."""
    settings, preprocessing, facts = contents.settings, contents.preprocessing, contents.facts
    sampling = preprocessing.sampling
    is_ours = isinstance(settings, TimeSformerSettings)
    title = "TimeSformer" if is_ours else settings.architecture
    licence = facts.get("licence", "unknown")
    rows = {
        "architecture": f"{title}, {settings.describe()}" if is_ours else settings.describe(),
        "clip": f"{settings.num_frames} frames of {settings.image_size} x {settings.image_size} pixels, "
        f"{sampling.method}" + (f", rate {sampling.rate:g}" if sampling.method != "segments" else ""),
        "pixels": f"{preprocessing.channels.upper()}, mean {list(preprocessing.mean)}, std {list(preprocessing.std)}",
        "test": f"{preprocessing.test_clips} clips x {preprocessing.test_crops} crops, "
        f"mean of {'sigmoid' if settings.multilabel else 'softmax'} scores",
        **facts,
        "licence": licence,
    }
    table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())
    names = ", ".join(contents.labels[:20]) + (", ..." if len(contents.labels) > 20 else "")
    card = f"""---
library_name: timesformer
pipeline_tag: video-classification
license: {json.dumps(licence)}
tags: [video-classification, timesformer]
---

# {title} for {len(contents.labels)} classes{", any number of them a video" if settings.multilabel else ""}

| | |
|---|---|
{table}

Classes: {names}.

```python
import timesformer

timesformer.load("THIS_FOLDER_OR_HUB_ID").predict("video.mp4", top=5)
```
"""
    return escape(card)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
