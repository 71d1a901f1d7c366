"""Video models initialised from image models: with one frame and space attention alone they are the image model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from baselines_small import small_model
from commands import Command, assert_one_line
from timesformer.config import SCHEMES, Preprocessing, Scheme, TimeSformerSettings
from timesformer.errors import SettingError, WeightsError
from timesformer.folds.run import fit_folds
from timesformer.model.embed import resize_space
from timesformer.model.initialise import TIME_SCALE
from timesformer.recipes import load_recipe
from timesformer.study.plan import plan_study
from timesformer.study.studies import find_study
from timesformer.training.fit import fit
from timesformer.training.recipe import read_recipe
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.initialise import initialise_classifier, own_patch_size
from timesformer.weights.vit import HALF, IMAGENET

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
ONE_FRAME = TimeSformerSettings(scheme="space_only", num_frames=1, image_size=32, patch_size=8)


def randomise(model: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = "norm" in name and name.endswith("weight")
            parameter.normal_(1.0 if scale else 0.0, 0.2)
    return model.eval()


def write(kind: str, folder: Path, **changes: int) -> Any:
    """A random Hugging Face image model, saved."""
    import transformers

    config: dict[str, Any] = (
        SMALL | changes | ({"mlp_ratio": 3} if kind == "Dinov2Model" else {"intermediate_size": 160})
    )
    make = transformers.Dinov2Config if kind == "Dinov2Model" else transformers.ViTConfig
    model = randomise(getattr(transformers, kind)(make(**config)))
    model.save_pretrained(folder)
    return model


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification", "Dinov2Model"])
def test_one_frame_gives_the_image_models_class_token(tmp_path: Path, kind: str) -> None:
    theirs = write(kind, tmp_path / "vit")
    initialised = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "vit")
    images = torch.randn(2, 3, 32, 32)
    body = theirs.vit if kind == "ViTForImageClassification" else theirs
    expected = body(images).last_hidden_state[:, 0]
    assert expected.std() > 0.3
    found = initialised.classifier.model.eval().forward_features(images.unsqueeze(2))
    assert (found - expected).abs().max() <= 1e-4
    if kind == "Dinov2Model":
        assert (initialised.classifier.preprocessing.mean, initialised.classifier.preprocessing.std) == IMAGENET


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ViTForImageClassification", "Dinov2Model"])
def test_configurations_that_contradict_their_tensors(tmp_path: Path, kind: str) -> None:
    write(kind, tmp_path)
    file = tmp_path / "config.json"
    whole = json.loads(file.read_text())
    name, value, found = ("mlp_ratio", 4, 3) if kind == "Dinov2Model" else ("intermediate_size", 128, 160)
    for change, message in (
        ({"image_size": 64}, "image_size is 64, the tensors have 4 x 4 patches of 8 pixels"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, the tensors have 2"),
        ({name: value}, f"{name} is {value}, the tensors have {found}"),
    ):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(WeightsError, match=rf"config\.json: {message}"):
            initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path)


def timm_names(scaled: bool, patch: int = 8) -> dict[str, Tensor]:
    torch.manual_seed(0)
    width = 64
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 17, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (10, width),
        "head.bias": (10,),
    }
    for block in range(2):
        at = f"blocks.{block}."
        shapes |= {
            at + "norm1.weight": (width,),
            at + "norm1.bias": (width,),
            at + "norm2.weight": (width,),
            at + "norm2.bias": (width,),
            at + "attn.qkv.weight": (3 * width, width),
            at + "attn.qkv.bias": (3 * width,),
            at + "attn.proj.weight": (width, width),
            at + "attn.proj.bias": (width,),
            at + "mlp.fc1.weight": (4 * width, width),
            at + "mlp.fc1.bias": (4 * width,),
            at + "mlp.fc2.weight": (width, 4 * width),
            at + "mlp.fc2.bias": (width,),
        }
        if scaled:
            shapes |= {at + "ls1.gamma": (width,), at + "ls2.gamma": (width,)}
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_state_dicts(tmp_path: Path, scaled: bool, suffix: str) -> None:
    tensors = timm_names(scaled)
    file = tmp_path / f"vit{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, file)
    else:
        torch.save({"model": tensors}, file)  # as DeiT's files are
    found = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), file).classifier.model.state_dict()
    gamma = tensors["blocks.1.ls2.gamma"] if scaled else torch.ones(64)
    assert torch.equal(found["blocks.1.mlp.3.weight"], tensors["blocks.1.mlp.fc2.weight"] * gamma[:, None])
    assert torch.equal(found["blocks.1.mlp.3.bias"], tensors["blocks.1.mlp.fc2.bias"] * gamma)
    assert torch.equal(found["blocks.0.steps.space.attention.qkv.weight"], tensors["blocks.0.attn.qkv.weight"])
    assert torch.equal(found["embedding.space_table"], tensors["pos_embed"])


def test_pixels_of_timm_files(tmp_path: Path) -> None:
    """Of the folder's configuration; of a bare file, DeiT's where its tensors are wrapped as DeiT's are."""
    tensors = timm_names(False)
    save_file(tensors, tmp_path / "bare.safetensors")
    torch.save({"model": tensors}, tmp_path / "deit.pth")
    for name, architecture in (("vit", "vit_tiny_patch8_32"), ("deit", "deit_tiny_patch8_32")):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
        config = {"architecture": architecture, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    own = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for path, pixels in (("bare.safetensors", HALF), ("deit.pth", IMAGENET), ("vit", own), ("deit", own)):
        initialised = initialise_classifier(ONE_FRAME, Preprocessing(channels="bgr"), ("a", "b"), tmp_path / path)
        found = initialised.classifier.preprocessing
        assert (found.mean, found.std, found.channels) == (*pixels, "rgb")
        assert any(f"mean {list(pixels[0])} and std {list(pixels[1])}" in note for note in initialised.notes)
    with pytest.raises(WeightsError, match="an image model; a video model can be initialised from it"):
        load_model(tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="an image model; a video model can be initialised from it"):
        load_model(tmp_path / "vit")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_every_scheme_begins_as_copies_of_the_image_models_attention(tmp_path: Path, scheme: str) -> None:
    write("Dinov2Model", tmp_path / "vit")
    recipe = TimeSformerSettings(scheme=scheme, num_frames=4, image_size=48, patch_size=16, initialisation="scratch")
    model = initialise_classifier(recipe, Preprocessing(), ("a", "b", "c"), tmp_path / "vit").classifier.model
    assert (model.settings.patch_size, model.settings.dimensions, model.settings.mlp_ratio) == (8, (64, 2, 4), 3)
    tensors = model.state_dict()
    steps = SCHEMES[model.settings.scheme]
    own = tensors[f"blocks.1.steps.{steps[-1]}.attention.qkv.weight"]
    for step in steps:
        assert torch.equal(tensors[f"blocks.1.steps.{step}.attention.qkv.weight"], own)
        if step != steps[-1]:
            assert not tensors[f"blocks.1.steps.{step}.fc.weight"].any()
    if "embedding.time_table" in tensors:
        assert not tensors["embedding.time_table"].any()
    one = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "vit").classifier.model
    same = one.embedding.space_table
    resized = resize_space(same[:, 1:], 4, (6, 6), "bicubic")
    assert torch.equal(tensors["embedding.space_table"][:, 1:], resized)


@pytest.mark.filterwarnings("ignore")
def test_the_start_that_learns_motion_soon(tmp_path: Path) -> None:
    """Its time table alone differs from the released start; the scale is the image model's."""
    write("Dinov2Model", tmp_path / "vit")
    recipe = {"num_frames": 16, "image_size": 32, "patch_size": 8}
    found = {}
    for how in ("released", "scratch", "motion"):
        torch.manual_seed(0)
        settings = TimeSformerSettings(**recipe, initialisation=how)  # type: ignore[arg-type]
        found[how] = initialise_classifier(settings, Preprocessing(), ("a", "b"), tmp_path / "vit")
    released, scratch, motion = (found[how].classifier.model.state_dict() for how in found)
    assert all(torch.equal(released[name], scratch[name]) for name in released)
    changed = {name for name in released if not torch.equal(released[name], motion[name])}
    assert changed == {"embedding.time_table"}
    tokens = torch.nn.functional.conv2d(torch.randn(64, 3, 32, 32), motion["embedding.projection.weight"], stride=8)
    table = motion["embedding.time_table"]
    assert table.std() / tokens.std() == pytest.approx(0.93 * TIME_SCALE, rel=0.1)
    assert found["motion"].new == {
        "embedding.time_table",
        *(f"blocks.{block}.steps.time.fc.{part}" for block in range(2) for part in ("weight", "bias")),
        "head.weight",
        "head.bias",
    }


@pytest.mark.filterwarnings("ignore")
def test_image_models_that_do_not_fit(tmp_path: Path) -> None:
    tensors = timm_names(False)
    for change, message in (
        ({"norm.bias": None}, r"1 missing \(norm\.bias\)"),
        ({"dist_token": torch.zeros(1, 1, 64)}, r"1 unknown \(dist_token\)"),
        ({"pos_embed": torch.zeros(1, 18, 64)}, "no square"),
    ):
        file = tmp_path / "vit.safetensors"
        save_file({name: tensor for name, tensor in (tensors | change).items() if tensor is not None}, file)
        with pytest.raises(WeightsError, match=message):
            initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), file)
    (tmp_path / "vit").mkdir()
    for changes, message in (
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu' can be loaded"),
        ({"use_swiglu_ffn": True}, "use_swiglu_ffn is True; only False can be loaded"),
    ):
        (tmp_path / "vit" / "config.json").write_text(json.dumps({"model_type": "dinov2", **changes}))
        with pytest.raises(WeightsError, match=rf"config\.json: {message}"):
            initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "vit")


def test_frames_are_whole_patches_of_the_weights_alone(bars: Path, tmp_path: Path, command: Command) -> None:
    """A side that the recipe's patches of 16 pixels do not divide needs no patch size beside it."""
    side, vit = "model.image_size=70", tmp_path / "vit.safetensors"
    save_file(timm_names(False, patch=14), vit)
    recipe = read_recipe("finetune-small", [side], init=vit)
    assert recipe == load_recipe("finetune-small", [side, "model.patch_size=14"], init=True)
    assert recipe == read_recipe(load_recipe("finetune-small", init=True), [side], init=vit)
    made = initialise_classifier(recipe.model, recipe.preprocessing, ("a", "b"), vit).classifier.model
    assert (made.settings.image_size, made.settings.patch_size) == (70, 14)
    for overrides, init in (([side], None), ([side, "model.patch_size=16"], vit)):
        with pytest.raises(SettingError, match="image_size 70 is not a multiple of patch_size 16"):
            read_recipe("finetune-small", overrides, init=init)
    words = ("--data", bars, "--recipe", "finetune-small", "--init", vit, "--out", tmp_path / "out")
    for verb in (("train",), ("train", "--seeds", 2), ("tune",), ("study", "schemes")):
        result = command(*verb, *words, "model.image_size=72")
        assert_one_line(result, "image_size 72 is not a multiple of patch_size 14")
    for run in (fit, fit_folds):
        with pytest.raises(SettingError, match="image_size 72 is not a multiple of patch_size 14"):
            run("finetune-small", bars, tmp_path / "out", overrides=["model.image_size=72"], init=vit)


def test_a_study_has_sides_of_whole_patches_of_the_weights(bars: Path, tmp_path: Path) -> None:
    """Where those of the recipe, 16, divide its side as well: 1.5 times 112 would be 160."""
    vit = tmp_path / "vit.safetensors"
    save_file(timm_names(False, patch=14), vit)
    recipe = read_recipe("finetune-small", ["training.validation_fraction=0"], init=vit)
    plan = plan_study(find_study("tokens"), recipe, bars, tmp_path / "tokens", seeds=1, init=vit)
    assert [task.run.recipe.model.image_size for task in plan.tasks[4:]] == [112, 168, 224]


@pytest.mark.filterwarnings("ignore")
def test_the_patch_size_of_weights(tmp_path: Path) -> None:
    write("Dinov2Model", tmp_path / "dinov2", patch_size=14, image_size=28)
    for architecture in ("frame_vit", "x3d_s"):
        classifier = Classifier(small_model(architecture), labels=tuple("abcde"))
        classifier.save_pretrained(tmp_path / architecture)
    assert [own_patch_size(tmp_path / name) for name in ("dinov2", "frame_vit", "x3d_s")] == [14, 8, None]
