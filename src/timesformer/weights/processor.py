"""Hugging Face's processor files: pixel scale and sizes of frames, both ways.

Which frames make a clip, and their channel order, they do not say. transformers has had several names for them;
the first of `PLACES` that a folder has counts, as it does there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesformer.config import ModelSettings, Preprocessing
from timesformer.errors import WeightsError
from timesformer.weights.names import settings_from
from timesformer.weights.storage import read_json

PROCESSOR = "preprocessor_config.json"
VIDEO_PROCESSOR = "video_preprocessor_config.json"  # since transformers 5
NESTED = "processor_config.json"
PLACES = ((NESTED, "video_processor"), (VIDEO_PROCESSOR, None), (NESTED, "image_processor"), (PROCESSOR, None))


def processor_files(
    preprocessing: Preprocessing, settings: ModelSettings, video_processor: str
) -> dict[str, dict[str, Any]]:
    """What the files say of a classifier, by their names: one that transformers runs with Pillow alone, one for
    torchvision, of class `video_processor`. Of sampling the second can say how many frames, and whether they are spread
    over the whole video."""
    spread = preprocessing.sampling.method == "segments"
    sampling = {"num_frames": settings.num_frames, "do_sample_frames": spread}
    values = _values(preprocessing, settings)
    return {
        PROCESSOR: {"image_processor_type": "VideoMAEImageProcessor", **values},
        VIDEO_PROCESSOR: {"video_processor_type": video_processor, **values, **sampling},
    }


def _values(preprocessing: Preprocessing, settings: ModelSettings) -> dict[str, Any]:
    return {
        "do_resize": True,
        "size": {"shortest_edge": preprocessing.short_side or settings.image_size},
        "do_center_crop": True,
        "crop_size": {"height": settings.image_size, "width": settings.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def read_processor(folder: Path, settings: ModelSettings, otherwise: Preprocessing) -> Preprocessing:
    """The preprocessing of a folder: `otherwise`, but for what its processor file says, where it has one."""
    source, processor = _read(folder)
    size = processor.get("size")
    side = size.get("shortest_edge") if isinstance(size, dict) else size
    values = otherwise.model_dump() | read_pixels(folder, otherwise.mean, otherwise.std)
    if isinstance(side, int) and side != (otherwise.short_side or settings.image_size):
        values["short_side"] = max(side, settings.image_size)
    return settings_from(Preprocessing, values, source)


def read_pixels(folder: Path, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Pixel mean and standard deviation of a folder's processor on a scale of 0..1; those given where it has none."""
    source, processor = _read(folder)
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1
    if processor.get("do_normalize", True):
        mean, std = processor.get("image_mean", mean), processor.get("image_std", std)
    else:
        mean, std = (0.0,) * 3, (1.0,) * 3
    try:
        scale = 255 * factor
        return {"mean": tuple(value / scale for value in mean), "std": tuple(value / scale for value in std)}
    except (TypeError, ZeroDivisionError):
        raise WeightsError(
            f"{source}: pixel scale cannot be read: rescale_factor {factor!r}, image_mean {mean!r}, image_std {std!r}"
        ) from None


def _read(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file that counts and what it says; what it leaves open (null) it does not say."""
    for name, key in PLACES:
        values = read_json(folder / name) if (folder / name).is_file() else {}
        if key is not None:
            values = values.get(key, {})
        if not isinstance(values, dict):
            raise WeightsError(f"{folder / name}: {key} is {values!r}; expected values by name")
        if values:
            return folder / name, {name: value for name, value in values.items() if value is not None}
    return folder / PROCESSOR, {}
