"""What weights of any layout hold: a file, a folder or a hub id, whose content decides what reads it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timesformer.errors import WeightsError
from timesformer.weights.description import Contents, is_ensemble
from timesformer.weights.exports import SUFFIXES, refuse_exported
from timesformer.weights.hub import download, is_hub_id
from timesformer.weights.huggingface import is_huggingface, load_huggingface
from timesformer.weights.mmaction2 import is_mmaction2, load_mmaction2
from timesformer.weights.native import is_native, load_native
from timesformer.weights.official import is_official, load_official
from timesformer.weights.opened import read_settled
from timesformer.weights.pytorchvideo import is_pytorchvideo, load_pytorchvideo
from timesformer.weights.resnet import is_image_resnet
from timesformer.weights.storage import read_checkpoint, read_json
from timesformer.weights.videomae import is_encoder, is_videomae, load_videomae
from timesformer.weights.vit import is_image_vit

IMAGE_MODEL = "an image model; a video model can be initialised from it (timesformer train --init)"
ENCODER = "an encoder without a head; a video model can be initialised from it (timesformer train --init)"
# How files of weights end; a missing one of them is not looked for on the hub.
FILES = (".bin", ".ckpt", ".pt", ".pth", ".pyth", ".safetensors", *SUFFIXES.values())
# Of tensors that say nothing without the config.json of their folder.
ALONE = {
    "embedding.projection.weight",
    "timesformer.embeddings.cls_token",
    "videomae.embeddings.patch_embeddings.projection.weight",
}


def read_weights(weights: str | Path, heads: int | None = None) -> Contents:
    """What WEIGHTS holds, as `timesformer.load_model` takes it. Raises WeightsError for anything else."""
    path = find_weights(weights)
    if path.is_dir():
        return read_settled(path, functools.partial(_read_folder, path))
    content = read_checkpoint(path)
    if is_pytorchvideo(content):
        return load_pytorchvideo(content, path)
    if is_official(content):
        return load_official(content, path, heads)
    if is_mmaction2(content):
        return load_mmaction2(content, path, heads)
    raise WeightsError(
        f"{path}: {_describe(content)}; expected the official code's or mmaction2's TimeSformer, or an I3D, SlowFast "
        "or X3D of PyTorchVideo or PySlowFast"
    )


def _read_folder(folder: Path) -> Contents:
    config = read_json(folder / "config.json")
    _check_config(config, folder, headless=False)
    if is_native(config):
        return load_native(folder)
    return load_videomae(folder) if is_videomae(config) else load_huggingface(folder)


def find_weights(weights: str | Path, *, headless: bool = False) -> Path:
    """The file, or the folder with config.json, that WEIGHTS names; a hub id is downloaded.

    `headless`: whether the hub may have there what a video model can only be initialised from; of other models nothing
    is downloaded but the config.json.
    """
    path = Path(weights)
    if not path.exists() and is_hub_id(str(weights)) and path.suffix not in FILES:
        return download(str(weights), lambda config: _check_config(config, weights, headless=headless))
    if not path.exists():
        raise WeightsError(f"{weights}: no such file or folder")
    if path.is_file():
        refuse_exported(path)
        whole = path.name in ("config.json", "model.safetensors") and (path.parent / "config.json").is_file()
        return path.parent if whole else path
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise WeightsError(
        f"{weights}: holds no weights; expected config.json and model.safetensors in it or in its "
        "folder model/ (a run that has not ended its first epoch has none yet)"
    )


def _check_config(config: Mapping[str, Any], source: object, *, headless: bool) -> None:
    """Raises WeightsError for the config.json of a model that cannot be loaded."""
    if is_ensemble(config):
        raise WeightsError(
            f"{source}: an ensemble of several classifiers, which only test, predict, timeline and serve take; name "
            f"one of them, such as {source}/{(config.get('members') or ['MEMBER'])[0]}"
        )
    image, encoder = is_image_vit(config) or is_image_resnet(config), is_encoder(config)
    if image or encoder:
        if headless:
            return
        raise WeightsError(f"{source}: {IMAGE_MODEL if image else ENCODER}")
    if is_native(config) or is_huggingface(config) or is_videomae(config):
        return
    kind = config.get("model_type") or config.get("architecture") or ", ".join(list(config)[:4])
    raise WeightsError(f"{source}: weights of another model ({kind}); expected a TimeSformer's or a VideoMAE's")


def _describe(content: object) -> str:
    """What a checkpoint looks like, in a few words."""
    if not isinstance(content, dict):
        return f"a checkpoint of another model ({type(content).__name__})"
    if is_image_vit(content) or is_image_resnet(content):
        return IMAGE_MODEL
    if not content.keys().isdisjoint(ALONE):
        return "tensors alone, without the config.json of their folder, which says the rest"
    key = next((key for key in ("model_state", "state_dict", "model") if isinstance(content.get(key), dict)), None)
    names = [str(name) for name in (content if key is None else content[key])]
    listed = f"{len(names)} entries: {', '.join(names[:3])}{', ...' if names[3:] else ''}"
    return f"a checkpoint of another model ({listed if key is None else f'{key}: {listed}'})"
