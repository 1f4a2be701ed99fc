"""Formats pydantic's errors about a campaign: one line per field, with what is allowed and what was given."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

from workers.campaign.campaign import Campaign
from workers.campaign.dataset_spec import DATASET_NAMES
from workers.campaign.model_spec import MODEL_NAMES
from workers.campaign.short_repr import short
from workers.campaign.suggest import closest

_OPEN_NAMES = {"dataset": DATASET_NAMES, "model": MODEL_NAMES}
_OWN_NAME = "package.module:function"


def explain_mistakes(mistakes: Iterable[ErrorDetails], document: dict[str, Any]) -> list[str]:
    """One line per mistaken field of `document`, in the order found; alternatives of one field are joined by `or`."""
    allowed: dict[tuple[str, str], list[str]] = {}
    choices: dict[tuple[str, str], str] = {}
    for mistake in mistakes:
        field, text, got = _explain(mistake, document)
        allowed.setdefault((field, got), []).append(text)
        if mistake["type"] == "literal_error":
            choices[field, got] = _meant(mistake["input"], re.findall("'([^']*)'", mistake["ctx"]["expected"]))
    return [
        f"{field}: {' or '.join(dict.fromkeys(texts))}{got}{choices.get((field, got), '')}"
        for (field, got), texts in allowed.items()
    ]


def _explain(mistake: ErrorDetails, document: dict[str, Any]) -> tuple[str, str, str]:
    """(field, what is allowed, what was given) of one mistake."""
    parts, owner = _locate(mistake["loc"], document)
    field = ".".join(parts) or "campaign"
    value, context = mistake["input"], mistake.get("ctx", {})
    got = f", got {short(value)}"
    match mistake["type"]:
        case "missing":
            return field, "is required", ""
        case "extra_forbidden":
            return field, f"unknown field{_hint(parts, _fields(owner))}", got
        case "union_tag_invalid" | "union_tag_not_found":
            return _explain_name(field, value, owner)
        case "model_type" | "model_attributes_type" | "dict_type":
            return field, "must be a mapping", got
        case "string_pattern_mismatch":
            return field, f"must be {_OWN_NAME}", got
        case "too_long":
            return field, f"must have at most {context['max_length']} entries", got
        case "value_error":
            text = str(context["error"])
            return field, text, "" if ", got " in text else got
        case _:
            text = mistake["msg"].removeprefix("Input should be ")
            return field, f"must be {text}", got


def _explain_name(field: str, part: Any, owner: Any) -> tuple[str, str, str]:
    """The mistake of a part that is told apart by its name: no mapping, no name, or an unknown one."""
    names = list(_OPEN_NAMES.get(field, {}))
    text = ", ".join(names or _member_names(owner)) + (f" or {_OWN_NAME}" if names else "")
    if not isinstance(part, dict):
        return field, f"must be a mapping with a name ({text})", f", got {short(part)}"
    name = part.get("name")
    if name is None:
        return f"{field}.name", f"is required: {text}", ""
    meant = _meant(name, names or _member_names(owner))
    return f"{field}.name", f"must be {text}", f", got {short(name)}{meant}"


def _locate(location: tuple[int | str, ...], document: Any) -> tuple[list[str], Any]:
    """The path to a field without pydantic's union tags, and the type that holds (or is) its last part."""
    parts: list[str] = []
    at: Any = document
    owner: Any = Campaign
    kind: Any = Campaign
    for part in location:
        if part == "[key]":  # pydantic's place of a mapping's key
            continue
        member = _member(kind, part)
        if member is not None:
            kind = owner = member
            continue
        if get_origin(kind) is dict and isinstance(at, dict) and part in at:
            kind, at = get_args(kind)[1], at[part]
            parts.append(str(part))
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            owner = kind
            kind = _required(kind.model_fields[part].annotation) if part in kind.model_fields else None
        elif not (isinstance(at, list) and isinstance(part, int)) and not (isinstance(at, dict) and part in at):
            continue  # pydantic names the alternatives of a plain union; the file does not
        at = at[part] if _holds(at, part) else None
        parts.append(str(part))
    return parts, kind if get_args(kind) else owner


def _required(kind: Any) -> Any:
    """The part itself of one that may be left out."""
    alternatives = [each for each in get_args(kind) if each is not type(None)]
    if len(alternatives) == 1 and get_origin(alternatives[0]) is Annotated:  # a union told apart by its form
        return get_args(alternatives[0])[0]
    models = [each for each in alternatives if isinstance(each, type) and issubclass(each, BaseModel)]
    return models[0] if len(models) == 1 and set(get_args(kind)) == {models[0], type(None)} else kind


def _holds(at: Any, part: int | str) -> bool:
    return (isinstance(at, dict) and part in at) or (isinstance(at, list) and isinstance(part, int) and part < len(at))


def _members(kind: Any) -> dict[str, Any]:
    """Names (tags) to classes of a union of parts that are told apart by name."""
    classes: dict[str, Any] = {}
    for alternative in get_args(kind):
        if get_origin(alternative) is Annotated:
            model, *marks = get_args(alternative)
            classes.update({mark.tag: model for mark in marks if isinstance(mark, Tag)})
        elif (
            isinstance(alternative, type) and issubclass(alternative, BaseModel) and "name" in alternative.model_fields
        ):
            classes.update(dict.fromkeys(get_args(alternative.model_fields["name"].annotation), alternative))
    return classes


def _member(kind: Any, tag: int | str) -> Any:
    return _members(kind).get(tag) if isinstance(tag, str) else None


def _member_names(kind: Any) -> list[str]:
    return list(_members(kind))


def _fields(owner: Any) -> list[str]:
    return list(getattr(owner, "model_fields", {}))


_LESS_LIKELY = ("record.probes.", "recipe.optimizer.others.")
"""Parts whose fields have names of the recipe's or the optimizer's own, which more often are meant."""


def _hint(parts: list[str], allowed: list[str]) -> str:
    """The field that was meant, of this part or, under the very name, of others; else all of this part."""
    unknown_name = parts[-1]
    named = [
        place for place in _places(Campaign) if place.rpartition(".")[2] == unknown_name and place != ".".join(parts)
    ]
    elsewhere = [place for place in named if not place.startswith(_LESS_LIKELY)] or named
    meant = closest(unknown_name, allowed) or (" or ".join(elsewhere) if unknown_name != "name" else "")
    return f" (did you mean {meant}?)" if meant else f" (allowed: {', '.join(allowed)})"


def _places(kind: Any, before: str = "") -> Iterator[str]:
    """Every field below a part, by its path, once for all the parts that its place can hold."""
    paths: dict[str, None] = {}
    for model in _members(kind).values() or [kind]:
        for name, field in getattr(model, "model_fields", {}).items():
            paths[f"{before}{name}"] = None
            paths |= dict.fromkeys(_places(_required(field.annotation), f"{before}{name}."))
    yield from paths


def _meant(value: Any, allowed: list[str]) -> str:
    close = closest(value, allowed) if isinstance(value, str) else None
    return f" (did you mean {close}?)" if close else ""
