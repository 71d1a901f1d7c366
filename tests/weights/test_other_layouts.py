"""Checkpoints of the official code, of mmaction2 and of Hugging Face: their numbers, and there and back again."""

from __future__ import annotations

import itertools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import timesformer
from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import DataError, SettingError, WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as
from timesformer.weights.resize import resize_classifier

PARITY = Path(__file__).parents[1] / "data" / "parity"
SCHEMES = ("space_only", "joint_space_time", "divided_space_time")
FILES = [(f"official_{scheme}.pyth", scheme) for scheme in SCHEMES] + [(f"mmaction2_{s}.pth", s) for s in SCHEMES]
TINY = {"image_size": 16, "patch_size": 8, "num_frames": 3, "width": 64, "depth": 2, "heads": 2, "num_classes": 2}


def random_model(scheme: str, **changes: Any) -> TimeSformer:
    """A model all of whose tensors are random, `fc` too."""
    torch.manual_seed(0)
    model = TimeSformer(**TINY | {"scheme": scheme} | changes).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return model


def assert_same(one: Classifier, other: Classifier) -> None:
    first, second = one.model.state_dict(), other.model.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert (one.model.settings, one.preprocessing, one.labels) == (
        other.model.settings,
        other.preprocessing,
        other.labels,
    )


@torch.no_grad()
@pytest.mark.parametrize(("name", "scheme"), FILES)
def test_parity(name: str, scheme: str) -> None:
    classifier = load_model(PARITY / name)
    assert classifier.model.settings.scheme == scheme
    expected = load_file(PARITY / f"{name.split('.')[0]}.expected.safetensors")
    for case in ("native", "larger", "longer") if name.startswith("official") else ("native",):
        clips = expected[f"{case}.video"]
        resized = resize_classifier(classifier, clips.shape[-1], clips.shape[2])
        for model in (classifier.model, resized.model):
            features = model.forward_features(clips)
            assert (features - expected[f"{case}.features"]).abs().max() <= 1e-5
            assert (model.forward_head(features) - expected[f"{case}.logits"]).abs().max() <= 1e-5


def test_what_comes_along_from_the_official_code() -> None:
    classifier = load_model(PARITY / "official_divided_space_time.pyth", heads=3)
    settings = classifier.model.settings
    assert (settings.image_size, settings.patch_size, settings.num_frames, settings.num_classes) == (32, 8, 4, 7)
    assert (settings.dimensions, settings.mlp_ratio, settings.position_resize) == ((48, 2, 3), 4.0, "nearest")
    preprocessing = classifier.preprocessing
    assert (preprocessing.mean, preprocessing.std, preprocessing.channels) == ((0.45,) * 3, (0.225,) * 3, "rgb")
    assert preprocessing.sampling == Sampling(rate=32, fps=30, single_clip="start")
    assert classifier.labels == ("0", "1", "2", "3", "4", "5", "6")


def test_what_comes_along_from_mmaction2() -> None:
    preprocessing = load_model(PARITY / "mmaction2_divided_space_time.pth", heads=3).preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0.5,) * 3, (0.5,) * 3)
    from timesformer.video.sampling import testing_clips
    from timesformer.weights.mmaction2 import published_preprocessing

    frames = testing_clips(300, 8, published_preprocessing(8).sampling, None)[0]
    assert {after - before for before, after in itertools.pairwise(frames)} == {32}


def official(model: TimeSformer, cfg: str | None) -> dict[str, Any]:
    from timesformer.weights.official import tensor_names

    names = tensor_names(model.settings.scheme, model.settings.dimensions.depth)
    tensors = model.state_dict()
    content: dict[str, Any] = {"epoch": 3, "model_state": {theirs: tensors[ours] for theirs, ours in names.items()}}
    return content if cfg is None else content | {"cfg": cfg}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_architecture_is_in_the_tensors(tmp_path: Path, scheme: str) -> None:
    """No embedded configuration: only a model without a time table has to guess its frames."""
    model = random_model(scheme, width=128, heads=2, num_classes=400, num_frames=8)
    torch.save(official(model, None), tmp_path / "a.bin")
    classifier = load_model(tmp_path / "a.bin")
    found = classifier.model.settings
    assert (found.scheme, found.dimensions, found.num_frames) == (scheme, (128, 2, 2), 8)
    assert classifier.labels[:2] == ("abseiling", "air drumming")
    assert classifier.labels[399] == "zumba"
    clips = torch.randn(1, 3, 8, 16, 16)
    with torch.no_grad():
        assert torch.equal(classifier.model(clips), model(clips))


def test_something_something_has_segments_and_bgr(tmp_path: Path) -> None:
    torch.save(
        official(random_model("divided_space_time", heads=1, num_classes=174), "DATA: {NUM_FRAMES: 3}"),
        tmp_path / "a.pyth",
    )
    preprocessing = load_model(tmp_path / "a.pyth").preprocessing
    assert (preprocessing.channels, preprocessing.sampling.method) == ("bgr", "segments")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("layout", ["native", "official", "mmaction2", "huggingface"])
def test_there_and_back_again(tmp_path: Path, scheme: str, layout: str) -> None:
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), channels="bgr", sampling=Sampling(method="segments"))
    before = Classifier(random_model(scheme, drop_path=0.2), preprocessing, ("köder", "b"))
    save_as(before, tmp_path / "out", layout)
    after = load_model(tmp_path / "out")
    assert_same(before, after)
    save_as(after, tmp_path / "native", "native")
    assert_same(before, load_model(tmp_path / "native"))


def test_what_a_layout_cannot_express(tmp_path: Path) -> None:
    for changes, message in (
        ({"scheme": "axial"}, "no scheme axial; it has space_only, joint_space_time and divided_space_time"),
        ({"scheme": "sparse_local_global"}, "no scheme sparse_local_global"),
        ({"order": "parallel"}, "cannot express order 'parallel'"),
        ({"position": "none"}, "cannot express position 'none'"),
        ({"class_token_in_time": True}, "cannot express class_token_in_time True"),
    ):
        classifier = Classifier(TimeSformer(**TINY | changes), Preprocessing(), ("a", "b"))
        for layout in ("official", "mmaction2", "huggingface"):
            with pytest.raises(WeightsError, match=f"the {layout} layout .*{message}"):
                save_as(classifier, tmp_path / "out", layout)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingError, match="layout 'onnx': expected native, official, mmaction2, huggingface"):
        save_as(classifier, tmp_path / "out", "onnx")
    (tmp_path / "out").touch()
    with pytest.raises(WeightsError, match="exists already"):
        save_as(classifier, tmp_path / "out", "native")


HF_CONFIGS = {
    "small": {
        "image_size": 32,
        "patch_size": 8,
        "num_frames": 4,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 120,
        "num_labels": 7,
    },
    "base": {"num_frames": 2, "image_size": 64, "num_hidden_layers": 12, "num_labels": 5},
}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("config", HF_CONFIGS)
def test_live_transformers(tmp_path: Path, scheme: str, config: str) -> None:
    from transformers import (
        AutoModelForVideoClassification,
        TimesformerConfig,
        TimesformerForVideoClassification,
    )

    torch.manual_seed(0)
    theirs = TimesformerForVideoClassification(TimesformerConfig(**HF_CONFIGS[config], attention_type=scheme)).eval()
    for name, parameter in theirs.named_parameters():
        if "temporal_dense" in name or "time_embeddings" in name or name.endswith("bias"):
            parameter.normal_(0, 0.05)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    settings = ours.model.settings
    assert (settings.scheme, settings.size) == (scheme, "base")
    clips = torch.randn(2, 3, settings.num_frames, settings.image_size, settings.image_size)
    # transformers gives space_only's logits frame by frame, where the released code averages the frames
    seen = clips.transpose(1, 2).flatten(0, 1).unsqueeze(2) if scheme == "space_only" else clips
    expected = theirs(clips.transpose(1, 2)).logits
    assert expected.std() > 0.1
    assert (ours.model(seen) - expected).abs().max() <= 1e-4

    save_as(ours, tmp_path / "back", "huggingface")
    back = AutoModelForVideoClassification.from_pretrained(tmp_path / "back").eval()
    assert torch.equal(back(clips.transpose(1, 2)).logits, expected)
    before, after = theirs.state_dict(), back.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_hugging_face_processor_and_labels(tmp_path: Path) -> None:
    before = Classifier(
        random_model("divided_space_time"), Preprocessing(short_side=20, mean=(0.1, 0.2, 0.3)), ("x", "y")
    )
    save_as(before, tmp_path / "out", "huggingface")
    import json

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "x", "1": "y"}
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["image_mean"]) == ({"shortest_edge": 20}, [0.1, 0.2, 0.3])
    (tmp_path / "out" / "video_preprocessor_config.json").unlink()  # as others write it
    del config["timesformer"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    after = load_model(tmp_path / "out")
    assert after.labels == ("x", "y")
    assert (after.preprocessing.short_side, after.preprocessing.mean) == (20, (0.1, 0.2, 0.3))


def test_labels_from_a_file(tmp_path: Path) -> None:
    Classifier(random_model("axial"), Preprocessing(), ("a", "b")).save_pretrained(tmp_path / "model")
    (tmp_path / "names.txt").write_text("swim\nrun\n\n")
    assert timesformer.load(tmp_path / "model", "cpu", labels=tmp_path / "names.txt").labels == ("swim", "run")
    (tmp_path / "names.txt").write_text("swim\n")
    with pytest.raises(WeightsError, match=r"names\.txt: 1 class names for a model of 2 classes"):
        load_model(tmp_path / "model", labels=tmp_path / "names.txt")
    with pytest.raises(DataError, match=r"no\.txt: cannot be read: No such file"):
        load_model(tmp_path / "model", labels=tmp_path / "no.txt")
    (tmp_path / "names.txt").write_text("swim\nswim\n")
    with pytest.raises(DataError, match=r"names\.txt, line 2: class swim is already in line 1; expected each"):
        load_model(tmp_path / "model", labels=tmp_path / "names.txt")


class NotJustTensors:
    """Something whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not be printed",))


def refused(path: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_files_that_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pyth"
    path.write_bytes(b"")
    refused(path, "not a checkpoint|refused")
    path.write_text("hello")
    refused(path, "not a checkpoint|refused")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "not a checkpoint")
    torch.save({"model_state": NotJustTensors()}, path)
    refused(path, "refused: it holds more than tensors and plain values")
    assert "must not be printed" not in capfd.readouterr().out
    resnet = OrderedDict(
        {"conv1.weight": torch.zeros(4, 3, 7, 7), "bn1.weight": torch.zeros(4), "fc.bias": torch.zeros(2)}
    )
    torch.save({"state_dict": resnet}, path)
    refused(path, r"another model \(state_dict: 3 entries: conv1\.weight, bn1\.weight, fc\.bias\)")
    torch.save({"model_state": resnet}, path)
    refused(path, r"missing \(model\.cls_token.*3 unknown \(conv1\.weight")
    torch.save(nn.Linear(2, 2).weight.detach(), path)
    refused(path, r"another model \(Tensor\)")
    refused(tmp_path / "missing.pyth", "no such file")


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    content = official(random_model("divided_space_time", heads=1), "")
    tensors: dict[str, Tensor] = content["model_state"]
    for change, message in (
        ({"model.head.bias": None}, r"1 missing \(model\.head\.bias\)"),
        ({"model.extra": torch.zeros(1)}, r"1 unknown \(model\.extra\)"),
        ({"model.norm.bias": torch.zeros(5)}, r"1 misshapen \(norm\.bias \(5,\) for \(64,\)\)"),
        ({"model.pos_embed": torch.zeros(1, 4, 64)}, "make no square"),
    ):
        changed = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
        torch.save(content | {"model_state": changed}, tmp_path / "a.pyth")
        refused(tmp_path / "a.pyth", message)
