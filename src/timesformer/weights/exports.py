"""Files of `timesformer export` among weights: told by their content, not by their names. They run, and hold no network
that could be changed; what reads them is an engine's (`timesformer.engine.file`)."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

from timesformer.errors import WeightsError

Format = Literal["onnx", "openvino", "torch"]
START = 512  # bytes that tell what a file is
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


def exported_format(path: Path) -> Format | None:
    """The format of an exported file, whoever wrote it; None for anything else."""
    try:
        with path.open("rb") as stream:
            start = stream.read(START)
        if re.match(rb"\s*(<\?xml[^>]*>\s*)?<net\s", start):
            return "openvino"
        if start.startswith(b"PK") and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return "torch" if any(name.endswith("/archive_format") for name in archive.namelist()) else None
    except Exception:  # a damaged directory sends zipfile astray in every way there is; whoever reads the file says so
        return None
    # A ModelProto: its version, a small number, comes first, then text, such as who made it; safetensors has a brace.
    is_onnx = re.match(rb"\x08[\x03-\x20][\x12\x1a\x22\x32\x3a\x42]", start) and start[8:9] != b"{"
    return "onnx" if is_onnx else None


def refuse_exported(path: Path) -> None:
    """Raises WeightsError for an exported file."""
    if found := exported_format(path):
        raise WeightsError(
            f"{path}: an exported file ({found}), which predict, test, timeline, features, search, serve and explain "
            "--method occlusion take; name the weights that it was exported from"
        )
