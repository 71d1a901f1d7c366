"""Features and logits of the released code and of mmaction2, computed from the same weights (tests/data/parity).

The mapping of their names to ours is written out here, apart from the package's adapters, and loaded strictly.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from timesformer.model.timesformer import TimeSformer

PARITY = Path(__file__).parents[1] / "data" / "parity"
SCHEMES = {"space_only": "space", "joint_space_time": "joint", "divided_space_time": "space"}  # the ViT's own step
TOLERANCE = 1e-5

# Their name, ours; STEP stands for the ViT's own attention step.
OFFICIAL = {
    "model.cls_token": "embedding.class_token",
    "model.pos_embed": "embedding.space_table",
    "model.time_embed": "embedding.time_table",
    "model.patch_embed.proj.{p}": "embedding.projection.{p}",
    "model.blocks.{i}.temporal_norm1.{p}": "blocks.{i}.steps.time.norm.{p}",
    "model.blocks.{i}.temporal_attn.{layer}.{p}": "blocks.{i}.steps.time.attention.{layer}.{p}",
    "model.blocks.{i}.temporal_fc.{p}": "blocks.{i}.steps.time.fc.{p}",
    "model.blocks.{i}.norm1.{p}": "blocks.{i}.steps.STEP.norm.{p}",
    "model.blocks.{i}.attn.{layer}.{p}": "blocks.{i}.steps.STEP.attention.{layer}.{p}",
    "model.blocks.{i}.norm2.{p}": "blocks.{i}.norm.{p}",
    "model.blocks.{i}.mlp.fc1.{p}": "blocks.{i}.mlp.0.{p}",
    "model.blocks.{i}.mlp.fc2.{p}": "blocks.{i}.mlp.3.{p}",
    "model.norm.{p}": "norm.{p}",
    "model.head.{p}": "head.{p}",
}
LAYERS = "backbone.transformer_layers.layers.{i}."
MMACTION2 = {
    "backbone.cls_token": "embedding.class_token",
    "backbone.pos_embed": "embedding.space_table",
    "backbone.time_embed": "embedding.time_table",
    "backbone.patch_embed.projection.{p}": "embedding.projection.{p}",
    LAYERS + "ffns.0.layers.0.0.{p}": "blocks.{i}.mlp.0.{p}",
    LAYERS + "ffns.0.layers.1.{p}": "blocks.{i}.mlp.3.{p}",
    "backbone.norm.{p}": "norm.{p}",
    "cls_head.fc_cls.{p}": "head.{p}",
}
MMACTION2_ONE_STEP = {
    LAYERS + "attentions.0.attn.in_proj_{p}": "blocks.{i}.steps.STEP.attention.qkv.{p}",
    LAYERS + "attentions.0.attn.out_proj.{p}": "blocks.{i}.steps.STEP.attention.proj.{p}",
    LAYERS + "norms.0.{p}": "blocks.{i}.steps.STEP.norm.{p}",
    LAYERS + "norms.1.{p}": "blocks.{i}.norm.{p}",
}
MMACTION2_DIVIDED = {
    LAYERS + "attentions.0.norm.{p}": "blocks.{i}.steps.time.norm.{p}",
    LAYERS + "attentions.0.attn.in_proj_{p}": "blocks.{i}.steps.time.attention.qkv.{p}",
    LAYERS + "attentions.0.attn.out_proj.{p}": "blocks.{i}.steps.time.attention.proj.{p}",
    LAYERS + "attentions.0.temporal_fc.{p}": "blocks.{i}.steps.time.fc.{p}",
    LAYERS + "attentions.1.norm.{p}": "blocks.{i}.steps.STEP.norm.{p}",
    LAYERS + "attentions.1.attn.in_proj_{p}": "blocks.{i}.steps.STEP.attention.qkv.{p}",
    LAYERS + "attentions.1.attn.out_proj.{p}": "blocks.{i}.steps.STEP.attention.proj.{p}",
    LAYERS + "ffns.0.norm.{p}": "blocks.{i}.norm.{p}",
}
PARTS = {"i": r"(?P<i>\d+)", "p": r"(?P<p>weight|bias)", "layer": r"(?P<layer>qkv|proj)"}


def rename(weights: dict[str, Tensor], names: dict[str, str], step: str) -> dict[str, Tensor]:
    """Every name by exactly one line of the mapping, onto names that do not collide."""
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        hits = []
        for theirs, ours in names.items():
            if match := re.fullmatch(theirs.replace(".", r"\.").format(**PARTS), name):
                hits.append(ours.format(**match.groupdict()).replace("STEP", step))
        assert len(hits) == 1, f"{name}: {hits}"
        assert hits[0] not in renamed
        renamed[hits[0]] = value
    return renamed


def load(source: str, scheme: str) -> TimeSformer:
    model = TimeSformer(
        image_size=32,
        patch_size=8,
        num_frames=4,
        num_classes=7,
        width=48,
        depth=2,
        heads=3,
        scheme=scheme,
        position_resize="nearest",
    ).eval()
    if source == "official":
        weights = torch.load(PARITY / f"official_{scheme}.pyth", weights_only=True)["model_state"]
        names = OFFICIAL
    else:
        weights = torch.load(PARITY / f"mmaction2_{scheme}.pth", weights_only=True)["state_dict"]
        names = MMACTION2 | (MMACTION2_DIVIDED if scheme == "divided_space_time" else MMACTION2_ONE_STEP)
    model.load_state_dict(rename(weights, names, SCHEMES[scheme]), strict=True)
    return model


CASES = [("official", case) for case in ("native", "larger", "longer")] + [("mmaction2", "native")]


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("source", "case"), CASES)
def test_features_and_logits_equal_those_of_the_original_code(source: str, case: str, scheme: str) -> None:
    expected = load_file(PARITY / f"{source}_{scheme}.expected.safetensors")
    model, clips = load(source, scheme), expected[f"{case}.video"]
    features = model.forward_features(clips)
    assert (features - expected[f"{case}.features"]).abs().max() <= TOLERANCE
    assert (model.forward_head(features) - expected[f"{case}.logits"]).abs().max() <= TOLERANCE
    assert (model(clips) - expected[f"{case}.logits"]).abs().max() <= TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(("source", "case"), CASES)
def test_the_comparison_would_see_a_setting_that_differs(source: str, case: str) -> None:
    """Eq. 11's class token, another order or another resizing are far from the tolerance."""
    expected = load_file(PARITY / f"{source}_divided_space_time.expected.safetensors")
    model = load(source, "divided_space_time")
    changes: list[dict[str, object]] = [{"class_token_in_time": True}, {"order": "space_time"}, {"order": "parallel"}]
    if case != "native":
        changes.append({"position_resize": "bicubic"})
    for change in changes:
        other = TimeSformer(**(model.settings.model_dump() | change)).eval()
        other.load_state_dict(model.state_dict(), strict=True)
        difference = (other(expected[f"{case}.video"]) - expected[f"{case}.logits"]).abs().max()
        assert difference > 20 * TOLERANCE, change


def test_the_files_are_all_used() -> None:
    used = {f"{source}_{scheme}" for source in ("official", "mmaction2") for scheme in SCHEMES}
    assert {path.name.split(".")[0] for path in PARITY.iterdir()} == used
    for path in PARITY.glob("*.expected.safetensors"):
        cases = {tuple(name.split(".")) for name in load_file(path)}
        source = path.name.split("_")[0]
        wanted = [case for origin, case in CASES if origin == source]
        assert cases == {(case, kind) for case in wanted for kind in ("video", "features", "logits")}
