"""What of a network is trained, and what is frozen (`training.trainable`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from timesformer.config import Training
from timesformer.errors import SettingError
from timesformer.files import replacing
from timesformer.model.adapters import add_adapters
from timesformer.model.protocol import VideoModel

LAST_BLOCKS, RANK = 4, 8
NEW = "new_parameters.txt"
DRAWN = "embedding.time_table"  # new, but of use as model.initialisation=motion draws it


class Trainable(NamedTuple):
    """What of a model is trained: parameters, by their names, and adapters of rank `rank` on linear layers, by theirs.

    what: in words. size: how many numbers that is.
    """

    what: str
    parameters: frozenset[str]
    adapted: tuple[str, ...]
    rank: int
    size: int

    def apply(self, model: VideoModel, seed: int) -> None:
        """Freeze all else, in place, and put adapters on; `seed` decides their weights."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.parameters)
        add_adapters(model, self.adapted, self.rank, seed)


def find_trainable(
    model: VideoModel, settings: Training, new: frozenset[str], *, initialised: bool = True
) -> Trainable | None:
    """What `training.trainable` means for a model, None for all of it. Nothing is changed.

    new: names of the parameters that the initial weights lack. initialised: whether there are any such weights.
    Raises SettingError where the model does not have what is asked for, or would be frozen at random.
    """
    if settings.trainable == "all":
        return None
    if not initialised:
        raise SettingError(
            f"training.trainable is {settings.trainable}, which freezes a network whose weights are random; name "
            "trained weights with --init, or train all"
        )
    if settings.trainable == "last_blocks":
        return _last_blocks(model, settings.last_blocks or LAST_BLOCKS, new)
    if settings.trainable == "video":
        return _trainable(model, "the parts for video, norms and head", model.video_parameters() | _head(model))
    return _adapters(model, settings.adapter_rank or RANK, new | _head(model))


def _head(model: VideoModel) -> frozenset[str]:
    prefixes = tuple(f"{name}." for name in model.head_names())
    return frozenset(name for name, _ in model.named_parameters() if name.startswith(prefixes))


def _last_blocks(model: VideoModel, number: int, new: frozenset[str]) -> Trainable:
    depth = len(model.blocks())
    if number > depth:
        raise SettingError(f"training.last_blocks is {number}; the model has {depth} blocks")
    names = (name for name, _ in model.named_parameters())
    parameters = frozenset(name for name in names if model.layer_of(name) > depth - number)
    for name in sorted(new - parameters):
        drawn = bool(model.get_parameter(name).any())
        if drawn and name != DRAWN:
            raise SettingError(
                f"training.trainable is last_blocks, but {name} is new and random, and would stay so; train all"
            )
        if not drawn and model.layer_of(name) == 0:
            raise SettingError(
                f"training.trainable is last_blocks, but {name} is new and zero, and would stay so; "
                "model.initialisation=motion draws it"
            )
    return _trainable(model, f"the last {number} of {depth} blocks, and what follows them", parameters)


def _adapters(model: VideoModel, rank: int, whole: frozenset[str]) -> Trainable:
    """`whole`: what is trained whole, and so needs no adapter."""
    layers = tuple(name for name in model.adaptable_layers() if f"{name}.weight" not in whole)
    if not layers:
        raise SettingError(
            f"training.trainable is adapters; architecture {model.settings.architecture} has no linear layers in blocks"
        )
    for name in layers:
        if rank > (most := min(model.get_parameter(f"{name}.weight").shape)):
            raise SettingError(f"training.adapter_rank is {rank}; layer {name} has a rank of {most} at most")
    what = f"adapters of rank {rank} on {len(layers)} linear layers, head and what the weights lacked"
    return _trainable(model, what, whole, layers, rank)


def _trainable(
    model: VideoModel, what: str, parameters: frozenset[str], adapted: tuple[str, ...] = (), rank: int = 0
) -> Trainable:
    size = sum(model.get_parameter(name).numel() for name in parameters)
    size += sum(rank * sum(model.get_parameter(f"{name}.weight").shape) for name in adapted)
    return Trainable(what, parameters, adapted, rank, size)


def keep_new(folder: Path, new: frozenset[str]) -> None:
    """Write down which of the parameters that a run is initialised with its weights lacked."""
    with replacing(folder / NEW) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in sorted(new)), encoding="utf-8")


def read_new(folder: Path) -> frozenset[str]:
    """What `keep_new` has written; nothing in a run of a version that had no use for it."""
    file = folder / NEW
    return frozenset(file.read_text(encoding="utf-8").split() if file.exists() else ())
