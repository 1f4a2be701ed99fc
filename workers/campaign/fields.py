"""Traverses a campaign's fields by their marks: changes paths, drops locations, lists differences."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def absolute_path(place: str, folder: Path) -> str:
    """A local path made absolute; a URI as it is."""
    return place if "://" in place else str(folder.absolute() / os.path.expanduser(place))  # noqa: PTH111


def relative_path(place: str, folder: Path) -> str:
    """A path below the folder relative to it; any other as it is."""
    below = "://" not in place and Path(place).is_relative_to(folder)
    return str(Path(place).relative_to(folder)) if below else place


Part = TypeVar("Part", bound=BaseModel)


def with_paths(part: Part, change: Callable[[str], str]) -> Part:
    """The part with every path in it changed."""
    changed: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            changed[name] = with_paths(value, change)
        elif _holds_parts(value):
            changed[name] = {key: with_paths(each, change) for key, each in value.items()}
        elif _marked(field, "path") and value is not None:
            changed[name] = change(value) if isinstance(value, str) else tuple(map(change, value))
    return part.model_copy(update=changed) if changed else part


def with_changes(part: Part, place: Sequence[str], changes: Mapping[str, Any]) -> Part:
    """The part with fields of what stands at `place` in it (names, from the outside in) replaced.

    Raises ValueError where nothing stands there.
    """
    if not place:
        return part.model_copy(update=dict(changes))
    inner, rest = getattr(part, place[0]), place[1:]
    if inner is None or (_holds_parts(inner) and rest[0] not in inner):
        raise ValueError(f"{type(part).__name__} has no {'.'.join(place)}")
    if _holds_parts(inner):
        return part.model_copy(update={place[0]: {**inner, rest[0]: with_changes(inner[rest[0]], rest[1:], changes)}})
    return part.model_copy(update={place[0]: with_changes(inner, rest, changes)})


def _holds_parts(value: Any) -> bool:
    """Whether a field's value is parts by name."""
    return isinstance(value, dict) and bool(value) and all(isinstance(each, BaseModel) for each in value.values())


def _marked(field: FieldInfo, mark: str) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get(mark))


def without_locations(part: BaseModel, *, defaults: bool) -> dict[str, Any]:
    """The part as plain data; with `defaults` False only the names of alternatives and what differs from a default."""
    values: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        if _marked(field, "location"):
            continue
        value = getattr(part, name)
        if not defaults and name != "name" and value in _left_out(field):
            continue
        if _holds_parts(value):
            values[name] = {key: without_locations(each, defaults=defaults) for key, each in value.items()}
        else:
            values[name] = (
                without_locations(value, defaults=defaults) if isinstance(value, BaseModel) else _plain(value)
            )
    return values


def _left_out(field: FieldInfo) -> tuple[Any, ...]:
    """The values that an identity does not tell from a field that is left out: its default, and the one that it had in
    an earlier version (the mark `formerly`), of which stores do not say whether it was given."""
    earlier = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    formerly = (earlier["formerly"],) if "formerly" in earlier else ()
    return (field.get_default(call_default_factory=True), *formerly)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted field, ours, theirs) for every leaf at which two documents differ; None where one lacks it."""
    differing: list[tuple[str, Any, Any]] = []
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differing += differences(a, b, f"{prefix}{key}.")
        elif a != b or type(a) is not type(b):
            differing.append((f"{prefix}{key}", a, b))
    return differing
