"""Programs of torch.export in .pt2 files, read without ever running code that a file holds.

torch.export.load unpickles what a file says is pickled, evaluates the sizes in it as Python, calls what it names and
makes source code of its names. So a file is only given to torch when every text in it is one that programs of networks
have: names, sizes that are arithmetic, and operations of this list; and when all of its tensors are plain bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader

from timesformer.errors import WeightsError, one_line

METADATA = "timesformer.json"
ENTRIES = re.compile(
    r"models/model\.json|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)|"
    r"data/sample_inputs/model\.pt|extra/timesformer\.json|archive_(format|version)|byteorder|\.data/\w+|\.format_version"
)
OPERATIONS = """
    _assert_tensor_metadata abs adaptive_avg_pool3d add add_ amax amin arange as_strided_copy avg_pool2d avg_pool3d
    baddbmm batch_norm bitwise_and bitwise_not bmm cat chunk clamp clone contiguous conv2d conv3d copy_ detach
    detach_ div dropout einsum embedding empty empty_like eq exp expand fill_ flatten flip floor full full_like ge
    gelu gelu_ gt hardtanh index index_select layer_norm le lift_fresh_copy linear log_softmax logical_not lt
    masked_fill masked_fill_ matmul max_pool2d max_pool3d maximum mean minimum mm mul mul_ narrow neg new_empty
    new_zeros ones ones_like pad permute pow relu relu_ repeat repeat_interleave reshape rsqrt scalar_tensor
    scaled_dot_product_attention select sigmoid silu silu_ slice slice_scatter softmax split split_with_sizes sqrt
    squeeze stack sub sum sym_size swapaxes t tanh tensor_split tile to transpose unbind unflatten unsqueeze
    upsample_bicubic2d upsample_linear1d upsample_nearest1d upsample_nearest2d view where zeros zeros_like
    _native_batch_norm_legit_no_training
"""
TARGETS = re.compile(
    rf"torch\.ops\.aten\.({'|'.join(OPERATIONS.split())})\.\w+|"
    r"_operator\.(add|sub|mul|floordiv|mod|neg|getitem|eq|ne|ge|gt|le|lt)"
)
PLAIN = re.compile(r"[\w.,+>-]*")  # names, types, versions, equations of einsum
WORDS = "Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|FloorDiv|CleanDiv|Mod|PythonMod|CeilDiv|positive|integer|True|oo"
SIZE = re.compile(rf"((\b({WORDS}|[su]\d+|\d+)\b)|[-+*/(),=' ])*")
SPEC = re.compile(r'(\d+|null|true|false|"(builtins\.\w+|null|\[\]|type|context|children_spec)"|[][{}:, ])*')
SPECS = ("in_spec", "out_spec")
CODE = ("as_operator", "as_custom_obj", "as_graph")  # kinds of arguments that are none of numbers, texts and tensors


def read_program(path: Path) -> tuple[ExportedProgram, str | None]:
    """A program, and what `timesformer export` says of it. Raises WeightsError for one that is damaged, and for one
    that holds more than a network's operations and tensors."""
    from torch.export.pt2_archive._package import load_pt2

    try:
        with path.open("rb") as stream:  # one file all along, whatever takes its name
            reader = PT2ArchiveReader(stream)
            names = reader.get_file_names()
            for name in names:
                if not ENTRIES.fullmatch(name):
                    raise _refused(path, name)
            if reader.read_bytes("data/sample_inputs/model.pt"):
                raise _refused(path, "data/sample_inputs/model.pt")
            for part in ("weights", "constants"):
                config = json.loads(reader.read_bytes(f"data/{part}/model_{part}_config.json"))
                _check(config, path)
                for entry in config["config"].values():
                    if entry["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                        raise _refused(path, f"data/{part}/{entry['path_name']}")
            _check(json.loads(reader.read_bytes("models/model.json")), path)
            text = reader.read_string(f"extra/{METADATA}") if f"extra/{METADATA}" in names else None
            stream.seek(0)
            return load_pt2(stream).exported_programs["model"], text
    except WeightsError:
        raise
    except Exception as error:  # damaged bytes lead torch's reader astray in every way there is
        raise WeightsError(f"{path}: not a program of torch.export that can be read: {one_line(error)[:160]}") from None


def program_function(program: ExportedProgram, device: torch.device) -> Any:
    """The function of a program on a device."""
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module(check_guards=False)  # guards are source code in the file
    return lambda clips: list(module(clips))


def _check(value: Any, path: Path, key: str = "") -> None:
    """Raises WeightsError for a text that stands in no program of a network."""
    if isinstance(value, dict):
        for name, item in value.items():
            known = SIZE if key == "range_constraints" else PLAIN
            if not known.fullmatch(name) or (name in CODE and item is not None):
                raise _refused(path, name)
            _check(item, path, name)
    elif isinstance(value, list):
        for item in value:
            _check(item, path, key)
    elif isinstance(value, str):
        allowed = {"target": TARGETS, "expr_str": SIZE, **dict.fromkeys(SPECS, SPEC)}.get(key, PLAIN)
        if key != "guards_code" and not allowed.fullmatch(value):
            raise _refused(path, value)


def _refused(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path}: refused: it holds more than the operations and tensors of a network ({one_line(what)[:80]})"
    )
