"""Parameters and multiply-accumulates against the paper's numbers (FACTS.md) and a formula derived by hand."""

from __future__ import annotations

import pytest
import torch

from timesformer.baselines.cost import Cost, count_cost
from timesformer.config import TimeSformerSettings
from timesformer.model.timesformer import TimeSformer


def cost(scheme: str = "divided_space_time", **settings: object) -> Cost:
    return count_cost(TimeSformerSettings.model_validate({"scheme": scheme, **settings}))


@pytest.mark.parametrize(
    ("scheme", "classes", "millions"),
    [
        ("space_only", 174, 85.93),
        ("joint_space_time", 174, 85.94),
        ("divided_space_time", 174, 121.39),
        ("sparse_local_global", 174, 121.39),
        ("axial", 174, 156.85),
        ("divided_space_time", 400, 121.57),
    ],
)
def test_parameters(scheme: str, classes: int, millions: float) -> None:
    assert cost(scheme, num_classes=classes).parameters / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("scheme", "giga"), [("space_only", 141), ("joint_space_time", 180), ("divided_space_time", 196)]
)
def test_macs_of_a_view(scheme: str, giga: float) -> None:
    assert cost(scheme).macs / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("frames", "image_size", "tera"), [(8, 224, 0.59), (16, 448, 5.11), (96, 224, 7.14)], ids=["base", "HR", "L"]
)
def test_macs_of_the_variants_three_views(frames: int, image_size: int, tera: float) -> None:
    assert 3 * cost(num_frames=frames, image_size=image_size).macs / 1e12 == pytest.approx(tera, rel=0.01)


SWEEP = [  # frames, pixels, TMACs of joint and of divided attention, one view
    (8, 224, 0.18, 0.20),
    (8, 336, 0.53, 0.46),
    (8, 448, 1.26, 0.85),
    (8, 560, 2.61, 1.41),
    (32, 224, 1.26, 0.79),
    (64, 224, 3.97, 1.58),
    (96, 224, 8.14, 2.38),
]


@pytest.mark.parametrize(("frames", "image_size", "joint", "divided"), SWEEP)
def test_macs_of_the_sweep(frames: int, image_size: int, joint: float, divided: float) -> None:
    shape = {"num_frames": frames, "image_size": image_size}
    assert cost("joint_space_time", **shape).macs / 1e12 == pytest.approx(joint, abs=0.0051)  # two digits are given
    assert cost("divided_space_time", **shape).macs / 1e12 == pytest.approx(divided, abs=0.0051)


def divided_macs(frames: int, side: int, patch: int, width: int, depth: int, classes: int) -> int:
    """Every product of divided attention, counted on paper; heads do not matter, norms and tables cost none."""
    places = (side // patch) ** 2
    patches = places * frames
    linear = width * width
    time = patches * (3 + 1 + 1) * linear + 2 * patches * frames * width  # qkv, proj, fc; q k and weights v
    tokens = (places + 1) * frames  # each frame has its copy of the class token
    space = tokens * (3 + 1) * linear + 2 * tokens * (places + 1) * width
    mlp = (patches + 1) * 2 * 4 * linear
    return patches * 3 * patch**2 * width + depth * (time + space + mlp) + width * classes


@pytest.mark.parametrize(
    ("frames", "side", "patch", "width", "depth", "heads", "classes"),
    [
        (8, 224, 16, 768, 12, 12, 400),
        (5, 96, 8, 48, 3, 4, 11),
        (1, 32, 32, 64, 1, 1, 2),
        (96, 224, 14, 1024, 24, 16, 3),
    ],
)
def test_divided_macs_equal_the_formula(
    frames: int, side: int, patch: int, width: int, depth: int, heads: int, classes: int
) -> None:
    counted = cost(
        num_frames=frames, image_size=side, patch_size=patch, width=width, depth=depth, heads=heads, num_classes=classes
    )
    assert counted.macs == divided_macs(frames, side, patch, width, depth, classes)


def sparse_macs(frames: int, grid: int, width: int) -> int:
    """The two steps of L+G in one block: keys of global attention are made for every second token only.

    Along an axis of 14, tiles of 4, 2, 2, 2 and 4 places see 7, 8, 8, 8 and 7: 104 pairs, 98 of which are wanted.
    """
    tokens = 1 + frames * grid**2
    pairs = {14: 104, 7: 7 * 3, 4: 4 * 2}[grid]
    strided = 1 + ((frames + 1) // 2) * ((grid + 1) // 2) ** 2
    local = tokens * 5 * width**2 + 2 * ((frames * pairs) ** 2 + tokens - 1) * width + 2 * tokens * width
    return local + (2 * tokens + 2 * strided) * width**2 + 2 * tokens * strided * width


@pytest.mark.parametrize(("frames", "grid"), [(8, 14), (5, 7), (3, 4)])
def test_local_global_wastes_few_products(frames: int, grid: int) -> None:
    width, depth = 48, 2
    counted = cost("sparse_local_global", num_frames=frames, image_size=16 * grid, width=width, depth=depth, heads=3)
    tokens = 1 + frames * grid**2
    rest = (tokens - 1) * 3 * 16**2 * width + depth * tokens * 8 * width**2 + width * 400
    assert counted.macs == rest + depth * sparse_macs(frames, grid, width)


def axial_macs(frames: int, grid: int, width: int) -> int:
    """The three steps of T+W+H in one block; every row and every column has its copy of the class token."""
    patches = frames * grid**2
    time = patches * 5 * width**2 + 2 * patches * frames * width
    tokens = frames * grid * (grid + 1)
    line = tokens * 4 * width**2 + 2 * tokens * (grid + 1) * width
    return time + 2 * line + (patches + 1) * width**2  # fc of width: after the copies are averaged


@pytest.mark.parametrize(("frames", "grid"), [(8, 14), (5, 7), (3, 4)])
def test_axial_wastes_no_product(frames: int, grid: int) -> None:
    width, depth = 48, 2
    counted = cost("axial", num_frames=frames, image_size=16 * grid, width=width, depth=depth, heads=3)
    tokens = 1 + frames * grid**2
    rest = (tokens - 1) * 3 * 16**2 * width + depth * tokens * 8 * width**2 + width * 400
    assert counted.macs == rest + depth * axial_macs(frames, grid, width)


CROSSOVERS = [  # scheme, frames at 224 pixels, its GMACs, those of joint attention
    ("sparse_local_global", 8, 188.8, 179.6),
    ("sparse_local_global", 16, 414.3, 449.7),
    ("axial", 16, 505.7, 449.7),
    ("axial", 32, 1013.2, 1261.8),
]


@pytest.mark.parametrize(("scheme", "frames", "giga", "joint"), CROSSOVERS)
def test_where_schemes_become_cheaper_than_joint_attention(scheme: str, frames: int, giga: float, joint: float) -> None:
    """Linear layers of a token: 12 D^2 of joint attention, 17 D^2 and less for keys of L+G, 22 D^2 of T+W+H; what
    they save is attention, which grows with the frames."""
    assert cost(scheme, num_frames=frames).macs / 1e9 == pytest.approx(giga, abs=0.06)
    assert cost("joint_space_time", num_frames=frames).macs / 1e9 == pytest.approx(joint, abs=0.06)


def test_local_global_at_many_frames() -> None:
    shape = {"num_frames": 96, "image_size": 224}
    assert cost("sparse_local_global", **shape).macs < 0.58 * cost("joint_space_time", **shape).macs


def test_parameters_are_those_of_the_real_model() -> None:
    settings = TimeSformerSettings(width=48, depth=2, heads=3, image_size=32, patch_size=8)
    model = TimeSformer(settings)
    assert count_cost(settings).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("position", ["none", "space"])
@pytest.mark.parametrize("scheme", ["space_only", "divided_space_time"])
def test_tables_are_parameters_but_no_products(scheme: str, position: str) -> None:
    small = {"width": 48, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 8, "num_frames": 5}
    with_tables, without = cost(scheme, **small), cost(scheme, position=position, **small)
    assert without.macs == with_tables.macs
    time_table = 5 * 48 if scheme == "divided_space_time" else 0
    space_table = 17 * 48 if position == "none" else 0
    assert with_tables.parameters - without.parameters == time_table + space_table


@pytest.mark.parametrize("settings", [{"order": "space_time"}, {"order": "parallel"}])
def test_the_order_costs_nothing(settings: dict[str, object]) -> None:
    small = {"width": 48, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 8}
    assert cost(**small, **settings) == cost(**small)


def test_class_token_in_time_is_one_key_more() -> None:
    small = {"width": 48, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 8, "num_frames": 4}
    more = cost(**small, class_token_in_time=True).macs - cost(**small).macs
    assert more == 2 * 16 * (2 * 48**2 + 2 * 4 * 48)  # blocks x places x (its k and v there; q k and weights v)


def test_counting_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    cost(width=48, depth=2, heads=3, drop_path=0.5, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), before)
