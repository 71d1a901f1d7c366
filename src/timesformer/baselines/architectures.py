"""Which architectures there are, and models of them from their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from timesformer.baselines.frame_vit import FrameViT
from timesformer.baselines.i3d import I3D
from timesformer.baselines.slowfast import SlowFast
from timesformer.baselines.tsm import TSM
from timesformer.baselines.x3d import X3D
from timesformer.config import (
    ARCHITECTURES,
    FrameViTSettings,
    I3DSettings,
    ModelSettings,
    SlowFastSettings,
    TimeSformerSettings,
    TSMSettings,
    X3DMediumSettings,
    X3DSmallSettings,
)
from timesformer.errors import SettingError
from timesformer.model.protocol import VideoModel
from timesformer.model.timesformer import TimeSformer

S = TypeVar("S", bound=ModelSettings)
BUILDERS: dict[type[ModelSettings], Callable[[Any], VideoModel]] = {
    TimeSformerSettings: TimeSformer,
    I3DSettings: I3D,
    SlowFastSettings: SlowFast,
    X3DSmallSettings: X3D,
    X3DMediumSettings: X3D,
    TSMSettings: TSM,
    FrameViTSettings: FrameViT,
}


def build_model(settings: ModelSettings) -> VideoModel:
    """A new model of any registered architecture, with weights from torch's global random numbers."""
    if type(settings) not in BUILDERS:
        raise SettingError(f"{type(settings).__name__} is not registered; timesformer.register_architecture adds it")
    return BUILDERS[type(settings)](settings)


def register_architecture(settings: type[S], build: Callable[[S], VideoModel]) -> None:
    """Add an architecture, so that recipes and weights may name it.

    settings: a subclass of `timesformer.ModelSettings` whose `architecture: Literal["NAME"] = "NAME"` is the name.
    build: makes the model of such settings. Register it in every program that uses it, before it does.

    Raises SettingError for settings without a name of their own, or a name that is taken.
    """
    name = settings.model_fields["architecture"].default
    if not isinstance(name, str):
        raise SettingError(f'{settings.__name__}: expected a field architecture: Literal["NAME"] = "NAME"')
    if ARCHITECTURES.get(name, settings) is not settings:
        raise SettingError(f"architecture {name!r} is taken by {ARCHITECTURES[name].__name__}; choose another name")
    ARCHITECTURES[name] = settings
    BUILDERS[settings] = build
