"""The models that TimeSformer is compared with, behind the same protocol. Importing this room registers them."""

from timesformer.baselines.frame_vit import FrameViT
from timesformer.baselines.i3d import I3D
from timesformer.baselines.slowfast import SlowFast
from timesformer.baselines.tsm import TSM
from timesformer.baselines.x3d import X3D
from timesformer.config import (
    FrameViTSettings,
    I3DSettings,
    SlowFastSettings,
    TSMSettings,
    X3DMediumSettings,
    X3DSmallSettings,
)
from timesformer.model.architectures import build_model, register_architecture
from timesformer.model.cost import count_cost

__all__ = ["I3D", "TSM", "X3D", "FrameViT", "SlowFast", "build_model", "count_cost", "register_architecture"]

register_architecture(I3DSettings, I3D)
register_architecture(SlowFastSettings, SlowFast)
register_architecture(X3DSmallSettings, X3D)
register_architecture(X3DMediumSettings, X3D)
register_architecture(TSMSettings, TSM)
register_architecture(FrameViTSettings, FrameViT)
