"""Arguments and options of the command line."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workers.errors import CampaignError


class DeviceName(StrEnum):
    """What workers train on."""

    cpu = "cpu"
    cuda = "cuda"


class RunnerName(StrEnum):
    """Where runs are trained."""

    local = "local"
    ray = "ray"


CampaignPath = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="Campaign file (YAML).")]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="Folder or URI of a store.")]
StoreOption = Annotated[str, typer.Option("--store", "-s", metavar="STORE", help="Folder or URI; created if missing.")]
RunnerOption = Annotated[
    RunnerName, typer.Option("--runner", help="Where to train: in this process, or on a Ray cluster.")
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Address of a Ray cluster; default: start one on this machine.")
]
GpusOption = Annotated[
    float | None, typer.Option("--gpus-per-worker", min=0, max=64, help="GPUs per worker; may be a fraction.")
]
DeviceOption = Annotated[
    DeviceName | None, typer.Option("--device", help="Device to train on; default: a GPU if there is one.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=100_000,
        help="Maximum number of Ray workers, also requested from an autoscaler; default: all slots.",
    ),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Download a torchvision data set that is missing, into any dataset.root.")
]
RepetitionsOption = Annotated[
    int | None, typer.Option("--repetitions", min=1, max=1_000_000, help="Runs per ratio; default: the campaign's.")
]
TrustCodeOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Call the functions that the store's campaign names (a custom data set or model), and download its data. "
        "Only for stores that you made.",
    ),
]
TargetSeOption = Annotated[
    float | None,
    typer.Option(
        "--target-se", min=0.0001, max=1, help="Standard error of mem for which to compute the number of runs."
    ),
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        "--checkpoint-minutes",
        metavar="MINUTES",
        help="Minutes between checkpoints of a shard; 0: after every epoch; or never.",
    ),
]
ShardSizeOption = Annotated[
    int | None, typer.Option("--shard-size", min=1, max=10_000, help="Runs per shard; for a new store only.")
]
WorkingDirOption = Annotated[
    str | None, typer.Option("--working-dir", help="Folder with your own code, copied to the cluster's nodes.")
]
UntilSeOption = Annotated[
    float | None,
    typer.Option(
        "--until-se",
        min=0.0001,
        max=1,
        help="Stop a ratio when 90% of its examples reach this expected standard error of mem.",
    ),
]


def parse_minutes(text: str, option: str) -> float | None:
    """A number, or None for never. Raises CampaignError, which names the option."""
    if text == "never":
        return None
    try:
        return float(text)
    except ValueError:
        raise CampaignError(f"--{option}: must be a number of minutes or never, got {text!r}") from None


_MOST_IDS = 10_000_000


def parse_ids(text: str, option: str) -> list[int]:
    """Ids from text such as 0-99,105 (ends of a range included). Raises CampaignError, which names the option."""
    ids: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first or len(ids) + last - first >= _MOST_IDS:
            raise CampaignError(f"--{option}: must be ids and ranges such as 0-99,105, got {part!r}")
        ids += range(first, last + 1)
    return ids
