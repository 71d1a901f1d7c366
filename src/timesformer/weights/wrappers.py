"""State dicts as checkpoints hold them: under a key or alone, names beginning with what wrapped the model or not."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, TypeVar

KEYS = ("model_state", "state_dict", "model")  # of SlowFast's code, of mmengine and Lightning, of DeiT
WITHIN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # also of single blocks
PREFIXES = ("module.", "model.", *WITHIN)  # DistributedDataParallel, Lightning; torch.compile, FSDP, checkpointing
V = TypeVar("V")
logger = logging.getLogger(__name__)


def state_dict_in(content: object, keys: tuple[str, ...] = KEYS) -> Mapping[Any, Any]:
    """The values by name under the first of `keys` that a checkpoint's content has, or the content itself."""
    if not isinstance(content, dict):
        return {}
    return next((content[key] for key in keys if isinstance(content.get(key), dict)), content)


def without_wrappers(tensors: Mapping[str, V], known: tuple[str, ...], source: object = None) -> dict[str, V]:
    """Tensors under the names that they have without wrappers, `known` being names of one that every model has.

    A warning says what was stripped; not without a source. Where only some names are wrapped they stay as they are.
    """
    wrapped = re.compile(f"((?:{'|'.join(map(re.escape, PREFIXES))})*?)(?:{'|'.join(map(re.escape, known))})")
    found = {match[1] for name in tensors if (match := wrapped.fullmatch(str(name)))}
    prefix = found.pop() if len(found) == 1 else ""
    notes = [f"begin with {prefix}"] if prefix else []
    names = {name: str(name).removeprefix(prefix) for name in tensors}
    for word in WITHIN:
        if any(f".{word}" in name for name in names.values()):
            notes.append(f"hold {word}")
            names = {name: new.replace(f".{word}", ".") for name, new in names.items()}
    if len(set(names.values())) < len(tensors):
        return dict(tensors)
    if source is not None and notes:
        logger.warning(
            "%s: tensor names %s, a wrapper's prefix that is not the model's: stripped", source, " and ".join(notes)
        )
    return {names[name]: tensor for name, tensor in tensors.items()}
