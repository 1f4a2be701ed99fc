"""Checks the downloads that a campaign file may ask for: only into folders of Longtail's own cache.

Decided where the file is read; campaigns that are made in Python may download to wherever they say.
"""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from workers.campaign.campaign import Campaign
from workers.campaign.dataset_spec import TorchvisionData
from workers.campaign.yaml_io import campaign_folder
from workers.datasets.cache import cache_root
from workers.datasets.torchvision_data import check_nearby, missing_file
from workers.errors import CampaignError

_MAX_LINKS = 1000


def with_permitted_download(campaign: Campaign, file: Path, asked: bool, announce: Callable[[str], None]) -> Campaign:
    """The campaign read from a file, with `dataset.download` true only where it may be.

    That is where the root lies below the file's folder or Longtail's cache, or where the user requested it on the
    command line. `announce` gets a line before anything is downloaded. Raises CampaignError where files are missing and
    the file alone asks for them elsewhere, DataError where they are in another folder nearby.
    """
    spec = campaign.dataset
    if not isinstance(spec, TorchvisionData) or not (spec.download or asked):
        return campaign
    allowed = may_download(campaign, file, asked)
    spec = spec.model_copy(update={"download": allowed})
    if missing_file(spec) is not None:
        check_nearby(spec)
        if not allowed:
            raise CampaignError(
                f"dataset.root: {spec.name} is not in {spec.root}, which is outside of the campaign file's folder: "
                "with --download it is downloaded there"
            )
        announce(f"downloading {spec.name} to {spec.root}")
    return campaign.model_copy(update={"dataset": spec})


def with_download(campaign: Campaign) -> Campaign:
    """The campaign, of a data set that is downloaded where it is missing, if that can be."""
    spec = campaign.dataset
    if not isinstance(spec, TorchvisionData):
        return campaign
    return campaign.model_copy(update={"dataset": spec.model_copy(update={"download": True})})


def may_download(campaign: Campaign, file: Path, asked: bool) -> bool:
    """Whether a campaign that was read from a file may download; `asked`: the user said so on the command line."""
    spec = campaign.dataset
    return isinstance(spec, TorchvisionData) and (asked or (spec.download and _is_own(Path(spec.root), file)))


def _is_own(root: Path, file: Path) -> bool:
    """Whether root and what is in it, links followed, lie below the campaign file's folder or the cache.

    An archive may bring links: what torchvision writes through one would land where it leads.
    """
    places = [os.path.realpath(place) for place in (campaign_folder(file), cache_root())]
    paths = [root]
    if root.is_dir():
        paths += islice((path for path in root.rglob("*") if path.is_symlink()), _MAX_LINKS)
    targets = [os.path.realpath(path) for path in paths]
    return len(targets) <= _MAX_LINKS and all(any(map(Path(target).is_relative_to, places)) for target in targets)
