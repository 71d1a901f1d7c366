"""The folder of a study: what it is of is in OUT/study.json, so that no study writes over another's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from timesformer.errors import SettingError, one_line
from timesformer.files import as_json, replacing

STUDY, LOCK = "study.json", ".lock"


def check_folder(out: Path, identity: dict[str, Any]) -> None:
    """Raises SettingError where OUT has results of another study, data, recipe or weights, or something else.

    identity: what the study is of, in plain values; "study" is its name.
    """
    file = out / STUDY
    if not file.exists():
        if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
            raise SettingError(f"{out}: is not empty; a study needs a folder of its own")
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(f"{file}: damaged: {one_line(error)[:100]}") from None
    if changed := [name for name in identity if name in before and before[name] != identity[name]]:
        raise SettingError(
            f"{out}: holds results of study {before.get('study')}, different in: {', '.join(changed)}; name another "
            "folder with --out"
        )


def claim_folder(out: Path, identity: dict[str, Any]) -> None:
    """Make OUT the study's. Raises SettingError as `check_folder`."""
    check_folder(out, identity)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{out}: cannot create this folder: {error.strerror}") from None
    with writing_to(out), replacing(out / STUDY) as temporary:
        temporary.write_text(as_json(identity, indent=2) + "\n", encoding="utf-8")


def writing_to(out: Path) -> FileLock:
    """One process writes to OUT at a time."""
    return FileLock(out / LOCK)
