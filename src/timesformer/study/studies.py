"""The studies: a grid of cells each, beside the paper's own numbers (Bertasius, Wang, Torresani, ICML 2021)."""

from __future__ import annotations

from typing import Any

from timesformer.config import SCHEMES, ModelSettings, Recipe, SlowFastSettings, TimeSformerSettings
from timesformer.config.recipe import DATA_DECIDES
from timesformer.errors import SettingError
from timesformer.study.grid import Cell, Study

# Top-1 of the paper, in %, on Kinetics-400 and Something-Something V2.
TABLE_1 = {
    "space_only": (76.9, 36.6),
    "joint_space_time": (77.4, 58.5),
    "divided_space_time": (78.0, 59.5),
    "sparse_local_global": (75.9, 56.3),
    "axial": (73.5, 56.2),
}
TABLE_4 = {"none": (75.4, 45.8), "space": (77.8, 52.5), "space_time": (78.0, 59.5)}
K400_SSV2 = ("K400", "SSv2")
TABLE_3 = {"from scratch": (64.8, None), "from the weights": (78.0, 59.5)}  # the latter from ImageNet-21K
HOWTO100M = {1: 56.8, 4: 61.2, 8: 62.2, 12: 62.6}  # by frames as multiples of 8
BASELINES = ("frame_vit", "i3d", "slowfast", "x3d_s", "tsm")
# A study without cells, in cost.py; named here for the help, which does not wait for torch.
COST, COST_TITLE = "cost", "what schemes and baselines cost (Table 2, Figure 3)"


def timesformer_of(recipe: Recipe) -> TimeSformerSettings:
    """The settings of its model. Raises SettingError for another architecture."""
    if not isinstance(recipe.model, TimeSformerSettings):
        raise SettingError(f"model.architecture is {recipe.model.architecture}; this study is of timesformer")
    return recipe.model


def scheme_changes(recipe: Recipe, scheme: str) -> dict[str, Any]:
    """Changes to another scheme; what only some schemes have is changed where the scheme lacks it."""
    changes: dict[str, Any] = {"model.scheme": scheme}
    model = timesformer_of(recipe)
    if model.class_token_in_time and "time" not in SCHEMES[scheme]:
        changes["model.class_token_in_time"] = False
    if model.order != "time_space" and scheme != "divided_space_time":
        changes["model.order"] = "time_space"
    return changes


def _schemes(recipe: Recipe, init: bool) -> list[Cell]:
    return [Cell(name=name, changes=scheme_changes(recipe, name), paper=TABLE_1[name]) for name in SCHEMES]


def _positions(recipe: Recipe, init: bool) -> list[Cell]:
    timesformer_of(recipe)
    return [Cell(name=name, changes={"model.position": name}, paper=numbers) for name, numbers in TABLE_4.items()]


def _data_scale(recipe: Recipe, init: bool) -> list[Cell]:
    return [
        Cell(name=f"{percent}%", changes={"data.fraction": percent / 100}, x=percent) for percent in (25, 50, 75, 100)
    ]


def _size(recipe: Recipe, side: int) -> dict[str, Any]:
    """Changes to another side of a frame; the short sides of training and test grow as much."""
    scale = side / recipe.model.image_size
    short = recipe.preprocessing.short_side
    return {
        "model.image_size": side,
        "augmentation.short_side": [round(scale * pixels) for pixels in recipe.augmentation.short_side],
        "preprocessing.short_side": None if short is None else round(scale * short),
    }


def _tokens(recipe: Recipe, init: bool) -> list[Cell]:
    side, unit = recipe.model.image_size, recipe.model.clip_unit
    sides = dict.fromkeys(max(1, round(factor * side / unit)) * unit for factor in (1, 1.5, 2))
    frames = [
        Cell(name=f"{count} frames", changes={"model.num_frames": count}, line="frames of a clip", x=count)
        for count in (4, 8, 16, 32)
    ]
    return [
        *frames,
        *(
            Cell(name=f"{side} x {side} pixels", changes=_size(recipe, side), line="side of a frame, pixels", x=side)
            for side in sides
        ),
    ]


def _clips(recipe: Recipe, init: bool) -> list[Cell]:
    return [
        Cell(name=f"{count} clip{'s' * (count > 1)}", protocol={"clips": count}, x=count) for count in (1, 3, 5, 10)
    ]


def _order(recipe: Recipe, init: bool) -> list[Cell]:
    schemes = dict.fromkeys([timesformer_of(recipe).scheme_name, "space_only"])
    found = []
    for scheme in schemes:
        changes = scheme_changes(recipe, scheme) if scheme in SCHEMES else {}
        for order in ("in order", "reversed", "shuffled"):
            protocol = {} if order == "in order" else {"order": order}
            found.append(Cell(name=f"{scheme}, {order}", changes=changes, protocol=protocol))
    return found


def _pretraining(recipe: Recipe, init: bool) -> list[Cell]:
    changes = {"model.initialisation": "scratch"} if hasattr(recipe.model, "initialisation") else {}
    scratch, weights = TABLE_3
    return [
        Cell(name=scratch, changes=changes, initialised=False, paper=TABLE_3[scratch]),
        Cell(name=weights, paper=TABLE_3[weights]),
    ]


def _patch_size(recipe: Recipe, init: bool) -> list[Cell]:
    patch = timesformer_of(recipe).patch_size
    return [Cell(name=f"patch {size}", changes={"model.patch_size": size}) for size in (patch // 2, patch, 2 * patch)]


def _model_size(recipe: Recipe, init: bool) -> list[Cell]:
    model = timesformer_of(recipe)
    if model.width is None:
        return [Cell(name=name, changes={"model.size": name}) for name in ("tiny", "small", "base", "large")]
    return [
        Cell(name=f"width {width}", changes={"model.width": width})
        for width in (model.width // 2, model.width, 2 * model.width)
    ]


def _base_size(recipe: Recipe) -> str:
    model = timesformer_of(recipe)
    return model.size if model.width is None else f"width {model.width}"


def _long_range(recipe: Recipe, init: bool) -> list[Cell]:
    cover = {"preprocessing.sampling.method": "cover", "preprocessing.test_clips": 1}
    frames = recipe.model.num_frames
    return [
        Cell(
            name=f"{factor * frames} frames",
            changes={"model.num_frames": factor * frames, **cover},
            x=factor * frames,
            paper=(number,),
        )
        for factor, number in HOWTO100M.items()
    ]


def architecture_model(recipe: Recipe, architecture: str) -> dict[str, Any]:
    """The group `model` of a baseline for the frames of a recipe: its published size at the recipe's side, as many
    frames (of SlowFast, of its slow pathway), and of the frame ViT the recipe's own dimensions. Raises SettingError for
    an architecture that does not exist."""
    model = recipe.model
    kind = ModelSettings.class_for({"architecture": architecture})
    values: dict[str, Any] = {"architecture": architecture, "image_size": model.image_size}
    frames = model.num_frames
    if architecture == "slowfast":
        frames *= SlowFastSettings.model_fields["alpha"].get_default()
    if architecture == "i3d":
        frames += frames % 2
    values["num_frames"] = frames
    if architecture == "frame_vit":
        both = set(kind.model_fields) & set(type(model).model_fields) - {*DATA_DECIDES, *values, "initialisation"}
        values |= {name: getattr(model, name) for name in both}
        values["initialisation"] = "released" if getattr(model, "initialisation", "") == "released" else "scratch"
    return values


def _models(recipe: Recipe, init: bool) -> list[Cell]:
    """All from scratch; from an image ViT, those that it can initialise."""
    name = timesformer_of(recipe).architecture
    others = BASELINES[:1] if init else BASELINES
    return [Cell(name=name), *(Cell(name=other, model=architecture_model(recipe, other)) for other in others)]


def _base_side(recipe: Recipe) -> str:
    return f"{recipe.model.image_size} x {recipe.model.image_size} pixels"


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="schemes",
            title="attention schemes (Table 1)",
            cells=_schemes,
            reference=lambda recipe: "divided_space_time",
            paper_columns=K400_SSV2,
        ),
        Study(
            name="positions",
            title="position tables (Table 4)",
            cells=_positions,
            reference=lambda recipe: "space_time",
            paper_columns=K400_SSV2,
        ),
        Study(
            name="data-scale",
            title="fractions of the training videos (Figure 4)",
            cells=_data_scale,
            reference=lambda recipe: "100%",
            figure="lines",
            axis="training videos, %",
            notes=("All fractions are trained for as many epochs, so smaller ones for fewer steps.",),
        ),
        Study(
            name="tokens",
            title="frames and resolution (Figure 5)",
            cells=_tokens,
            reference=_base_side,
            figure="lines",
        ),
        Study(
            name="clips",
            title="clips of a test video (Figure 6)",
            cells=_clips,
            reference=lambda recipe: "1 clip",
            figure="lines",
            axis="test clips",
        ),
        Study(
            name="order",
            title="the order of frames, changed in the test alone",
            cells=_order,
            reference=lambda recipe: f"{timesformer_of(recipe).scheme_name}, in order",
        ),
        Study(
            name="pretraining",
            title="from scratch and from weights (Table 3)",
            cells=_pretraining,
            reference=lambda recipe: "from the weights",
            paper_columns=K400_SSV2,
            needs_weights=True,
            notes=("Both cells have the same settings, which suit one of them better.",),
        ),
        Study(
            name="patch-size",
            title="the side of a patch (appendix)",
            cells=_patch_size,
            reference=lambda recipe: f"patch {timesformer_of(recipe).patch_size}",
            notes=("Paper, K400: patches of 32 pixels 3 points below those of 16.",),
        ),
        Study(
            name="model-size",
            title="the size of the network (Table 8 ff.)",
            cells=_model_size,
            reference=_base_size,
            notes=("Paper, K400: ViT-L 1 point, ViT-S 5 points below ViT-B.",),
        ),
        Study(
            name="long-range",
            title="longer clips against more clips of a video (HowTo100M)",
            cells=_long_range,
            reference=lambda recipe: f"{recipe.model.num_frames} frames",
            paper_columns=("HowTo100M",),
            figure="lines",
            axis="frames of a clip",
            notes=(
                "Every video is covered: longer clips are fewer of them. The paper's have 8, 32, 64 and 96 frames.",
            ),
        ),
        Study(
            name="models",
            title="TimeSformer and its baselines, trained for the same time",
            cells=_models,
            reference=lambda recipe: recipe.model.architecture,
            minutes=True,
            notes=(
                "Each network is trained for as many epochs as fit the time at its own speed, which three epochs "
                "before have shown; all have the same settings but those of the network.",
            ),
        ),
    )
}


def find_study(name: str) -> Study:
    """A study by name. Raises SettingError for one that does not exist."""
    if name not in STUDIES:
        raise SettingError(f"study {name!r}: no such study; expected {', '.join(STUDIES)} or {COST}")
    return STUDIES[name]
