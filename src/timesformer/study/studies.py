"""The studies: a grid of cells each, beside the paper's own numbers (Bertasius, Wang, Torresani, ICML 2021)."""

from __future__ import annotations

from typing import Any

from timesformer.config import SCHEMES, Recipe, TimeSformerSettings
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


def timesformer_of(recipe: Recipe) -> TimeSformerSettings:
    """The settings of its model. Raises SettingError for another architecture."""
    if not isinstance(recipe.model, TimeSformerSettings):
        raise SettingError(f"model.architecture is {recipe.model.architecture}; this study is of timesformer")
    return recipe.model


def _scheme(recipe: Recipe, scheme: str) -> dict[str, Any]:
    """Changes to another scheme; what only some schemes have is changed where the scheme lacks it."""
    changes: dict[str, Any] = {"model.scheme": scheme}
    model = timesformer_of(recipe)
    if model.class_token_in_time and "time" not in SCHEMES[scheme]:
        changes["model.class_token_in_time"] = False
    if model.order != "time_space" and scheme != "divided_space_time":
        changes["model.order"] = "time_space"
    return changes


def _schemes(recipe: Recipe) -> list[Cell]:
    return [Cell(name=name, changes=_scheme(recipe, name), paper=TABLE_1[name]) for name in SCHEMES]


def _positions(recipe: Recipe) -> list[Cell]:
    timesformer_of(recipe)
    return [Cell(name=name, changes={"model.position": name}, paper=numbers) for name, numbers in TABLE_4.items()]


def _data_scale(recipe: Recipe) -> list[Cell]:
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


def _tokens(recipe: Recipe) -> list[Cell]:
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


def _clips(recipe: Recipe) -> list[Cell]:
    return [
        Cell(name=f"{count} clip{'s' * (count > 1)}", protocol={"clips": count}, x=count) for count in (1, 3, 5, 10)
    ]


def _order(recipe: Recipe) -> list[Cell]:
    schemes = dict.fromkeys([timesformer_of(recipe).scheme_name, "space_only"])
    found = []
    for scheme in schemes:
        changes = _scheme(recipe, scheme) if scheme in SCHEMES else {}
        for order in ("in order", "reversed", "shuffled"):
            protocol = {} if order == "in order" else {"order": order}
            found.append(Cell(name=f"{scheme}, {order}", changes=changes, protocol=protocol))
    return found


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
    )
}


def find_study(name: str) -> Study:
    """A study by name. Raises SettingError for one that does not exist."""
    if name not in STUDIES:
        raise SettingError(f"study {name!r}: no such study; expected one of {', '.join(STUDIES)}")
    return STUDIES[name]
