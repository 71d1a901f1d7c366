"""What of a network is trained: nothing else changes, nothing else has gradients or a state in the optimiser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import small_recipe
from stops import same, stopped
from timesformer import TimeSformer, TimeSformerSettings, build_model
from timesformer.config import ModelSettings, Training
from timesformer.errors import SettingError
from timesformer.model.protocol import VideoModel
from timesformer.training.averaging import AveragedModel
from timesformer.training.fit import fit, resume
from timesformer.training.trainable import Trainable, find_trainable
from timesformer.weights.classifier import Classifier, load_model

TINY: dict[str, Any] = {
    "width": 16,
    "depth": 3,
    "heads": 2,
    "num_frames": 4,
    "image_size": 16,
    "patch_size": 8,
    "num_classes": 2,
    "drop_path": 0.0,
}
MODES: dict[str, tuple[str, ...]] = {
    "last_blocks": ("training.trainable=last_blocks", "training.last_blocks=2"),
    "video": ("training.trainable=video",),
    "adapters": ("training.trainable=adapters", "training.adapter_rank=2"),
}
HEAD = frozenset({"head.weight", "head.bias"})


def trained(model: VideoModel, **settings: Any) -> Trainable:
    found = find_trainable(model, Training(**settings), HEAD)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video model of three blocks with other classes than `bars`."""
    folder = tmp_path_factory.mktemp("weights") / "weights"
    torch.manual_seed(0)
    model = build_model(TimeSformerSettings(**TINY, initialisation="scratch"))
    for name, parameter in model.named_parameters():
        if ".fc." in name:
            nn.init.normal_(parameter, std=0.1)
    Classifier(model, labels=("one", "two")).save_pretrained(folder)
    return folder


def is_trained(mode: str, name: str) -> bool:
    if mode == "last_blocks":
        return not name.startswith(("embedding.", "blocks.0."))
    if mode == "video":
        return ".time." in name or "norm." in name or name.startswith("head.") or name == "embedding.time_table"
    return name.startswith("head.") or (name.endswith(".weight") and "norm" not in name and name.startswith("blocks."))


@pytest.mark.parametrize("mode", MODES)
def test_a_run_changes_what_is_trained_alone(bars: Path, weights: Path, tmp_path: Path, mode: str) -> None:
    recipe = small_recipe(
        *MODES[mode],
        "training.epochs=2",
        "optimizer.weight_decay=0.1",
        "training.ema=0.5",
        "optimizer.new_rate_factor=5",
        "optimizer.schedule=constant",
    )
    fit(recipe, bars, tmp_path / "run", init=weights)
    initial, model = load_model(tmp_path / "run" / "initial").model, load_model(tmp_path / "run").model
    assert model.settings == initial.settings
    before, after = initial.state_dict(), model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if is_trained(mode, name)}
    if mode == "adapters":
        change = after["blocks.1.mlp.0.weight"] - before["blocks.1.mlp.0.weight"]
        assert torch.linalg.matrix_rank(change, atol=1e-6) == 2
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    tensors = {name: tensor for name, tensor in kept["state_dict"].items() if name.startswith("model.")}
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "adamw, learning rate 0.002, 5 times that for new weights, seed 0\n" in log
    rates = {group["lr"] for group in kept["optimizer_states"][0]["param_groups"]}
    assert sorted(rates) == pytest.approx([0.002, 0.01])
    line = next(line for line in log.splitlines() if "  trains  " in line)
    total = sum(tensor.numel() for tensor in before.values())
    count = sum(state["exp_avg"].numel() for state in kept["optimizer_states"][0]["state"].values())
    assert line.endswith(f": {count / 1e6:.2f} of {total / 1e6:.2f} M parameters")
    assert count < sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize("mode", MODES)
def test_a_stopped_run_ends_as_if_never_stopped(bars: Path, weights: Path, tmp_path: Path, mode: str) -> None:
    """Stopped inside an epoch; and before the first checkpoint, from where it starts anew."""
    settings = (
        *MODES[mode],
        "training.ema=0.9",
        "training.checkpoint_steps=1",
        "training.batch_size=2",
        "training.epochs=2",
        "optimizer.new_rate_factor=5",
    )
    fit(small_recipe(*settings), bars, tmp_path / "whole", init=weights)
    stopped(bars, tmp_path / "late", 5, *settings, init=weights)
    shutil.copytree(tmp_path / "late", tmp_path / "early")
    shutil.rmtree(tmp_path / "early" / "checkpoints")
    for name in ("late", "early"):
        resume(tmp_path / name)
        one, two = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", name))
        assert all(same(one[part], two[part]) for part in ("state_dict", "optimizer_states", "lr_schedulers"))
        files = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", name)]
        assert files[0] == files[1]


def kept_by_autograd(model: TimeSformer, clips: Tensor) -> int:
    """Bytes of activations that a forward pass keeps, the weights not counted."""
    own, kept = {parameter.data_ptr() for parameter in model.parameters()}, dict[int, Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(clips).square().sum()
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


@pytest.mark.parametrize("checkpointing", ["none", "cheap", "blocks"])
def test_frozen_blocks_before_the_trained_ones_keep_nothing(checkpointing: Any) -> None:
    """As many activations as a model of those blocks alone, however deep the frozen front is."""
    found = []
    for depth in (3, 9):
        model = TimeSformer(**TINY | {"depth": depth})
        trained(model, trainable="last_blocks", last_blocks=2).apply(model, 0)
        model.set_activation_checkpointing(checkpointing)
        found.append(kept_by_autograd(model.train(), torch.randn(2, 3, 4, 16, 16)))
    assert found[0] == found[1] > 0


def test_a_frozen_block_is_not_checkpointed(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    original: Callable[..., Any] = torch.utils.checkpoint.checkpoint

    def noted(block: nn.Module, *given: Any, **how: Any) -> Any:
        called.append(block)
        return original(block, *given, **how)

    monkeypatch.setattr("timesformer.model.checkpointing.checkpoint", noted)
    model = TimeSformer(**TINY)
    trained(model, trainable="last_blocks", last_blocks=2).apply(model, 0)
    model.set_activation_checkpointing("cheap")
    model.train()(torch.randn(2, 3, 4, 16, 16))
    assert called == list(model.blocks()[1:])


def test_averages_share_what_is_frozen() -> None:
    model = TimeSformer(**TINY)
    trained(model, trainable="video").apply(model, 0)
    averaged = AveragedModel(model, 0.9)
    for name, parameter in model.named_parameters():
        own = averaged.module.get_parameter(name)
        assert (own is parameter) == (not parameter.requires_grad)
        assert not own.requires_grad
    before = model.head.weight.detach().clone()
    averaged.update(model)
    nn.init.normal_(model.head.weight)
    averaged.update(model)
    torch.testing.assert_close(averaged.module.get_parameter("head.weight"), before.lerp(model.head.weight, 9 / 11))


@pytest.mark.parametrize(
    ("scheme", "added"),
    [
        ("divided_space_time", ("time",)),
        ("axial", ("time", "width")),
        ("sparse_local_global", ("local",)),
        ("joint_space_time", ()),
    ],
)
def test_the_parts_for_video(scheme: Any, added: tuple[str, ...]) -> None:
    model = TimeSformer(**TINY, scheme=scheme)
    steps = {f"steps.{name}." for name in added}
    expected = {
        name
        for name, _ in model.named_parameters()
        if any(step in name for step in steps) or "norm." in name or name == "embedding.time_table"
    }
    assert model.video_parameters() == expected
    assert trained(model, trainable="video").parameters == expected | HEAD


def test_new_layers_are_trained_whole_and_have_no_adapter() -> None:
    model = TimeSformer(**TINY)
    new = frozenset({"blocks.0.steps.time.fc.weight", "blocks.0.steps.time.fc.bias", "embedding.time_table", *HEAD})
    found = find_trainable(model, Training(trainable="adapters"), new)
    assert found is not None
    assert found.parameters == new
    assert "blocks.0.steps.time.fc" not in found.adapted
    assert "blocks.1.steps.time.fc" in found.adapted
    assert found.rank == 8
    found.apply(model, 0)
    assert found.size == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


class PixelsSettings(ModelSettings):
    architecture: str = "pixels"


class Pixels(VideoModel):
    """A model without blocks."""

    def __init__(self) -> None:
        super().__init__(PixelsSettings())
        self.head = nn.Linear(3, 2)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        return clips_BCTHW.mean((2, 3, 4))

    def forward_head(self, features_BD: Tensor) -> Tensor:
        logits: Tensor = self.head(features_BD)
        return logits


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        (
            {"trainable": "last_blocks", "last_blocks": 4},
            {},
            "training.last_blocks is 4; the model has 3 blocks",
        ),
        (
            {"trainable": "adapters", "adapter_rank": 17},
            {},
            r"training.adapter_rank is 17; layer blocks.0.steps.time.attention.qkv has a rank of 16 at most",
        ),
        (
            {"trainable": "video"},
            {"scheme": "space_only"},
            "training.trainable is video; a model of scheme space_only and position space_time has nothing that an "
            "image model lacks",
        ),
        ({"trainable": "video"}, None, "training.trainable is video; architecture pixels has no image model"),
        ({"trainable": "last_blocks"}, None, "training.last_blocks is 4; the model has 0 blocks"),
        (
            {"trainable": "adapters"},
            None,
            "training.trainable is adapters; architecture pixels has no linear layers in blocks",
        ),
    ],
)
def test_what_a_model_does_not_have(settings: dict[str, Any], model: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}$"):
        trained(Pixels() if model is None else TimeSformer(**TINY, **model), **settings)


def test_a_new_time_table_is_not_frozen_at_zero() -> None:
    """As an image model gives it: the last blocks would not see the order of frames."""
    model, new = TimeSformer(**TINY), HEAD | {"embedding.time_table", "blocks.0.steps.time.fc.weight"}
    with pytest.raises(
        SettingError,
        match=r"^training\.trainable is last_blocks, but embedding\.time_table is new and zero, and would stay so; "
        r"model\.initialisation=motion draws it$",
    ):
        find_trainable(model, Training(trainable="last_blocks", last_blocks=1), new)
    nn.init.normal_(model.get_parameter("embedding.time_table"))
    assert find_trainable(model, Training(trainable="last_blocks", last_blocks=1), new) is not None


@pytest.mark.parametrize("mode", MODES)
def test_random_weights_are_not_frozen(bars: Path, tmp_path: Path, mode: str) -> None:
    with pytest.raises(
        SettingError,
        match=rf"^training\.trainable is {mode}, which freezes a network whose weights are random; name "
        "trained weights with --init, or train all$",
    ):
        fit(small_recipe(*MODES[mode]), bars, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ("training.adapter_rank=8", "training.trainable=video"),
            "adapter_rank is 8, but trainable is video; it is for trainable=adapters alone",
        ),
        (
            ("training.last_blocks=4",),
            "last_blocks is 4, but trainable is all; it is for trainable=last_blocks alone",
        ),
    ],
)
def test_settings_that_contradict_each_other(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        small_recipe(*changes)
