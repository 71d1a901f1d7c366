"""What torch.save wrote, read without ever running code or importing a module that the file names.

torch's own unpickler (`weights_only=True`) builds tensors and plain values. Beside these, checkpoints hold bookkeeping:
numpy scalars, a trainer's history, an argparse.Namespace. For every such class or function it gets a stand-in of the
same name, which takes whatever it is given, does nothing and holds nothing. Files that name the standard library's
functions, such as `os.system` or `eval`, are refused: no bookkeeping needs them.
"""

from __future__ import annotations

import pickle
import pickletools
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # names of Python 2, which torch.save still writes
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from timesformer.errors import WeightsError, one_line

BUILTINS = {"getattr", "object", "set", "frozenset", "slice", "range", "complex", "bytearray", "bytes", "list", "dict"}
BUILTINS |= {"tuple", "str", "int", "float", "bool"}
HARMLESS = {"_codecs", "argparse", "array", "collections", "copyreg", "datetime", "decimal", "enum", "fractions"}
HARMLESS |= {"functools", "logging", "numbers", "pathlib", "random", "re", "typing", "uuid", "zoneinfo"}
LEGACY_PICKLES = 5  # magic number, protocol, system, content, keys of the tensors, which then follow


class StandIn:
    """What a class or a function of bookkeeping becomes."""

    def __new__(cls, *_: object) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_pickle(file: Path) -> Any:
    """What torch.save wrote, on the CPU; bookkeeping in it is a `StandIn`.

    Raises WeightsError for a file that names code to run, and for one that is damaged or no checkpoint.
    """
    try:
        with warnings.catch_warnings(), file.open("rb") as stream:
            warnings.simplefilter("ignore")
            names = sorted(set(_names(stream)))
            running = [f"{module}.{name}" for module, name in names if _may_run(module, name)]
            if running:
                raise WeightsError(
                    f"{file}: refused: it holds more than tensors and plain values ({', '.join(running[:3])}), which "
                    "only running its code could read"
                )
            stream.seek(0)
            with torch.serialization.safe_globals([_stand_in(*name) for name in names]):
                return torch.load(stream, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        said = str(error).rpartition("WeightsUnpickler error: ")[2]  # after torch's own advice
        if any(words in said for words in ("GLOBAL", "an only", "nly persistent_load", "call reduce")):
            raise WeightsError(
                f"{file}: refused: it holds more than tensors and plain values, which only running its code could read"
            ) from None
        raise WeightsError(f"{file}: not a checkpoint that can be read: {' '.join(said.split())[:160]}") from None
    except Exception as error:  # damaged bytes send torch's unpickler astray in every way there is
        raise WeightsError(f"{file}: not a checkpoint that can be read: {one_line(error)[:160]}") from None


def _names(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """The module and the name of every class and function that a checkpoint's pickles mention."""
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.namelist():
                if entry.endswith("data.pkl"):
                    with archive.open(entry) as content:
                        yield from _names_in(content)
    else:
        stream.seek(0)
        for _ in range(LEGACY_PICKLES):
            yield from _names_in(stream)


def _names_in(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            if (module, name) in NAME_MAPPING:
                yield NAME_MAPPING[module, name]
            else:
                yield IMPORT_MAPPING.get(module, module), name


def _may_run(module: str, name: str) -> bool:
    top = module.split(".")[0]
    if top == "builtins":
        return name not in BUILTINS
    return top in sys.stdlib_module_names and top not in HARMLESS


def _stand_in(module: str, name: str) -> tuple[Any, str]:
    """As `safe_globals` takes it. torch fills no containers but its own, so theirs are plain ones."""
    made: Any = type(name, (StandIn,), {})
    if (module, name) == ("collections", "defaultdict"):
        made = _plain_dict
    if (module, name) == ("collections", "deque"):
        made = _plain_list
    return made, f"{module}.{name}"


def _plain_dict(*_: object) -> dict[Any, Any]:
    return {}


def _plain_list(*_: object) -> list[Any]:
    return []
