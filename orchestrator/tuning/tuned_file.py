"""Writes the campaign file of a recipe search: the campaign with the recipe found, and its origin as a comment.

Its first line holds the SHA-256 of all that follows it, so that a file which was edited since is not replaced.
"""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path

from orchestrator.tuning.choice import TrialResult
from orchestrator.tuning.field_values import values_text
from orchestrator.tuning.recommendation import recommendation_lines
from orchestrator.tuning.session import SearchReport
from orchestrator.tuning.settings import Search
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import dump_campaign
from workers.common.whole_file import check_place, replace_file
from workers.errors import CampaignError, LongtailError

_FIRST_LINE = re.compile(rb"# Found by longtail tune\. SHA-256 of what follows: ([0-9a-f]{64})\n")
_MAX_BYTES = 16 << 20


def check_tuned_path(path: Path, campaign: Path, force: bool) -> None:
    """Find out before anything is trained that the file cannot be written.

    A file is replaced where its content is what a search wrote, or `force` is given. Raises CampaignError where it is
    another one, or the campaign file itself; CommandError where it is no file, or there is no folder for it.
    """
    check_place(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
        same = path.samefile(campaign)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LongtailError(f"{path}: cannot be read: {error.strerror}") from error
    if same:
        raise CampaignError(f"--output: must be another file than the campaign, got {path}")
    if force:
        return
    first = _FIRST_LINE.match(content)
    if first is None:
        raise CampaignError(f"{path}: exists already, and is not written by longtail tune; --force replaces it")
    if hashlib.sha256(content[first.end() :]).hexdigest().encode() != first[1]:
        raise CampaignError(f"{path}: was edited since longtail tune wrote it; --force replaces it")


def write_tuned(
    path: Path, report: SearchReport, campaign: Campaign, chosen: TrialResult, search: Search, command: str
) -> None:
    """Write the campaign with the recipe chosen, by this command, whole or not at all. Raises LongtailError."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("longtail", "torch", "ray"))
    now = report.progress
    lines = [
        f"# {' '.join(command.split())}",
        f"# {versions}; {now.ended} trials, {now.fitted} fitted their subsets to {search.fit:g}; seed {search.seed}.",
        f"# Recipe: {values_text(chosen.candidate.values)}.",
        *[f"# {line}" for line in recommendation_lines(report, search)],
    ]
    content = "\n".join([*lines, dump_campaign(campaign.with_paths_relative_to(path.parent))]).encode()
    first = f"# Found by longtail tune. SHA-256 of what follows: {hashlib.sha256(content).hexdigest()}\n".encode()
    replace_file(path, lambda unfinished: unfinished.write_bytes(first + content))
