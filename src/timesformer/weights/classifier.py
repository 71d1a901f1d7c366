"""A model with what it needs to classify a video: loaded from weights of any layout, saved, uploaded."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from timesformer.baselines.architectures import build_model
from timesformer.config import ModelSettings, Preprocessing
from timesformer.data.labels import read_labels
from timesformer.errors import WeightsError
from timesformer.model.protocol import VideoModel
from timesformer.weights.description import Contents, check_labels
from timesformer.weights.hub import upload
from timesformer.weights.labels import default_labels
from timesformer.weights.native import save_native
from timesformer.weights.read import read_weights


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A model with all it needs to classify a video.

    Attributes:
        model: normalised clips to logits.
        preprocessing: how a video becomes its input; if not given, the paper's Kinetics settings.
        labels: class names, one a logit; if not given, Kinetics-400's for 400 classes, numbers for any other number.
        facts: what is known of the training, such as data, recipe, scores and licence, for the model card.
        reread: reads the model's tensors again, where they lie in a file as they are in the model.
    """

    model: VideoModel
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    labels: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    reread: Callable[[], dict[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        classes = self.model.settings.num_classes
        object.__setattr__(self, "labels", tuple(self.labels) or default_labels(classes))
        check_labels(self.labels, classes, "Classifier")

    @property
    def settings(self) -> ModelSettings:
        """The model's."""
        return self.model.settings

    def __repr__(self) -> str:
        settings = self.model.settings
        return f"Classifier({settings}; {settings.clip_shape}; {len(self.labels)} classes)"

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        *,
        labels: str | Path | None = None,
        heads: int | None = None,
        revision: str | None = None,
    ) -> Classifier:
        """As `timesformer.load_model`."""
        return load_model(weights, labels=labels, heads=heads, revision=revision)

    def save_pretrained(self, folder: str | Path, *, facts: Mapping[str, str] | None = None) -> None:
        """Write a folder that `timesformer.load_model` takes; it appears, or replaces an older one, when complete.

        facts: what is known of the training, beside the classifier's own facts. Raises WeightsError where the folder
        holds something other than weights, and where it cannot be written.
        """
        save_native(self.contents(facts), Path(folder))

    def push_to_hub(
        self,
        repository: str,
        *,
        facts: Mapping[str, str] | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to NAMESPACE/NAME on the Hugging Face hub; returns its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder) / "model", facts=facts)
            return upload(Path(folder) / "model", repository, private=private, token=token)

    def with_labels(self, file: str | Path) -> Classifier:
        """The same with the class names of a text file, one a line. Raises DataError, WeightsError as `load_model`."""
        return dataclasses.replace(self, labels=labels_of(file, len(self.labels)))

    def contents(self, facts: Mapping[str, str] | None = None) -> Contents:
        """What files of weights hold of it; `facts` beside its own."""
        return Contents(
            self.model.settings,
            self.preprocessing,
            self.labels,
            {**self.facts, **(facts or {})},
            self.model.state_dict(),
        )

    def forget(self) -> None:
        """Let go of the memory that holds the weights, where a file holds them too: what is needed of them is read
        again by the system, from the file that was opened, whatever has its name now. Changes made to the model since
        are lost. Raises WeightsError where that file was written to."""
        if self.reread is not None:
            self.model.load_state_dict(self.reread(), assign=True)


def load_model(
    weights: str | Path,
    *,
    labels: str | Path | None = None,
    heads: int | None = None,
    revision: str | None = None,
) -> Classifier:
    """The classifier that WEIGHTS names, in evaluation mode, on the CPU.

    weights: a folder of this package's weights or of a training run; a .pyth file of the official code; a .pth file
    of mmaction2; a Hugging Face folder of TimeSformer or VideoMAE; or a hub id, such as
    facebook/timesformer-base-finetuned-k400. Its content decides which, not its name.
    labels: a text file of class names, one a line, in place of those that come with the weights.
    heads: attention heads, for .pyth and .pth files whose width is no multiple of 64: the files do not say.
    revision: branch, tag or commit of a hub id; NAMESPACE/NAME@REVISION says the same.

    Raises WeightsError, in one line, for anything else, and for tensors that do not all fit; DataError for a list of
    class names that cannot be read.
    """
    contents = read_weights(weights if revision is None else f"{weights}@{revision}", heads)
    if labels is not None:
        contents = contents._replace(labels=labels_of(labels, len(contents.labels)))
    return classifier_of(contents, weights)


def labels_of(file: str | Path, classes: int) -> tuple[str, ...]:
    """The class names of a text file, one a line. Raises DataError, and WeightsError for another number of them."""
    labels = read_labels(file)
    check_labels(labels, classes, file)
    return labels


def classifier_of(contents: Contents, source: object) -> Classifier:
    """The classifier of what weights hold, strictly loaded; `source` is for messages."""
    model = None
    if contents.reread is not None:
        # The model's tensors are the file's, mapped into memory: nothing is drawn, copied or read before it is needed.
        with torch.device("meta"):
            model = build_model(contents.settings).eval()
        load_strictly(model, contents.tensors, source, assign=True)
        if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):  # made by the model itself
            model = None
    if model is None:
        model = build_model(contents.settings).eval()
        load_strictly(model, contents.tensors, source)
        contents = contents._replace(reread=None)
    return Classifier(model, contents.preprocessing, contents.labels, contents.facts, contents.reread)


def load_strictly(model: VideoModel, tensors: dict[str, Tensor], source: object, *, assign: bool = False) -> None:
    """Copy tensors into a model, or with `assign` make them its own.

    Raises WeightsError naming the first few that are missing, unknown or of another shape.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        raise WeightsError(f"{source}: tensors do not fit the model: {'; '.join(problems)}")
    model.load_state_dict(tensors, assign=assign)
