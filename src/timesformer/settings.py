"""What a group of settings is, and how one is made of plain values: what is wrong with them is said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from timesformer.errors import SettingError


class Settings(BaseModel):
    """Base of all settings: keyword-only, frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}  # names that settings had in earlier versions, and those they have now
    moved: ClassVar[dict[str, str]] = {}  # the same for settings now in another group, by dotted names

    @classmethod
    def class_for(cls, values: Any) -> type[Settings]:
        """The class that plain values are settings of: this one, where no value of theirs names another."""
        return cls

    @classmethod
    def owners(cls, key: str) -> str | None:
        """Which others have a setting that this class lacks, in words; None where there are none."""
        return None

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes True, which is YAML's yes and on, as 1."""
        assert info.field_name is not None
        given = value if isinstance(value, list | tuple) else [value]
        if _of_numbers(cls.model_fields[info.field_name].annotation) and any(isinstance(part, bool) for part in given):
            raise PydanticCustomError("boolean_for_number", "Input should be a number, not yes or no")
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
        raise SettingError(f"{where}: {_explain(error, cls, values)}") from None


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Plain values of settings in groups, by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def setting_names(cls: type[Settings], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a class."""
    names = []
    for name in cls.model_fields:
        group = group_of(cls, name)
        names += [prefix + name] if group is None else setting_names(group, f"{prefix}{name}.")
    return names


def group_of(cls: type[Settings], name: str, values: Any = None) -> type[Settings] | None:
    """The class of a field that is a group of settings, or may be one; None for a plain setting.

    `values`: plain values of the field, which may name a class among several.
    """
    annotation = cls.model_fields[name].annotation
    kinds = (annotation, *get_args(annotation))
    group = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)
    return group and group.class_for(values)


def with_new_names(cls: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values that an earlier version wrote, under the names that settings of class `cls` have now."""
    renamed = {}
    for old, value in values.items():
        name = cls.renamed.get(old, old)
        group = group_of(cls, name, value) if name in cls.model_fields else None
        renamed[name] = with_new_names(group, value) if group and isinstance(value, Mapping) else value
    return renamed


def refuse(key: str, cls: type[Settings], values: Any = None) -> str:
    """A message about a setting that does not exist: what it is called now, the nearest ones, or all there are."""
    if key in cls.moved:
        return f"{key!r} is now called {cls.moved[key]!r}"
    *groups, last = key.split(".")
    owner: type[Settings] | None = cls
    for name in groups:
        values = values.get(name) if isinstance(values, Mapping) else None
        owner = group_of(owner, name, values) if owner is not None and name in owner.model_fields else None
    if owner is not None and last in owner.renamed:
        return f"{key!r} is now called {'.'.join([*groups, owner.renamed[last]])!r}"
    names = setting_names(cls)
    if groups and owner is not None and key in names:
        return f"{key!r} is a setting of another {groups[-1]}; this one has {', '.join(owner.model_fields)}"
    if others := cls.owners(key):
        return f"{key!r} is a setting of {others}; this one has {', '.join(cls.model_fields)}"
    listed = [name if group_of(cls, name) is None else f"{name}.*" for name in cls.model_fields]
    close = [name for name in names if name.split(".")[-1] == last]
    close = close or difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(listed)}"
    return f"no setting named {key!r}; {hint}"


def _explain(error: ValidationError, cls: type[Settings], values: Any) -> str:
    """The first problems of a pydantic error in one line."""
    problems = []
    for item in error.errors()[:3]:
        key = ".".join(str(part) for part in item["loc"])
        received = item["input"]
        message = item["msg"].removeprefix("Input should be ")
        if item["type"] == "extra_forbidden":
            inside = [f"{key}.{name}" for name in received] if isinstance(received, Mapping) else []
            moved = [name for name in inside if name in cls.moved][:3]
            problems += [refuse(name, cls, values) for name in moved or [key]]
        elif item["type"] == "invalid_key":
            problems.append(refuse(str(received), cls))
        elif item["type"] == "value_error":
            problems.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        elif message == item["msg"]:
            problems.append(f"{key} is {received!r}: {message[0].lower()}{message[1:]}")
        else:
            problems.append(f"{key} is {received!r}, should be {message}")
    return "; ".join(problems)
