"""The store's small JSON files, validated when they are read.

targets/*.json     how many repetitions of which ratio were requested
failures/*.json    shards that failed in user code
"""

import json
from dataclasses import dataclass, fields
from typing import Any

from workers.campaign.campaign import MAX_REPETITIONS, PPM
from workers.campaign.keys import Shard
from workers.errors import DamagedFileError
from workers.store.file_problems import damaged_file_error
from workers.store.files.base import Files

MAX_BYTES = 4 << 20
"""A thousand ratios take 20 KB; a traceback is cut long before (`workers.store.failures`)."""


@dataclass(frozen=True)
class Failure:
    """A failed shard: its number of attempts, and the last traceback."""

    shard_id: str
    attempts: int
    message: str
    traceback: str


def read_small(files: Files, path: str, max_bytes: int = MAX_BYTES) -> bytes | None:
    """A small file's bytes; None where it does not exist. Raises DamagedFileError where it is not small."""
    try:
        file = files.open(path)
    except DamagedFileError as error:
        raise damaged_file_error(files, path, error.problem) from error
    if file is None:
        return None
    with file:
        if file.size() > max_bytes:
            raise damaged_file_error(files, path, f"is damaged: has more than {max_bytes} bytes")
        return bytes(file.read(max_bytes))


def read_target(files: Files, path: str) -> dict[int, int]:
    """Repetitions by ratio (parts per million); empty where it is no JSON file or is gone. Raises DamagedFileError."""
    requested: dict[int, int] = {}
    for key, repetitions in (_read_json(files, path) or {}).items():
        ratio_ppm = int(key) if key.isascii() and key.isdecimal() and len(key) <= 7 else 0
        if not 1 <= ratio_ppm <= PPM:
            raise damaged_file_error(files, path, f"is damaged: {key[:40]!r} is no ratio in parts per million")
        if type(repetitions) is not int or not 1 <= repetitions <= MAX_REPETITIONS:
            raise damaged_file_error(files, path, f"is damaged: {key} has no number of repetitions")
        requested[ratio_ppm] = repetitions
    return requested


def read_failure(files: Files, path: str) -> Failure | None:
    """A failure; None where it is no JSON file or is gone. Raises DamagedFileError."""
    document = _read_json(files, path)
    if document is None:
        return None
    forms = {field.name: field.type for field in fields(Failure)}
    if document.keys() != forms.keys() or any(type(document[name]) is not form for name, form in forms.items()):
        raise damaged_file_error(files, path, "is damaged: is not of the form of a failure")
    if Shard.parse(document["shard_id"]) is None:
        raise damaged_file_error(files, path, "is damaged: names no shard")
    return Failure(**{name: _printable(value) for name, value in document.items()})


def _printable(value: Any) -> Any:
    """Text without the control characters that would steer a terminal."""
    if not isinstance(value, str):
        return value
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in value)


def _read_json(files: Files, path: str) -> dict[str, Any] | None:
    content = read_small(files, path) if path.endswith(".json") and "/_" not in path else None
    if content is None:
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise damaged_file_error(files, path, f"is damaged: {error}") from error
    if not isinstance(document, dict):
        raise damaged_file_error(files, path, "is damaged: is not a mapping")
    return document
