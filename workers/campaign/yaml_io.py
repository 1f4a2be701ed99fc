"""Reads and writes campaign files (YAML)."""

import json
import os
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from workers.campaign.campaign import Campaign
from workers.campaign.short_repr import short
from workers.campaign.validation_messages import explain_mistakes
from workers.errors import CampaignError

MAX_BYTES = 1 << 18
"""Campaign files take kilobytes; YAML of this size is read in two seconds, whatever it holds."""


_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""What a shell's `<(command)` becomes, too."""
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.1 takes it for text) and refuses aliases and duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_campaign(path: str | Path) -> Campaign:
    """Read and check a campaign file; its paths, which are relative to the file's folder, become absolute.

    Those of what is no file (a pipe) are relative to the current folder. Raises CampaignError: the file is missing, is
    not YAML, or has mistakes (one line each).
    """
    return parse_campaign(read_text(path), source=str(path)).with_absolute_paths(campaign_folder(path))


def campaign_folder(path: str | Path) -> Path:
    """The folder that the paths in a campaign file are relative to."""
    return Path(path).absolute().parent if Path(path).is_file() else Path.cwd()


def read_text(path: str | Path) -> str:
    """The text of a file that a user wrote, or of a pipe that the command was started with (/dev/stdin, /dev/fd/3).

    Raises CampaignError where it cannot be read, is too large or not UTF-8, or is another pipe, a device or a socket:
    a named pipe without a writer would keep the command waiting for ever.
    """
    path = Path(path)
    try:
        is_descriptor = os.path.abspath(path).startswith(_DESCRIPTORS)  # noqa: PTH100 - links lead to no path
        mode = path.stat().st_mode
        if not (
            stat.S_ISREG(mode)
            or stat.S_ISDIR(mode)
            or (is_descriptor and (stat.S_ISFIFO(mode) or path.is_char_device()))
        ):
            raise CampaignError(f"{path}: must be a file, or a pipe as /dev/stdin, got {_KINDS[stat.S_IFMT(mode)]}")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CampaignError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise CampaignError(f"{path}: is larger than {MAX_BYTES:,} bytes, the limit for campaign files")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse_campaign(text: str, source: str = "campaign") -> Campaign:
    """Check a campaign given as YAML text; `source` opens every line of an error. Raises CampaignError.

    Its paths stay as they are: relative to the folder that is the current one when they are used.
    """
    return check_campaign(parse_mapping(text, source, "dataset, model, recipe, ..."), source)


def parse_mapping(text: str, source: str, keys: str) -> dict[str, Any]:
    """YAML text that must be a mapping; `keys` says of what, in an error. Raises CampaignError."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise CampaignError(
            f"{source}:{where} is not valid YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise CampaignError(f"{source}: is not valid YAML: {type(error).__name__}: {error}") from error
    if not isinstance(document, dict):
        raise CampaignError(f"{source}: must be a mapping with {keys}, got {short(document)}")
    return document


def check_campaign(document: dict[str, Any], source: str = "campaign") -> Campaign:
    """Check a campaign given as plain data. Raises CampaignError with one line per mistake."""
    try:
        # Through JSON, so that strict checking takes lists for tuples; dates become text, which is refused.
        return Campaign.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        lines = explain_mistakes(error.errors(include_url=False), document)
        raise CampaignError("\n".join(f"{source}: {line}" for line in lines)) from error
    except (RecursionError, ValueError, TypeError) as error:
        raise CampaignError(f"{source}: cannot be read: {error}") from error


def with_repetitions(campaign: Campaign, repetitions: int | None) -> Campaign:
    """The same campaign with another number of repetitions; None: as it is. Raises CampaignError."""
    if repetitions is None:
        return campaign
    document = campaign.model_dump(mode="json")
    document["subsets"]["repetitions"] = repetitions
    return check_campaign(document)


def dump_campaign(campaign: Campaign) -> str:
    """The campaign as YAML text, every field written out."""
    return yaml.safe_dump(campaign.model_dump(mode="json"), sort_keys=False)
