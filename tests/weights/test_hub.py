"""Hub ids against a small server on this machine that speaks the hub's file protocol."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hub_server import Hub, contents, load
from timesformer import TimeSformer
from timesformer.config import Preprocessing
from timesformer.weights.classifier import Classifier
from timesformer.weights.convert import save_as
from timesformer.weights.hub import is_hub_id

CASES = Path(__file__).parents[1] / "data" / "cases"
TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 1, "heads": 3, "num_classes": 2}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    Classifier(TimeSformer(**TINY), Preprocessing(), ("a", "b")).save_pretrained(tmp_path / "served")
    server = Hub(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_then_cache_then_offline(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert load("me/tiny", hub.address, cache) == "a b"
    assert any("GET /me/tiny/resolve" in line and "model.safetensors" in line for line in hub.asked)
    hub.asked.clear()
    assert load("me/tiny", hub.address, cache) == "a b"
    assert not any(line.startswith("GET /me/tiny/resolve") for line in hub.asked)
    assert load("me/tiny@v1", hub.address, cache) == "a b"
    assert any("/revision/v1" in line for line in hub.asked)
    hub.asked.clear()
    assert load("me/tiny", hub.address, cache, HF_HUB_OFFLINE="1") == "a b"
    assert hub.asked == []


def test_what_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert load("me/tiny", hub.address, cache) == "a b"
    before = contents(cache)
    assert load("me/nothing", hub.address, cache) == (
        "refused: me/nothing: no such file or folder, and no such model on the hub"
    )
    assert load("me/tiny@v9", hub.address, cache) == "refused: me/tiny@v9: the hub's me/tiny has no revision v9"
    (hub.folder / "model.safetensors").unlink()
    other = tmp_path / "other"
    assert load("me/tiny", hub.address, other) == (
        "refused: me/tiny: the hub's me/tiny has no tensors; expected model.safetensors or pytorch_model.bin"
    )
    for config, message in (
        ({"model_type": "resnet"}, "weights of another model (resnet); expected a TimeSformer's or a VideoMAE's"),
        ({"model_type": "vit"}, "an image model; a video model can be initialised from it (timesformer train --init)"),
        (
            {"model_type": "videomae", "architectures": ["VideoMAEForPreTraining"]},
            "an encoder without a head; a video model can be initialised from it (timesformer train --init)",
        ),
    ):
        (hub.folder / "model.safetensors").write_bytes(b"large")
        (hub.folder / "config.json").write_text(json.dumps(config))
        hub.asked.clear()
        assert load("me/tiny", hub.address, other) == f"refused: me/tiny: {message}"
        assert not any("model.safetensors" in line for line in hub.asked)
    (hub.folder / "config.json").unlink()
    assert load("me/tiny", hub.address, other) == (
        "refused: me/tiny: the hub's me/tiny has no config.json; expected a model's files"
    )
    assert contents(other) == {}
    assert contents(cache) == before


def test_old_tensors_only_where_there_are_no_others(hub: Hub, tmp_path: Path) -> None:
    names = {"model.safetensors", "pytorch_model.bin", "optimizer.pt", "checkpoint-1.safetensors"}
    for name in names - {"model.safetensors"}:
        (hub.folder / name).write_bytes(b"never read")
    assert load("me/tiny", hub.address, tmp_path / "cache") == "a b"
    assert names & {Path(name).name for name in contents(tmp_path / "cache")} == {"model.safetensors"}

    classifier = Classifier(TimeSformer(**TINY), Preprocessing(), ("x", "y"))
    save_as(classifier, tmp_path / "old", "huggingface")
    torch.save(load_file(tmp_path / "old" / "model.safetensors"), tmp_path / "old" / "pytorch_model.bin")
    (tmp_path / "old" / "model.safetensors").unlink()
    hub.folder = tmp_path / "old"
    assert load("me/tiny", hub.address, tmp_path / "other") == "x y"


@pytest.mark.parametrize("nested", [False, True])
def test_processors_by_all_their_names_come_along(hub: Hub, tmp_path: Path, nested: bool) -> None:
    hub.folder = Path(shutil.copytree(CASES / "hf_video_preprocessor", tmp_path / "case"))
    if nested:
        file = hub.folder / "video_preprocessor_config.json"
        (hub.folder / "processor_config.json").write_text(json.dumps({"video_processor": json.loads(file.read_text())}))
        file.unlink()
    program = """from timesformer.weights.classifier import load_model
print(load_model(sys.argv[1]).preprocessing.mean)"""
    assert load("me/tiny", hub.address, tmp_path / "cache", program) == "(0.485, 0.456, 0.406)"


CONFIG = """from huggingface_hub import hf_hub_download
print(hf_hub_download(sys.argv[1], 'config.json') != '')"""  # what transformers.AutoConfig does


def foreign(hub: Hub) -> None:
    (hub.folder / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    (hub.folder / "model.safetensors").write_bytes(b"large")


def test_a_configuration_in_the_cache_is_checked_too(hub: Hub, tmp_path: Path) -> None:
    """Online and offline, and where another program has put there nothing but the configuration."""
    foreign(hub)
    cache = tmp_path / "cache"
    assert load("me/tiny", hub.address, cache, CONFIG) == "True"
    hub.asked.clear()
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert load("me/tiny", hub.address, cache, **environment) == (
            "refused: me/tiny: weights of another model (resnet); expected a TimeSformer's or a VideoMAE's"
        )
    assert not any("resolve" in line for line in hub.asked)  # neither tensors nor, once more, the configuration


def test_a_repository_that_became_another_model(hub: Hub, tmp_path: Path) -> None:
    """What the cache has is good; what the hub has now is not, and none of it comes."""
    cache = tmp_path / "cache"
    assert load("me/tiny", hub.address, cache) == "a b"
    before = contents(cache)
    hub.commit = "b" * 40
    foreign(hub)
    hub.asked.clear()
    assert load("me/tiny", hub.address, cache) == (
        "refused: me/tiny: weights of another model (resnet); expected a TimeSformer's or a VideoMAE's"
    )
    assert not any("model.safetensors" in line for line in hub.asked)
    assert contents(cache) == before
    assert load("me/tiny", hub.address, cache, HF_HUB_OFFLINE="1") == "a b"
    assert load("me/tiny", "http://127.0.0.1:9", cache) == "a b"  # nothing listens there


def test_a_configuration_alone_in_the_cache_of_a_model_that_loads(hub: Hub, tmp_path: Path) -> None:
    assert load("me/tiny", hub.address, tmp_path / "cache", CONFIG) == "True"
    assert load("me/tiny", hub.address, tmp_path / "cache") == "a b"
    (hub.folder / "model.safetensors").unlink()
    assert load("me/tiny", hub.address, tmp_path / "other", CONFIG) == "True"
    assert load("me/tiny", hub.address, tmp_path / "other") == (
        "refused: me/tiny: the hub's me/tiny has no tensors; expected model.safetensors or pytorch_model.bin"
    )


def test_tensors_in_shards_of_either_kind(hub: Hub, tmp_path: Path) -> None:
    """All shards that the index names come, and of what else there is nothing."""
    hub.folder = Path(shutil.copytree(CASES / "hf_sharded_bin", tmp_path / "case"))
    (hub.folder / "pytorch_model-9.bin").write_bytes(b"never read")
    index = hub.folder / "pytorch_model.bin.index.json"
    shard = hub.folder / "pytorch_model-00002-of-00002.bin"
    index.write_text(index.read_text().replace(shard.name, "second.bin"))
    shard.rename(shard.with_name("second.bin"))
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert load("me/tiny", hub.address, tmp_path / "cache", **environment) == "a b c"
    names = {Path(name).name for name in contents(tmp_path / "cache")}
    assert not names & {"pytorch_model-9.bin", "README.md"}

    index.write_text(index.read_text().replace("second.bin", "../second.bin"))
    found = load("me/tiny", hub.address, tmp_path / "other")
    assert found.startswith("refused: ")
    assert "../second.bin'; expected a file of this folder" in found

    parts = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    save_as(Classifier(TimeSformer(**TINY), Preprocessing(), ("x", "y")), tmp_path / "sharded", "huggingface")
    tensors = load_file(tmp_path / "sharded" / "model.safetensors")
    where = {name: parts[number % 2] for number, name in enumerate(tensors)}
    for part in parts:
        save_file({name: tensors[name] for name in tensors if where[name] == part}, tmp_path / "sharded" / part)
    (tmp_path / "sharded" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "sharded" / "pytorch_model.bin").write_bytes(b"never read")
    hub.folder = tmp_path / "sharded"
    for whole in (True, False):
        cache = tmp_path / f"cache {whole}"
        assert load("me/tiny", hub.address, cache) == "x y"
        names = {Path(name).name for name in contents(cache)}
        assert names & {"model.safetensors", *parts, "pytorch_model.bin"} == (
            {"model.safetensors"} if whole else set(parts)
        )
        (tmp_path / "sharded" / "model.safetensors").unlink(missing_ok=True)


def test_a_revision_by_keyword(hub: Hub, tmp_path: Path) -> None:
    program = """from timesformer import Classifier
print(Classifier.from_pretrained(sys.argv[1], revision='v1').labels)"""
    assert load("me/tiny", hub.address, tmp_path / "cache", program) == "('a', 'b')"
    assert any("/revision/v1" in line for line in hub.asked)
    wrong = program.replace("'v1'", "'v8'")
    assert load("me/tiny", hub.address, tmp_path / "cache", wrong) == (
        "refused: me/tiny@v8: the hub's me/tiny has no revision v8"
    )


@pytest.mark.filterwarnings("ignore")
def test_a_training_run_begins_from_an_image_model_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    import transformers

    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 16, "patch_size": 8}
    transformers.Dinov2Model(transformers.Dinov2Config(**shape)).save_pretrained(tmp_path / "vit")
    hub.folder = tmp_path / "vit"
    program = """from timesformer.config import TimeSformerSettings, Preprocessing
from timesformer.weights.initialise import initialise_classifier
settings = TimeSformerSettings(image_size=32, num_frames=2)
found = initialise_classifier(settings, Preprocessing(), ('a', 'b'), sys.argv[1])
print(found.classifier.model.settings.dimensions.width, found.notes[0])"""
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        found = load("me/tiny", hub.address, tmp_path / "cache", program, **environment)
        assert found.startswith("64 from the image model me/tiny (dinov2)")


@pytest.mark.parametrize("failure", ["cut", "error"])
def test_a_download_that_breaks_off(hub: Hub, tmp_path: Path, failure: str) -> None:
    """One line, nothing that would pass for whole weights, and the next attempt succeeds."""
    hub.failure = failure
    found = load("me/tiny", hub.address, tmp_path / "cache")
    assert found.startswith("refused: me/tiny: no such file or folder; cannot be downloaded from the hub: ")
    assert "\n" not in found
    assert not any("model.safetensors" in name for name in contents(tmp_path / "cache"))
    hub.failure = ""
    assert load("me/tiny", hub.address, tmp_path / "cache") == "a b"


def test_no_network(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # nothing listens there
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        found = load("me/tiny", nowhere, tmp_path / "cache", **environment)
        assert found.startswith("refused: me/tiny: no such file or folder; the hub cannot be reached")
        assert "\n" not in found


def test_what_looks_like_a_hub_id() -> None:
    for text in ("facebook/timesformer-base-finetuned-k400", "me/tiny@v1", "me/tiny@refs/pr/1"):
        assert is_hub_id(text)
    for text in ("tiny", "/me/tiny", "./tiny", "a/b/c", "me/tiny@", "../x"):
        assert not is_hub_id(text)
