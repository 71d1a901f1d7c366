"""A task's loss, its averaged weights and what it refuses, against values worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from conftest import small_recipe
from timesformer import TimeSformer
from timesformer.config import ActivationCheckpointing, Scheme
from timesformer.data.dataset import Batch
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import TrainingError
from timesformer.training.averaging import AveragedModel
from timesformer.training.balance import class_weights, video_weights
from timesformer.training.epoch_metrics import TrainingSums
from timesformer.training.fit import fit
from timesformer.training.mixing import mix
from timesformer.training.task import ClassificationTask
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import load_model
from timesformer.weights.initialise import initialise_classifier


def unequal(bars: Path) -> Manifest:
    """Six videos of class 0 and two of class 1."""
    manifest = read_manifest(bars, "train")
    left, right = ([video for video in manifest.videos if video.labels == (label,)] for label in (0, 1))
    return dataclasses.replace(manifest, videos=(*left, *left[:2], *right[:2]))


def task_of(manifest: Manifest, *settings: str) -> ClassificationTask:
    recipe = small_recipe(*settings)
    torch.manual_seed(0)
    initialised = initialise_classifier(recipe.model, recipe.preprocessing, manifest.labels)
    with torch.no_grad():
        initialised.classifier.model.head.weight.normal_()  # a head of zeros would hide the targets
    return ClassificationTask(initialised.classifier, recipe, manifest, 4, {})


def clips(count: int) -> Batch:
    views = torch.randint(256, (count, 3, 4, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return Batch(views, torch.ones(count, dtype=torch.long), labels, torch.arange(count), [])


def test_weights_of_unequal_classes(bars: Path) -> None:
    manifest = unequal(bars)
    assert class_weights(manifest).tolist() == pytest.approx([8 / (2 * 6), 8 / (2 * 2)])
    assert sum(float(class_weights(manifest)[video.labels[0]]) for video in manifest.videos) == pytest.approx(8)
    weights = video_weights(manifest)
    of_class = [
        sum(weight for video, weight in zip(manifest.videos, weights, strict=True) if video.labels == (label,))
        for label in (0, 1)
    ]
    assert of_class[0] == pytest.approx(of_class[1])
    absent = dataclasses.replace(manifest, labels=(*manifest.labels, "none"))
    assert class_weights(absent).tolist() == pytest.approx([8 / 12, 2.0, 0.0])


@pytest.mark.parametrize("mixing", ["augmentation.mixup=0.5", "augmentation.cutmix=1.0", "seed=0"])
def test_loss_of_smoothed_mixed_and_weighted_targets(bars: Path, mixing: str) -> None:
    task = task_of(unequal(bars), "training.label_smoothing=0.2", "training.balance=loss", mixing)
    batch = clips(4)
    torch.manual_seed(6)
    found = task._loss(batch)
    torch.manual_seed(6)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    mixed, targets = mix(normalise(batch.views_VCTSS, task.preprocessing), targets, task.recipe.augmentation)
    logs = task.model(mixed).log_softmax(1).detach()
    expected = []
    for clip in range(4):
        target = [0.8 * float(targets[clip, label]) + 0.2 / 2 for label in (0, 1)]
        weight = float(targets[clip, 0]) * 8 / 12 + float(targets[clip, 1]) * 2
        expected.append(-weight * (target[0] * float(logs[clip, 0]) + target[1] * float(logs[clip, 1])))
    assert float(found.detach()) == pytest.approx(sum(expected) / 4, rel=1e-5)
    right = float((logs.argmax(1) == targets.argmax(1)).sum())
    assert task.sums.values() == pytest.approx([sum(expected), right, 4, 0], rel=1e-5)


def test_averaged_weights_by_their_recursion() -> None:
    """The first step's weights are taken whole; later ones weigh min(decay, (1 + n) / (10 + n))."""
    model = TimeSformer(size="tiny", depth=1, width=8, heads=2, image_size=16, patch_size=8, num_classes=3)
    averaged = AveragedModel(model, 0.3)
    expected = 0.0
    for number, value in enumerate((5.0, 1.0, -2.0, 4.0, 4.0)):
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(value)
        averaged.update(model)
        decay = (0, 2 / 11, 3 / 12, 0.3, 0.3)[number]
        expected = decay * expected + (1 - decay) * value
        for weight in averaged.parameters():
            torch.testing.assert_close(weight, torch.full_like(weight, expected))
            assert not weight.requires_grad


def test_a_run_averages_after_optimiser_steps_and_keeps_the_average(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = ClassificationTask.optimizer_step, list[Tensor]()

    def noted(self: ClassificationTask, *args: Any, **kwargs: Any) -> None:
        step(self, *args, **kwargs)
        seen.append(self.model.head.weight.detach().clone())

    monkeypatch.setattr(ClassificationTask, "optimizer_step", noted)
    fit(
        small_recipe("training.ema=0.2", "training.batch_size=2", "training.accumulate=2", "training.epochs=3"),
        bars,
        tmp_path / "run",
    )
    assert len(seen) == 6  # four batches an epoch are two steps
    expected = seen[0]
    for number, weight in enumerate(seen[1:], 1):
        decay = min(0.2, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    torch.testing.assert_close(kept["averaged.module.head.weight"], expected)
    assert torch.equal(kept["model.head.weight"], seen[-1])


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activation_checkpointing_changes_no_gradient(scheme: Scheme, precision: str) -> None:
    """Bit for bit, dropout and dropped paths included."""
    gradients = []
    for what in get_args(ActivationCheckpointing):
        torch.manual_seed(3)
        model = TimeSformer(
            scheme=scheme,
            size="tiny",
            depth=3,
            width=16,
            heads=2,
            image_size=16,
            patch_size=8,
            num_frames=4,
            num_classes=3,
            dropout=0.2,
            drop_path=0.5,
            initialisation="scratch",
        )
        model.set_activation_checkpointing(what)
        clip = torch.randn(4, 3, 4, 16, 16)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(clip)
        logits.float().square().sum().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for found in gradients[1:]:
        assert found.keys() == gradients[0].keys()
        assert all(torch.equal(found[name], gradients[0][name]) for name in found)  # type: ignore[arg-type]


def test_settings_reach_the_network(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled is what training calls, and only where it is asked for; its weights are saved once."""
    compiled: list[torch.nn.Module] = []

    def compile_it(model: torch.nn.Module) -> Any:
        def called(clips_BCTHW: Tensor) -> Tensor:
            compiled.append(model)
            found: Tensor = model(clips_BCTHW)
            return found

        return called

    monkeypatch.setattr(torch, "compile", compile_it)
    manifest = read_manifest(bars, "train")
    batch = clips(2)
    plain = task_of(manifest)
    expected = plain._loss(batch).detach()
    assert not compiled
    assert plain.model.checkpointing == "none"
    task = task_of(manifest, "training.compile=true", "training.checkpoint_activations=cheap")
    assert torch.equal(task._loss(batch), expected)
    assert compiled == [task.model]
    assert task.model.checkpointing == "cheap"
    assert task.state_dict().keys() == plain.state_dict().keys()


def test_weights_that_are_nan_are_never_kept(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by the last step of an epoch, before any loss shows it."""
    step = ClassificationTask.optimizer_step

    def broken(self: ClassificationTask, *args: Any, **kwargs: Any) -> None:
        step(self, *args, **kwargs)
        if self.trainer.global_step == 3:  # counted after this
            with torch.no_grad():
                self.model.norm.bias[3] = float("nan")

    monkeypatch.setattr(ClassificationTask, "optimizer_step", broken)
    with pytest.raises(
        TrainingError,
        match=r"weights are NaN or inf after step 4, in epoch 2; the last "
        r"good checkpoint is .*last\.ckpt",
    ):
        fit(small_recipe(), bars, tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert kept["global_step"] == 2
    for tensors in (kept["state_dict"], load_model(tmp_path / "run").model.state_dict()):
        assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_sums_are_those_of_python_numbers() -> None:
    """To the last bit, as checkpoints of version 0.1.0 have them, stopped and resumed or not."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(5, generator=generator) * 3 for _ in range(20)]
    expected = [0.0, 0.0, 0.0, 0.0]
    sums = TrainingSums()
    for number, loss_B in enumerate(batches):
        right_B = loss_B > 1
        sums.batches += 1
        sums.add(loss_B, right_B)
        expected = [
            expected[0] + float(loss_B.sum()),
            expected[1] + float(right_B.sum()),
            expected[2] + 5,
            number + 1.0,
        ]
        if number == 7:
            sums = TrainingSums(sums.values())
    assert sums.values() == expected
    assert all(type(value) is float for value in sums.values())


def test_a_batch_waits_for_the_device_once(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the check of its loss: every other number stays where it is computed."""
    task = task_of(read_manifest(bars, "train"), "training.balance=loss", "training.ema=0.9")
    trainer = SimpleNamespace(world_size=1, num_training_batches=4)
    monkeypatch.setattr(task, "_trainer", trainer)
    monkeypatch.setattr(ClassificationTask, "trainer", property(lambda self: trainer))
    waits: list[str] = []
    for name in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self: Tensor, *given: Any, original: Any = original, name: str = name) -> Any:
            waits.append(name)
            return original(self, *given)

        monkeypatch.setattr(torch.Tensor, name, counted)
    task.training_step(clips(4), 0)
    assert waits == ["__float__"]
    assert task.averaged is not None
    task.averaged.update(task.model)
    waits.clear()
    task.averaged.update(task.model)
    assert waits == []
