"""Packages a campaign as a Ray job: name, command, and a folder with its files."""

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.runners.run_options import RunOptions
from workers.campaign.campaign import Campaign
from workers.errors import CampaignError

CAMPAIGN_FILE = "longtail-campaign.yaml"
"""The frozen campaign's name in the folder that is sent."""

SCORES_FILES = {
    "subsets.scores": "longtail-scores",
    "record.probes.split.scores": "longtail-split",
    "recipe.curriculum.scores": "longtail-curriculum",
}
"""Likewise those of tables of scores, by field. No ending: a .gitignore that leaves tables out would leave them out."""

_NAMED_SCORES = f"{SCORES_FILES['subsets.scores']}-"
"""What those of several columns begin with."""

LABELS_FILE, MASKS_FILE = "longtail-labels", "longtail-masks"
"""Likewise those of given labels, and of masks."""

_NEVER_SENT = {".git", ".venv", "venv", "__pycache__"}
"""Folders that Ray leaves out by itself."""


def absolute_store(store: str) -> str:
    """A store's path or URI in a canonical form that is valid on every node. Raises CampaignError."""
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]+://", store):
        return os.path.abspath(Path(store).expanduser())  # noqa: PTH100 - also takes out `..`
    parts = urlsplit(store)
    if parts.password is not None:
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise CampaignError(f"--store: must not hold a password, got one for {place}; the cluster's environment can")
    if parts.scheme == "file":
        return os.path.normpath(parts.path)
    return store.rstrip("/")


def driver_name(store: str) -> str:
    """The prefix of the ids of all jobs that train into a store; `store` as `absolute_store` gives it."""
    return f"longtail-{hashlib.sha256(store.encode()).hexdigest()[:12]}"


def driver_command(store: str, options: RunOptions) -> str:
    """The shell command of the driver, run in the folder that was sent."""
    return shlex.join(["longtail", "run", CAMPAIGN_FILE, "--store", store, *options.command_line()])


def with_sent_tables(campaign: Campaign) -> tuple[Campaign, dict[str, Path]]:
    """The campaign as its driver reads it, and files of scores, masks and labels to send along, by their names there.

    Those at a URI are read from there. Paths are absolute already. Raises CampaignError where a file is missing.
    """
    sent: dict[str, Path] = {}
    for field, column in campaign.score_columns.items():
        if "://" not in column.file:
            name = scores_file(field)
            sent[name] = _to_send(f"{field}.file", column.file)
            campaign = campaign.with_score_column(field, file=name)
    masks = campaign.subsets.masks
    if masks is not None and "://" not in masks.file:
        sent[MASKS_FILE] = _to_send("subsets.masks.file", masks.file)
        campaign = campaign.with_masks(file=MASKS_FILE)
    labels = campaign.label_noise.file
    if labels is not None and "://" not in labels:
        sent[LABELS_FILE] = _to_send("label_noise.file", labels)
        campaign = campaign.with_label_noise(file=LABELS_FILE)
    return campaign, sent


def scores_file(field: str) -> str:
    """The name of a table of scores in the folder that is sent, by the campaign's field: `Campaign.score_columns`."""
    _, _, name = field.partition("subsets.scores.")
    return f"{_NAMED_SCORES}{name}" if name else SCORES_FILES[field]


def _to_send(field: str, place: str) -> Path:
    file = Path(place)
    if not file.is_file():
        raise CampaignError(f"{field}: must be a file of this machine, to be sent along, or a URI, got {place!r}")
    return file


@contextmanager
def driver_folder(campaign: str, working_dir: str | None, sent: Mapping[str, Path]) -> Iterator[Path]:
    """A temporary folder with the campaign file and, as links, the files that it names and what `working_dir` holds.

    Raises CampaignError.

    Only for reading, and only while this lasts. Ray sends what links lead to, less `_NEVER_SENT` and what .gitignore
    and .rayignore name; a link to a place outside the folder is refused, since nobody asked to send that.
    """
    with tempfile.TemporaryDirectory(prefix="longtail-") as path:
        folder = Path(path)
        if working_dir is not None:
            source = _checked(Path(working_dir).expanduser())
            for entry in source.iterdir():
                (folder / entry.name).symlink_to(entry)
        (folder / CAMPAIGN_FILE).write_text(campaign, encoding="utf-8")
        for name, file in sent.items():
            (folder / name).symlink_to(file)
        yield folder


def _checked(folder: Path) -> Path:
    """The folder's real path; CampaignError where it cannot be sent, or holds more than was meant."""
    original, folder = folder, folder.resolve()
    if not folder.is_dir():
        raise CampaignError(f"--working-dir: must be a folder, got {str(original)!r}")
    if Path.home().resolve().is_relative_to(folder):
        raise CampaignError(
            f"--working-dir: {original} holds your home folder with its keys; name the folder of your code"
        )
    own = {CAMPAIGN_FILE, *SCORES_FILES.values(), LABELS_FILE, MASKS_FILE}
    for name in sorted(entry.name for entry in folder.iterdir()):
        if name in own or name.startswith(_NAMED_SCORES):
            raise CampaignError(f"--working-dir: {original} has a {name}, which is the name of what is sent with it")
    try:
        for link in _links(folder):
            target, leads = link.resolve(), f"--working-dir: {link} leads to"
            if not target.is_relative_to(folder):
                raise CampaignError(f"{leads} {target}, outside of the folder that is sent")
            if link.is_relative_to(target):
                raise CampaignError(f"{leads} {target}, which holds the link itself")
            if not target.exists():
                raise CampaignError(f"{leads} {target}, which is missing")
    except OSError as error:
        raise CampaignError(f"--working-dir: {original} cannot be read: {error}") from error
    return folder


def _links(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if name not in _NEVER_SENT]
        yield from (path for name in (*folders, *files) if (path := Path(place, name)).is_symlink())


def _raise(error: OSError) -> None:
    raise error


def describe(address: str, job: str, store: str) -> Sequence[str]:
    """The lines that say how to watch and end a job."""
    place = shlex.quote(address)
    return (
        f"watch: longtail status {shlex.quote(store)} --watch",
        f"log:   ray job logs --address {place} --follow {job}",
        f"stop:  ray job stop --address {place} {job}",
    )
