"""Folders of Hugging Face beyond their tensors: processors, class names, copies fine-tuned there, the pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import videos
from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as

TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "width": 48, "depth": 2, "heads": 3, "num_classes": 3}
CASES = Path(__file__).parents[1] / "data" / "cases"
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def random_classifier(**changes: Any) -> Classifier:
    torch.manual_seed(0)
    model = TimeSformer(**TINY | changes.pop("model", {})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return Classifier(model, Preprocessing(**changes), ("a", "b", "c"), {"data": "mine", "licence": "mit"})


def without_ours(folder: Path, **changes: Any) -> Path:
    """The folder as another program would have written it."""
    config = json.loads((folder / "config.json").read_text())
    del config["timesformer"]
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_the_pipeline_gives_our_scores(tmp_path: Path) -> None:
    """It needs Pillow and av, neither torchvision nor decord; its frames, resized as it does, through our model."""
    import transformers

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    save_as(classifier, tmp_path / "model", "huggingface")
    video = videos.write(tmp_path / "video.mp4", 20, size=(48, 64))
    pipeline = transformers.pipeline("video-classification", model=str(tmp_path / "model"))
    found = {entry["label"]: entry["score"] for entry in pipeline(str(video), frame_sampling_rate=5)}

    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    indices = np.linspace(0, 4 * 5 - 1, 4).astype(int)
    scaled = [np.array(Image.fromarray(frames[index]).resize((42, 32), Image.Resampling.BILINEAR)) for index in indices]
    clip_CTHW = torch.from_numpy(np.stack(scaled)[:, :, 5:37]).permute(3, 0, 1, 2)
    from timesformer.video.transforms import normalise

    with torch.no_grad():
        scores = classifier.model(normalise(clip_CTHW, classifier.preprocessing)[None]).softmax(1)[0]
    assert scores.std() > 0.05
    for label, score in zip(classifier.labels, scores.tolist(), strict=True):
        assert found[label] == pytest.approx(score, abs=1e-4)


@torch.no_grad()
def test_a_model_that_expects_bgr_is_written_for_rgb(tmp_path: Path) -> None:
    from transformers import AutoModelForVideoClassification

    from timesformer.video.transforms import normalise

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channels="bgr")
    save_as(classifier, tmp_path / "model", "huggingface")
    theirs = AutoModelForVideoClassification.from_pretrained(tmp_path / "model").eval()
    clips = torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    ours = classifier.model(normalise(clips, classifier.preprocessing))
    rgb = normalise(clips, classifier.preprocessing.model_copy(update={"channels": "rgb"}))
    assert (theirs(rgb.transpose(1, 2)).logits - ours).abs().max() <= 1e-4
    again = load_model(tmp_path / "model")
    assert again.preprocessing.channels == "bgr"
    assert torch.equal(again.model.embedding.projection.weight, classifier.model.embedding.projection.weight)


@torch.no_grad()
def test_a_copy_fine_tuned_by_transformers_comes_back(tmp_path: Path) -> None:
    from transformers import TimesformerForVideoClassification

    before = random_classifier(sampling=Sampling(rate=7), channels="bgr", model={"drop_path": 0.3})
    save_as(before, tmp_path / "model", "huggingface")
    names = {0: "v", 1: "w", 2: "x", 3: "y", 4: "z"}
    theirs = TimesformerForVideoClassification.from_pretrained(
        tmp_path / "model", num_labels=5, id2label=names, ignore_mismatched_sizes=True
    ).eval()
    theirs.timesformer.embeddings.patch_embeddings.projection.weight.add_(0.1)
    theirs.save_pretrained(tmp_path / "tuned")
    after = load_model(tmp_path / "tuned")
    assert after.labels == ("v", "w", "x", "y", "z")
    assert (after.preprocessing.sampling.rate, after.preprocessing.channels) == (7, "bgr")
    clips = torch.randn(2, 3, 4, 32, 32)
    assert (after.model(clips.flip(1)) - theirs(clips.transpose(1, 2)).logits).abs().max() <= 1e-4

    renamed = without_ours(
        tmp_path / "model",
        timesformer=json.loads((tmp_path / "model/config.json").read_text())["timesformer"],
        id2label={"0": "r", "1": "s", "2": "t"},
    )
    after = load_model(renamed)
    assert after.labels == ("r", "s", "t")
    assert after.model.settings == before.model.settings


def code_of(card: Path) -> str:
    """The second example of a card: the one for transformers."""
    return card.read_text().split("```python\n")[2].split("```")[0]


@pytest.mark.parametrize(
    ("model", "preprocessing", "words"),
    [
        ({}, {"sampling": Sampling(rate=3)}, "take 1 x 3 views"),
        (
            {"multilabel": True},
            {"channels": "bgr", "test_clips": 2, "short_side": 40, "sampling": Sampling(rate=2)},
            "2 x 3",
        ),
        ({"scheme": "joint_space_time"}, {"test_crops": 1, "sampling": Sampling(method="segments")}, "1 x 1 views"),
        ({"scheme": "space_only"}, {"sampling": Sampling(method="cover", rate=2)}, "all clips x 3 crops"),
    ],
)
def test_the_code_of_the_card_gives_our_scores(
    tmp_path: Path, model: dict[str, Any], preprocessing: dict[str, Any], words: str
) -> None:
    """As the card has it, on a video that takes all of sampling, scaling and cropping."""
    from timesformer import read_views
    from timesformer.video.transforms import normalise

    classifier = random_classifier(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), model=model, **preprocessing)
    folder = save_as(classifier, tmp_path / "model", "huggingface")
    video = videos.write(tmp_path / "video.mp4", 40, size=(48, 64))
    views = read_views(video, classifier.model.clip_shape, classifier.preprocessing)
    with torch.no_grad():
        logits = classifier.model(normalise(views, classifier.preprocessing))
    expected = (logits.sigmoid() if model.get("multilabel") else logits.softmax(1)).mean(0)
    assert expected.std() > 0.02

    card = folder / "README.md"
    code = code_of(card).replace("THIS_FOLDER_OR_HUB_ID", str(folder)).replace("video.mp4", str(video))
    names: dict[str, Any] = {}
    exec(code, names)
    assert (names["scores"] - expected).abs().max() <= 1e-5
    assert words in card.read_text()
    spans = classifier.preprocessing.sampling.method == "span"
    assert (f"frame_sampling_rate={classifier.preprocessing.sampling.rate:g}`" in card.read_text()) == spans


def test_what_of_sampling_the_processors_can_say(tmp_path: Path) -> None:
    for method, spread in (("segments", True), ("span", False), ("cover", False)):
        folder = save_as(random_classifier(sampling=Sampling(method=method)), tmp_path / method, "huggingface")
        old, new = (
            json.loads((folder / name).read_text())
            for name in ("preprocessor_config.json", "video_preprocessor_config.json")
        )
        assert old.pop("image_processor_type") == "VideoMAEImageProcessor"
        assert new.pop("video_processor_type") == "TimesformerVideoProcessor"
        assert new == old | {"num_frames": 4, "do_sample_frames": spread}


def test_the_norms_epsilon_goes_both_ways(tmp_path: Path) -> None:
    before = random_classifier(model={"norm_epsilon": 1e-12})
    save_as(before, tmp_path / "model", "huggingface")
    assert load_model(without_ours(tmp_path / "model")).model.settings.norm_epsilon == 1e-12


def test_the_facts_of_the_training_go_along(tmp_path: Path) -> None:
    before = random_classifier()
    save_as(before, tmp_path / "model", "huggingface")
    card = (tmp_path / "model" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert "| data | mine |" in card
    for layout in ("official", "mmaction2", "huggingface", "native"):
        save_as(before, tmp_path / f"to-{layout}", layout)
        assert load_model(tmp_path / f"to-{layout}").facts == {"data": "mine", "licence": "mit"}


def test_processors_of_others(tmp_path: Path) -> None:
    """Pixels as ((x * rescale_factor) - mean) / std; sizes; no file at all."""
    folder = save_as(random_classifier(), tmp_path / "model", "huggingface")
    without_ours(folder)
    (folder / "video_preprocessor_config.json").unlink()
    file = folder / "preprocessor_config.json"
    whole = json.loads(file.read_text())
    for change, mean, std, side in (
        ({"image_mean": [0.1, 0.2, 0.3]}, (0.1, 0.2, 0.3), (0.225,) * 3, None),
        ({"rescale_factor": 1 / 127.5}, (0.225,) * 3, (0.1125,) * 3, None),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51] * 3}, (0.5,) * 3, (0.2,) * 3, None),
        ({"do_normalize": False}, (0.0,) * 3, (1.0,) * 3, None),
        ({"size": {"shortest_edge": 40}}, (0.45,) * 3, (0.225,) * 3, 40),
        ({"size": 40}, (0.45,) * 3, (0.225,) * 3, 40),
        ({"size": {"shortest_edge": 8}}, (0.45,) * 3, (0.225,) * 3, 32),  # no crop of 32 fits in 8
        ({"size": {"height": 32, "width": 32}}, (0.45,) * 3, (0.225,) * 3, None),
    ):
        file.write_text(json.dumps(whole | change))
        found = load_model(folder).preprocessing
        assert found.mean == pytest.approx(mean)
        assert found.std == pytest.approx(std)
        assert found.short_side == side
    file.unlink()
    assert load_model(folder).preprocessing == Preprocessing(sampling=Sampling(rate=64))


@torch.no_grad()
def test_weights_of_several_classes_a_video(tmp_path: Path) -> None:
    """problem_type decides, there and back; transformers then gives the same scores."""
    import transformers

    found = load_model(CASES / "hf_multilabel")
    assert found.model.settings.multilabel
    assert found.labels == ("a", "b", "c")
    save_as(found, tmp_path / "model", "huggingface")
    again = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    assert again.problem_type == "multi_label_classification"
    assert load_model(tmp_path / "model").model.settings == found.model.settings
    assert load_model(without_ours(tmp_path / "model")).model.settings.multilabel
    with pytest.raises(WeightsError, match="official layout cannot express multilabel True"):
        save_as(found, tmp_path / "model.pyth", "official")

    single = save_as(random_classifier(), tmp_path / "single", "huggingface")
    assert "problem_type" not in json.loads((single / "config.json").read_text())
    for kind, multilabel in ((None, False), ("single_label_classification", False)):
        assert (
            load_model(without_ours(copy_of(single, tmp_path), problem_type=kind)).model.settings.multilabel
            == multilabel
        )
    changed = copy_of(single, tmp_path)  # as fine-tuning there for several classes a video does
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    assert load_model(changed).model.settings.multilabel
    with pytest.raises(WeightsError, match=r"config\.json: problem_type is 'regression'; expected single_label_class"):
        load_model(without_ours(copy_of(single, tmp_path), problem_type="regression"))


def copy_of(folder: Path, parent: Path) -> Path:
    return Path(shutil.copytree(folder, parent / "copy", dirs_exist_ok=True))


def as_bin(folder: Path) -> Path:
    """The folder with its tensors as torch.save writes them."""
    whole = folder / "model.safetensors"
    torch.save(load_file(whole), folder / "pytorch_model.bin")
    whole.unlink()
    return folder


def shards(folder: Path, name: str) -> Path:
    """The folder with its file of tensors in two, and the index of them."""
    stem, suffix = name.split(".")
    read, write = (load_file, save_file) if suffix == "safetensors" else (torch.load, torch.save)
    tensors = read(folder / name)
    (folder / name).unlink()
    where = {key: f"{stem}-0000{number % 2 + 1}-of-00002.{suffix}" for number, key in enumerate(sorted(tensors))}
    for file in set(where.values()):
        write({key: tensor for key, tensor in tensors.items() if where[key] == file}, folder / file)
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_tensors_whole_or_in_shards_as_transformers_finds_them(tmp_path: Path) -> None:
    found = load_model(CASES / "hf_sharded_bin")
    expected = torch.load(CASES / "hf_sharded_bin" / "pytorch_model-00001-of-00002.bin")["classifier.weight"]
    assert torch.equal(found.model.head.weight, expected)

    before = random_classifier()
    whole = save_as(before, tmp_path / "whole", "huggingface")
    for name in ("model.safetensors", "pytorch_model.bin"):
        folder = copy_of(whole, tmp_path / name)
        folder = shards(folder if name == "model.safetensors" else as_bin(folder), name)
        tensors = load_model(folder).model.state_dict()
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in before.model.state_dict().items())
    other = random_classifier(mean=(0.1, 0.2, 0.3))
    with torch.no_grad():
        other.model.head.bias.fill_(5)
    both = save_as(other, tmp_path / "both", "huggingface")
    for file in (tmp_path / "model.safetensors" / "copy").glob("model*safetensors*"):
        shutil.copy(file, both)
    assert (load_model(both).model.head.bias == 5).all()  # the whole file counts, as it does there


def test_shards_that_are_not_there(tmp_path: Path) -> None:
    for number, (name, change, message) in enumerate(
        (
            (
                "1-of-2",
                lambda file: file.unlink(),
                r"pytorch_model-00001-of-00002\.bin: cannot be read: .*No such file",
            ),
            (
                "index",
                lambda file: file.write_text("{}"),
                r"index\.json: weight_map is None; expected the file of each",
            ),
            ("index", weight_map({}), r"index\.json: weight_map is \{\}; expected the file of each tensor"),
            ("index", weight_map([1]), r"index\.json: weight_map is \[1\]; expected the file of each tensor"),
            ("index", weight_map({"a": 3}), r"index\.json: a is in 3; expected a file of this folder"),
            (
                "index",
                weight_map({"a": "../x.bin"}),
                r"index\.json: a is in '\.\./x\.bin'; expected a file of this folder",
            ),
            ("index", weight_map({"a": "/x.bin"}), r"index\.json: a is in '/x\.bin'; expected a file of this folder"),
            ("index", weight_map({"a": "b\\x.bin"}), r"expected a file of this folder"),
            ("index", weight_map({"a": ".."}), r"index\.json: a is in '\.\.'; expected a file of this folder"),
            ("2-of-2", lambda file: file.write_bytes(b"zz"), r"00002-of-00002\.bin: not a checkpoint that can be read"),
        )
    ):
        folder = Path(shutil.copytree(CASES / "hf_sharded_bin", tmp_path / str(number)))
        (file,) = folder.glob("*.index.json" if name == "index" else f"*{name[0]}-of-*")
        change(file)
        with pytest.raises(WeightsError, match=message) as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
        assert str(folder) in str(raised.value)


def weight_map(value: object) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps({"weight_map": value}))


@pytest.mark.parametrize("ours", [False, True])
def test_configurations_that_contradict_their_tensors(tmp_path: Path, ours: bool) -> None:
    """transformers makes the model that config.json describes, tables too: it resizes for clips, not on loading."""
    whole = save_as(random_classifier(), tmp_path / "whole", "huggingface")
    for changes, message in (
        ({"num_frames": 8}, "num_frames is 8, the tensors have 4"),
        ({"hidden_size": 96}, "hidden_size is 96, the tensors have 48"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, the tensors have 2"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, the tensors have 2"),
        ({"intermediate_size": 96}, "intermediate_size is 96, the tensors have 192"),
        ({"patch_size": 16}, "patch_size is 16, the tensors have 8"),
        ({"patch_size": [8, 4]}, r"patch_size is \[8, 4\], the tensors have 8"),
        ({"image_size": 64}, "image_size is 64, the tensors have 4 x 4 patches of 8 pixels"),
        ({"image_size": [16, 64]}, r"image_size is \[16, 64\], the tensors have 4 x 4 patches of 8 pixels"),
        ({"image_size": "32"}, "image_size is '32', the tensors have 4 x 4 patches"),
        (
            {"num_frames": 8, "hidden_size": 96},
            "num_frames is 8, the tensors have 4; hidden_size is 96, the tensors have 48",
        ),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "id2label has 2 names, the tensors 3 classes"),
        ({"id2label": None, "num_labels": 5}, "num_labels is 5, the tensors have 3"),
    ):
        folder = copy_of(whole, tmp_path)
        config = json.loads((folder / "config.json").read_text()) | changes
        if not ours:
            del config["timesformer"]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=rf"copy/config\.json: {message}") as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
        shutil.rmtree(folder)


@torch.no_grad()
def test_configurations_that_only_look_as_if_they_contradicted(tmp_path: Path) -> None:
    """A pair for a side, pixels beyond the last whole patch, no word at all, frames without a table."""
    from transformers import TimesformerForVideoClassification

    whole = save_as(random_classifier(), tmp_path / "whole", "huggingface")
    for changes in ({"image_size": [32, 32], "patch_size": [8, 8]}, {"image_size": 38}):
        folder = without_ours(copy_of(whole, tmp_path), **changes)
        assert load_model(folder).model.settings.image_size == 32
    theirs = TimesformerForVideoClassification.from_pretrained(
        folder
    ).eval()  # of a pair it makes a model, but no logits
    clips = torch.randn(1, 3, 4, 38, 38)
    found = load_model(folder).model(clips[..., :32, :32])
    assert (found - theirs(clips.transpose(1, 2)).logits).abs().max() <= 1e-4
    config = json.loads((folder / "config.json").read_text())
    names = ("image_size", "patch_size", "num_frames", "hidden_size", "num_hidden_layers", "intermediate_size")
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key not in names}))
    assert load_model(folder).model.settings.num_frames == 4
    frames = save_as(random_classifier(model={"scheme": "space_only"}), tmp_path / "space", "huggingface")
    assert load_model(without_ours(frames, num_frames=16)).model.settings.num_frames == 16


def test_processors_by_all_their_names(tmp_path: Path) -> None:
    """transformers 5 writes video_preprocessor_config.json; processor_config.json nests it: as it finds them."""
    case = CASES / "hf_video_preprocessor"
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    found = load_model(case).preprocessing
    assert (found.mean, found.std) == imagenet
    new = json.loads((case / "video_preprocessor_config.json").read_text())
    old = new | {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"shortest_edge": 20}}
    for number, (files, first) in enumerate(
        (
            ({"processor_config.json": {"video_processor": new}}, True),
            ({"processor_config.json": {"image_processor": new}}, True),
            ({"processor_config.json": {"video_processor": new, "image_processor": old}}, True),
            ({"processor_config.json": {"video_processor": new}, "video_preprocessor_config.json": old}, True),
            ({"processor_config.json": {"image_processor": new}, "preprocessor_config.json": old}, True),
            ({"processor_config.json": {"image_processor": old}, "video_preprocessor_config.json": new}, True),
            ({"video_preprocessor_config.json": new, "preprocessor_config.json": old}, True),
            ({"processor_config.json": {"processor_class": "X"}, "preprocessor_config.json": new}, True),
            ({"preprocessor_config.json": old}, False),
            ({"preprocessor_config.json": new | {"do_rescale": None, "do_normalize": None}}, True),
        )
    ):
        folder = Path(shutil.copytree(case, tmp_path / str(number)))
        (folder / "video_preprocessor_config.json").unlink()
        for name, values in files.items():
            (folder / name).write_text(json.dumps(values))
        found = load_model(folder).preprocessing
        assert (found.mean, found.std) == (imagenet if first else ((0.1,) * 3, (0.2,) * 3)), files
        assert found.short_side == (None if first else 20)
    broken = {"video_processor": new | {"rescale_factor": 0}}
    (folder / "processor_config.json").write_text(json.dumps(broken))
    with pytest.raises(WeightsError, match=r"processor_config\.json: pixel scale cannot be read: rescale_factor 0"):
        load_model(folder)
    (folder / "processor_config.json").write_text(json.dumps({"video_processor": 3}))
    with pytest.raises(WeightsError, match=r"processor_config\.json: video_processor is 3; expected values by name"):
        load_model(folder)


def test_class_names_of_others(tmp_path: Path) -> None:
    folder = save_as(random_classifier(), tmp_path / "model", "huggingface")
    without_ours(folder)
    assert load_model(folder).labels == ("a", "b", "c")
    config = json.loads((folder / "config.json").read_text())
    for names in (None, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}):
        (folder / "config.json").write_text(json.dumps(config | {"id2label": names}))
        assert load_model(folder).labels == ("0", "1", "2")


def test_something_something_as_the_hub_has_it(tmp_path: Path) -> None:
    """The hub's folders hold the official tensors, which expect BGR and segments."""
    model = TimeSformer(**TINY | {"num_classes": 174})
    classifier = Classifier(model, Preprocessing(), tuple(str(number) for number in range(174)))
    found = load_model(without_ours(save_as(classifier, tmp_path / "model", "huggingface")))
    assert (found.preprocessing.channels, found.preprocessing.sampling.method) == ("bgr", "segments")
    assert torch.equal(found.model.embedding.projection.weight, model.embedding.projection.weight)


@torch.no_grad()
@pytest.mark.parametrize(("patch", "hidden"), [(4, 96), (12, 192), (24, 131)])
def test_any_patch_and_hidden_size_that_transformers_takes(patch: int, hidden: int, tmp_path: Path) -> None:
    """Also an MLP that is no multiple of the width: 1920 of 704 once became 1919."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    theirs = TimesformerForVideoClassification(
        TimesformerConfig(
            image_size=24,
            patch_size=patch,
            num_frames=2,
            hidden_size=48,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=hidden,
            num_labels=5,
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs").model
    clips = torch.randn(2, 3, 2, 24, 24)
    torch.testing.assert_close(ours(clips), theirs(clips.transpose(1, 2)).logits, rtol=0, atol=1e-5)


def test_a_hidden_size_that_rounding_down_would_lose() -> None:
    assert TimeSformer(width=704, depth=1, heads=11, mlp_ratio=1920 / 704, num_classes=2).settings.hidden == 1920
