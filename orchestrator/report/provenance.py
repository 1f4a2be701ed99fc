"""Provenance of a report: what it is called, when, by which version and by which command it was written."""

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from workers.campaign.campaign import Campaign
from workers.store import Store


@dataclass(frozen=True)
class Provenance:
    """`title` is the campaign's name, or its data set's. `store` and `command` have names of files, without folders."""

    title: str
    store: str
    date: str
    version: str
    command: str


def provenance(store: Store, path: Path, ratio: float | None, *, trust_code: bool) -> Provenance:
    """Of a report that is written to `path`. The date is the day in UTC, or that of SOURCE_DATE_EPOCH (seconds since
    1970), which reproducible builds set."""
    campaign = store.header.campaign
    name = campaign.name if isinstance(campaign, Campaign) else None
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    written = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    store_name = store.uri.rstrip("/").rpartition("/")[2]
    words = ["longtail", "report", store_name, "-o", path.name]
    words += [] if ratio is None else ["--ratio", f"{ratio:g}"]
    words += ["--trust-code"] if trust_code else []
    return Provenance(
        name or store.header.dataset, store_name, f"{written:%Y-%m-%d}", version("longtail"), shlex.join(words)
    )
