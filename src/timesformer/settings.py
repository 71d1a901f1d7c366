"""What a group of settings is, and how one is made of plain values: what is wrong with them is said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from timesformer.errors import SettingError


class Settings(BaseModel):
    """Base of all settings: keyword-only, frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes True, which is YAML's yes and on, as 1."""
        assert info.field_name is not None
        given = value if isinstance(value, list | tuple) else [value]
        if _of_numbers(cls.model_fields[info.field_name].annotation) and any(isinstance(part, bool) for part in given):
            raise PydanticCustomError("no_number", "Input should be a number, not yes or no")
        return value


def _of_numbers(kind: Any) -> bool:
    """Whether a type is int or float, or made of them or of some of their values."""
    return kind in (int, float) or type(kind) in (int, float) or any(map(_of_numbers, get_args(kind)))


S = TypeVar("S", bound=Settings)


def make(cls: type[S], values: Mapping[str, Any], where: str) -> S:
    """Settings of class `cls` from plain values; a wrong one is a `SettingError` that begins with `where`."""
    try:
        return cls.model_validate(dict(values))  # not cls(**values): keys from YAML need not be strings
    except ValidationError as error:
        raise SettingError(f"{where}: {_explain(error, cls)}") from None


def setting_names(cls: type[Settings], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a class."""
    names = []
    for name in cls.model_fields:
        group = group_of(cls, name)
        names += [prefix + name] if group is None else setting_names(group, f"{prefix}{name}.")
    return names


def group_of(cls: type[Settings], name: str) -> type[Settings] | None:
    """The class of a field that is a group of settings, or may be one; None for a plain setting."""
    annotation = cls.model_fields[name].annotation
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def suggest(key: str, cls: type[Settings]) -> str:
    """The end of a message about a setting that does not exist: the nearest ones, or all."""
    names = setting_names(cls)
    last = key.split(".")[-1]
    close = [name for name in names if name.split(".")[-1] == last]
    close = close or difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(names)}"


def _explain(error: ValidationError, cls: type[Settings]) -> str:
    """The first problems of a pydantic error in one line."""
    problems = []
    for item in error.errors()[:3]:
        key = ".".join(str(part) for part in item["loc"])
        received = item["input"]
        message = item["msg"].removeprefix("Input should be ")
        if item["type"] == "extra_forbidden":
            problems.append(f"no setting named {key!r}{suggest(key, cls)}")
        elif item["type"] == "invalid_key":
            problems.append(f"no setting named {received!r}{suggest(str(received), cls)}")
        elif item["type"] == "value_error":
            problems.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        elif message == item["msg"]:
            problems.append(f"{key} is {received!r}: {message[0].lower()}{message[1:]}")
        else:
            problems.append(f"{key} is {received!r}, should be {message}")
    return "; ".join(problems)
