"""What the card of a Hugging Face folder says to people who run it with transformers, and code that gives our views."""

from __future__ import annotations

from timesformer.config import Preprocessing, TimeSformerSettings

CODE = """import torch
from timesformer import ClipShape, Preprocessing, read_views
from transformers import AutoModelForVideoClassification

model = AutoModelForVideoClassification.from_pretrained("THIS_FOLDER_OR_HUB_ID").eval()
config = model.config
preprocessing = Preprocessing(**config.timesformer["preprocessing"])
views = read_views("video.mp4", ClipShape(config.num_frames, config.image_size), preprocessing)
mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
pixels = ((views / 255 - mean) / std).transpose(1, 2)  # views, frames, RGB, height, width
with torch.no_grad():
    LOGITS
scores = logits.SCORES.mean(0)
for score, number in zip(*scores.topk(min(5, len(scores)))):
    print(f"{score:.3f}", config.id2label[int(number)])
"""
LOGITS = "logits = model(pixels).logits"
FRAME_LOGITS = """frames = model.timesformer.encoder(model.timesformer.embeddings(pixels))[0][:, 0]
    tokens = frames.unflatten(0, pixels.shape[:2]).mean(1)  # transformers itself gives logits frame by frame
    logits = model.classifier(model.timesformer.layernorm(tokens))"""


def snippet(settings: TimeSformerSettings) -> str:
    """Python code that gives with transformers' model the scores that this package gives."""
    code = CODE.replace("LOGITS", FRAME_LOGITS if settings.scheme_name == "space_only" else LOGITS)
    return code.replace("SCORES", "sigmoid()" if settings.multilabel else "softmax(1)")


def transformers_section(settings: TimeSformerSettings, preprocessing: Preprocessing) -> str:
    """A section of the model card: how transformers' pipeline differs, and the snippet."""
    sampling, crops = preprocessing.sampling, preprocessing.test_crops
    near = f" `frame_sampling_rate={max(1, round(sampling.rate))}` comes nearest." if sampling.method == "span" else ""
    views = (
        f"all clips x {crops} crops" if sampling.method == "cover" else f"{preprocessing.test_clips} x {crops} views"
    )
    return f"""
## With transformers

The logits of a clip are the same there, the clips are not. `pipeline("video-classification")` takes one clip, the first
{settings.num_frames} frames of a video (with torchvision: as many frames spread evenly over all of it), and its centre
crop. This package's `test` and `predict` take {views}, sampled as above, so labels differ.{near}
This gives the same views and scores as this package:

```python
{snippet(settings)}```
"""
