"""The settings of a run: frozen, checked where they are made, unknown keys refused.

Groups of settings make a recipe, which describes one whole run (recipe.py: `Recipe`, `ProbeRecipe`):

    model          what the network is                          model.py: TimeSformerSettings; baselines.py
    preprocessing  how a video becomes its input                clip.py: Preprocessing (saved with the weights)
    the rest       how it is trained                            training.py: Augmentation, Optimizer, Training, Data;
                                                                probe.py: Probe
"""

from timesformer.config.baselines import (
    FrameViTSettings,
    I3DSettings,
    SlowFastSettings,
    TSMSettings,
    X3DMediumSettings,
    X3DSmallSettings,
)
from timesformer.config.clip import ClipShape, Preprocessing, Sampling, SamplingMethod
from timesformer.config.model import (
    ARCHITECTURES,
    SCHEMES,
    SIZES,
    STEPS,
    ActivationCheckpointing,
    AnyModelSettings,
    Dimensions,
    Initialisation,
    ModelSettings,
    Order,
    Pooling,
    PositionResize,
    PositionTables,
    Scheme,
    Size,
    TimeSformerSettings,
)
from timesformer.config.probe import Probe
from timesformer.config.recipe import AnyRecipe, ProbeRecipe, Recipe
from timesformer.config.training import Augmentation, Data, Optimizer, Schedule, Training

__all__ = [
    "ARCHITECTURES",
    "SCHEMES",
    "SIZES",
    "STEPS",
    "ActivationCheckpointing",
    "AnyModelSettings",
    "AnyRecipe",
    "Augmentation",
    "ClipShape",
    "Data",
    "Dimensions",
    "FrameViTSettings",
    "I3DSettings",
    "Initialisation",
    "ModelSettings",
    "Optimizer",
    "Order",
    "Pooling",
    "PositionResize",
    "PositionTables",
    "Preprocessing",
    "Probe",
    "ProbeRecipe",
    "Recipe",
    "Sampling",
    "SamplingMethod",
    "Schedule",
    "Scheme",
    "Size",
    "SlowFastSettings",
    "TSMSettings",
    "TimeSformerSettings",
    "Training",
    "X3DMediumSettings",
    "X3DSmallSettings",
]
