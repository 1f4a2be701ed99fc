"""The files of deploy/, and what the tests of them share."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def load(name: str) -> Any:
    """A YAML file of deploy/, with a number in the place of WORKERS."""
    return yaml.safe_load((DEPLOY / name).read_text().replace("WORKERS", "16"))


def strict(schema: Any) -> Any:
    """A JSON schema that refuses every key it does not name, at any depth."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(part) for key, part in schema.items()}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made["additionalProperties"] = False
    return made


def with_unknown_keys(document: Any, free: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """(where, copy of the document with an unknown key there), for every mapping but those whose keys are free."""
    for path in _mappings(document, ()):
        if path and path[-1] in free:
            continue
        changed = copy.deepcopy(document)
        place = changed
        for step in path:
            place = place[step]
        place["unknown"] = "x"
        yield ".".join(str(step) for step in path) or "top", changed


def _mappings(document: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(document, dict):
        yield path
        for key, part in document.items():
            yield from _mappings(part, (*path, key))
    elif isinstance(document, list):
        for place, part in enumerate(document):
            yield from _mappings(part, (*path, place))
