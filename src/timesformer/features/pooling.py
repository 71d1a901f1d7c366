"""The one vector of a video, or of a window of it: what is kept of the tokens of its views.

    cls      the class token, mean over all views                               (D,)
    mean     the mean of all patches, mean over all views                       (D,)
    frames   of each frame (or tubelet) the mean of its patches, mean over the
             crops of its clip; the frames of one clip after those of another   (clips x T, D)
    tokens   all tokens of all views: the class token, where there is one, then
             the patches of frame after frame, row by row                       (V, M, D)

All of them are after the last norm. The views of a vector run through the engine by themselves, so it is the same to
the last bit whatever other videos or windows there are.

Dimensions: V views, C 3 colours, T frames, S pixels, M tokens, N patches of a frame, D channels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from timesformer.config import ModelSettings, Preprocessing
from timesformer.engine.engine import Engine
from timesformer.errors import SettingError

Pool = Literal["cls", "mean", "frames", "tokens"]
POOLS: tuple[str, ...] = get_args(Pool)


class Pooling(NamedTuple):
    """What a vector is of. layer: the number of a block, as `Engine.features` has it."""

    layer: int
    pool: Pool


def choose_pooling(
    settings: ModelSettings, preprocessing: Preprocessing, layer: int = -1, pool: str | None = None
) -> Pooling:
    """The pooling of these names; without one "cls" where the model has a class token, "mean" elsewhere.

    Raises SettingError for a pool that is not there, "cls" of a model without a class token, and "frames" and "tokens"
    where videos have different numbers of clips (`cover`), so that their vectors are of different lengths.
    """
    has_class = bool(getattr(settings, "class_token", False))
    if pool is None:
        pool = "cls" if has_class else "mean"
    if pool == "cls":
        if not has_class:
            raise SettingError("pool cls: the weights have no class token; expected mean, frames or tokens")
        return Pooling(layer, "cls")
    if pool == "mean":
        return Pooling(layer, "mean")
    if pool not in ("frames", "tokens"):
        raise SettingError(f"pool {pool}: expected {', '.join(POOLS[:-1])} or {POOLS[-1]}")
    if preprocessing.sampling.method == "cover":
        raise SettingError(
            f"pool {pool}: the weights take as many clips as a video is long (cover), so vectors would differ in "
            "length; expected cls or mean"
        )
    return Pooling(layer, "frames" if pool == "frames" else "tokens")


def pool_views(
    engine: Engine, settings: ModelSettings, preprocessing: Preprocessing, pooling: Pooling, views_VCTSS: Tensor
) -> Tensor:
    """The vector of some views, float32 on the CPU; its shape is that of the table above.

    views_VCTSS: as `read_views` gives them, of one video or one window. Raises SettingError for a layer, or tokens,
    that the model does not have.
    """
    layer, pool = pooling
    settings_pooling = getattr(settings, "pooling", "mean")  # another architecture's features are taken for a mean
    of_head = {"cls": "class_token", "mean": "mean"}.get(pool) == settings_pooling
    parts = [
        engine.features(part, layer, tokens=not of_head).float().cpu()
        for part in views_VCTSS.split(engine.views)  # such parts as the views of this video alone decide
    ]
    if of_head:
        return torch.cat(parts).mean(0)
    tokens_VMD = torch.cat(parts)
    if pool == "tokens":
        return tokens_VMD
    if pool == "cls":
        return tokens_VMD[:, 0].mean(0)
    patches_VMD = tokens_VMD[:, int(bool(getattr(settings, "class_token", False))) :]
    if pool == "mean":
        return patches_VMD.mean((0, 1))
    frames = settings.clip_shape.frames // settings.frame_unit
    views, _, channels = patches_VMD.shape
    frames_VTD = patches_VMD.reshape(views, frames, -1, channels).mean(2)
    of_crops = frames_VTD.reshape(-1, preprocessing.test_crops, frames, channels)
    return of_crops.mean(1).flatten(0, 1)
